"""What runs on a machine rather than in a run: processes, bundles, probes. Never part of the bundle."""
