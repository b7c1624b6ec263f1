"""The Flower strategies, and the cohort as the server sees it."""

from strategies.cohort import CohortRefused
from strategies.metrics import Count, Mean, Sum
from strategies.secure_aggregation import Round, SecureAggregation
from strategies.steps import StepFailed

__all__ = ["CohortRefused", "Count", "Mean", "Round", "SecureAggregation", "StepFailed", "Sum"]
