"""The modeller's side of a run: the Python API, and launching, following and resuming runs."""
