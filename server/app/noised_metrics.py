"""The metrics of a private run's evaluation, each with the standard deviation that the noise in its counts gives it."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_app.privacy.plan import Plan
from fl_app.tabular.evaluation import MAX_BRIER, Counts, metrics_of
from server.app.promises import deviation
from server.app.results import Metrics
from server.app.summaries import finite, metrics_from

_DRAWS, _FEWEST_DRAWS = 200, 20
_NUMBERS = 10**7
"""Of all draws together, about: with very many classes there are fewer."""


def noised_metrics(
    counts: Counts, plan: Plan, honest: int, pods: int, name: str, positive: int | None = None
) -> Metrics:
    """Return metrics from noised counts, and how far the noise may have moved each.

    The metrics are those of the counts as they are, below zero too: cut off there, they would be wrong on average. A
    metric that noise has driven out of its range is given as the end of it.

    Parameters
    ----------
    honest, pods : int
        On how many pods each relies, and how many have added their share of the noise.
    name : str
        The run's name, which the draws follow from: they are the same every time.
    positive : int or None
        As for `metrics_of`.
    """
    plain = metrics_from(counts, positive).document()
    within: dict[str, Any] = {key: _within(key, value) for key, value in plain.items()}
    return Metrics(**within, deviations=deviations(counts, plan, honest, pods, name, positive))


def deviations(
    counts: Counts, plan: Plan, honest: int, pods: int, name: str, positive: int | None = None
) -> dict[str, float]:
    """Return the standard deviation of each metric: of those of the counts with noise as strong drawn onto them again.

    It costs no privacy, since it follows from the noised counts alone. Parameters are those of `noised_metrics`.
    """
    generator = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))

    def drawn(around: NDArray[np.int64], spread: float) -> NDArray[np.int64]:
        return np.rint(generator.normal(around, spread)).astype(np.int64)

    spread = {
        "confusion": deviation(plan.confusion, honest, pods),
        "histograms": deviation(plan.histograms(len(counts.histograms)), honest, pods),
        "loss": deviation(plan.loss, honest, pods),
        "brier": deviation(plan.brier(MAX_BRIER), honest, pods),
    }
    size = counts.confusion.size + counts.histograms.size
    found: dict[str, list[float]] = {}
    for _ in range(max(_FEWEST_DRAWS, min(_DRAWS, _NUMBERS // size))):
        draw = Counts(
            drawn(counts.confusion, spread["confusion"]),
            drawn(counts.histograms, spread["histograms"]),
            counts.positions,
            generator.normal(counts.loss_sum, spread["loss"]),
            generator.normal(counts.brier_sum, spread["brier"]),
        )
        for key, value in metrics_of(draw, positive).items():
            if finite(value) is not None:
                found.setdefault(key, []).append(value)
    return {key: float(f"{np.std(values):.4g}") for key, values in found.items() if len(values) > 1}


def shown(counts: Counts) -> Counts:
    """Return counts of which none is below zero, as tables and pictures have them."""
    return Counts(
        np.maximum(counts.confusion, 0),
        np.maximum(counts.histograms, 0),
        counts.positions,
        counts.loss_sum,
        counts.brier_sum,
    )


def _within(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    return max(0, value) if name in ("loss", "brier", "num_examples") else min(max(0.0, value), 1.0)
