"""The ServerApp: everything that runs in it, and the run directory that it writes."""
