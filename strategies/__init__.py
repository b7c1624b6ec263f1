"""The Flower strategy for secure aggregation, and its settings."""

from fl_app.flower.declared import Count, Mean, Sum
from fl_app.flower.protocol_settings import Aggregation, Dropouts, Timing
from strategies.cohort import CohortRefused
from strategies.hooks import Hooks, Round
from strategies.replicated_aggregation import ReplicatedAggregation
from strategies.secure_aggregation import SecureAggregation, StartingPoint
from strategies.steps import StepFailed

__all__ = [
    "Aggregation",
    "CohortRefused",
    "Count",
    "Dropouts",
    "Hooks",
    "Mean",
    "ReplicatedAggregation",
    "Round",
    "SecureAggregation",
    "StartingPoint",
    "StepFailed",
    "Sum",
    "Timing",
]
