"""The modeller's side: the ServerApp, the run directory, and the commands."""
