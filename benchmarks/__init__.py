"""Measurements behind ``fl-app bench``: secure aggregation beside its rivals and its limits, taken within one run."""
