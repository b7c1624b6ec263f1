"""Measurements: secure aggregation beside its rivals and its limits, and what joining pods is worth.

The package is part of the checkout, not of the installation: ``python -m benchmarks`` and
``python -m benchmarks.joining`` run from the checkout, or from anywhere with the checkout on PYTHONPATH.
"""
