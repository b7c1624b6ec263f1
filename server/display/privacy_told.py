"""What is said of a run's privacy: in a line wherever runs are listed, and of the noise in its figures."""

from fl_app.validation import counted
from server.app.privacy_result import PrivacyResult
from server.app.results import Metrics
from server.display.words import METRICS, number

HEADLINE = ("accuracy", "auc", "loss")
NOISE = "±, by noise"
"""Label of the standard deviations in a table of figures."""


def privacy_line(privacy: PrivacyResult | None) -> str:
    """Return what is promised about a row, in a line; "" where it is not known."""
    if privacy is None:
        return ""
    if privacy.epsilon is None:
        return "nothing is promised about a row"
    against = "server and modeller"
    if privacy.colluding_pods:
        against = f"server, modeller and {counted(privacy.colluding_pods, 'colluding pod')}"
    return f"epsilon {privacy.epsilon:g}, delta {privacy.delta:g} for every row, against {against}"


def spreads(metrics: Metrics) -> list[str]:
    """Return the standard deviation of each metric by the noise of a private run, and last that of the rows counted."""
    rows = metrics.deviations.get("num_examples")
    return [*(number(metrics.deviations.get(name)) for name in METRICS), "-" if rows is None else f"{rows:,.0f}"]


def noise_told(metrics: Metrics) -> str:
    """Return how far noise may have moved the headline figures; "" where there is none in them."""
    parts = [f"{name} ±{metrics.deviations[name]:.4f}" for name in HEADLINE if name in metrics.deviations]
    rows = metrics.deviations.get("num_examples")
    if rows is not None:
        parts.append(f"rows ±{rows:,.0f}")
    return f"figures over the pods' rows carry noise, with standard deviations: {', '.join(parts)}" if parts else ""
