"""The figures of a cross-validation: over its folds, and of all folds' counts together.

Counts of the folds add up to counts of all rows, each of which one model has scored that was not trained on it. So
accuracy, recall, precision and F1 are those of the summed confusion matrix (Forman and Scholz 2010, "Apples-to-Apples
in Cross-Validation Studies": the mean of the folds' F1 is biased). Scores of different models are not on one scale, so
the AUC and R2 compare rows of the same fold alone: the AUC is the share of all such pairs that are in the right order.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from fl_app.tabular.evaluation import Counts, area, metrics_of, scored_classes
from server.app.results import Metrics, Results
from server.display.words import METRICS, NUMERIC_METRICS
from server.modeller.folds.directory import Spread

_MEANS = ("accuracy", "brier", "loss")
"""The figures of classes that are means over rows."""


def figures_of(results: Sequence[Results]) -> dict[str, Any]:
    """Return the fields of a `CrossValidation` that follow from the results of all its runs."""
    finals = [entry.final for entry in results if entry.final is not None]
    names = NUMERIC_METRICS if results[0].regression else METRICS
    pooled = _pooled_numbers(finals) if results[0].regression else _pooled_classes(results, finals)
    told: dict[str, Any] = {
        "metrics": {name: _spread([getattr(final, name) for final in finals], pooled.get(name)) for name in names},
        "rows": sum(final.num_examples or 0 for final in finals),
        "classes": results[0].classes,
    }
    if not results[0].regression:
        told["confusion"] = _confusion(results).tolist()
    return told


def _spread(values: Sequence[float | None], pooled: float | None) -> Spread:
    """Return mean and deviation of a metric that all folds define, and what is pooled in any case."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or len(known) < 2:
        return Spread(pooled=pooled)
    return Spread(mean=statistics.fmean(known), std=statistics.stdev(known), pooled=pooled)


def _weighted(finals: Sequence[Metrics], value: Callable[[Metrics], float | None]) -> float | None:
    """Return the mean of a figure over rows, from its mean over the rows of each fold."""
    parts = [(value(final), final.num_examples or 0) for final in finals]
    rows = sum(number for _, number in parts)
    known = [mean * number for mean, number in parts if mean is not None]
    return sum(known) / rows if rows and len(known) == len(parts) else None


def _confusion(results: Sequence[Results]) -> np.ndarray[Any, Any]:
    total: np.ndarray[Any, Any] = np.sum([entry.confusion for entry in results], axis=0)
    return total


def _pooled_classes(results: Sequence[Results], finals: Sequence[Metrics]) -> Mapping[str, float | None]:
    confusion, classes = _confusion(results), results[0].classes
    positive = classes.index(results[0].positive) if results[0].positive else None
    nothing = np.zeros((scored_classes(len(classes)), 2, 1), np.int64)
    named = metrics_of(Counts(confusion, nothing, nothing, 0.0, 0.0), positive)
    by_class = ("balanced_accuracy", "f1", "recall", "precision")
    pooled = {name: None if np.isnan(named[name]) else named[name] for name in by_class}
    # Rows of classes that too few pods have are in these alone, and in no confusion matrix.
    pooled |= {name: _weighted(finals, attrgetter(name)) for name in _MEANS}
    return {**pooled, "auc": _auc([np.array(entry.histograms, np.int64) for entry in results])}


def _auc(folds: Sequence[np.ndarray[Any, Any]]) -> float | None:
    """Return the share of pairs of rows of one fold in the right order, from int64 [K, 2, cells] each; mean over K."""
    areas = []
    for histograms in zip(*folds, strict=True):
        pairs = [float(np.prod(histogram.sum(axis=1))) for histogram in histograms]
        if sum(pairs):
            right = [number * area(histogram) for number, histogram in zip(pairs, histograms, strict=True) if number]
            areas.append(sum(right) / sum(pairs))
    return float(np.mean(areas)) if areas else None


def _pooled_numbers(finals: Sequence[Metrics]) -> Mapping[str, float | None]:
    squared = _weighted(finals, lambda final: None if final.rmse is None else final.rmse**2)
    # What the values of a fold vary by is not told, but follows from how much of it the errors are.
    varies = _weighted(finals, _variance)
    return {
        "mae": _weighted(finals, lambda final: final.mae),
        "loss": _weighted(finals, lambda final: final.loss),
        "rmse": None if squared is None else squared**0.5,
        "r2": None if squared is None or not varies else 1 - squared / varies,
    }


def _variance(final: Metrics) -> float | None:
    if final.rmse is None or final.r2 is None or final.r2 == 1:
        return None
    return final.rmse**2 / (1 - final.r2)
