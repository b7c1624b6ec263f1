"""The ClientApp of a pod: everything that answers a message, and nothing else."""
