"""What joining pods is worth: the parts of ``scripts/study.py``."""
