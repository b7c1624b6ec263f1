"""The decision threshold of a model of two classes, and what figures by class are at it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import Counts, metrics_of
from fl_app.tabular.intervals import intervals_of
from fl_app.tabular.threshold import ThresholdRule
from server.app.results import Metrics
from server.app.summaries import finite

_FIGURES = ("accuracy", "balanced_accuracy", "f1", "recall", "precision")


def check_rule(rule: ThresholdRule, encoding: Encoding) -> None:
    """Raise `DataError` if a threshold is to be chosen and there are not two classes."""
    if rule != "0.5" and len(encoding.labels) != 2:
        raise DataError(
            f"--threshold {rule} needs a target of two classes: {encoding.target.name!r} has {len(encoding.labels)}; "
            "leave the option out"
        )


def metrics_at(confusion: NDArray[np.int64], positive: int | None) -> Metrics:
    """Return those metrics that follow from a confusion matrix alone, with their intervals."""
    nothing = np.zeros((1, 2, 0), np.int64)
    counts = Counts(confusion, nothing, nothing, 0.0, 0.0)
    found = metrics_of(counts, positive)
    values: dict[str, Any] = {name: finite(found[name]) for name in _FIGURES}
    return Metrics(**values, num_examples=int(confusion.sum()), intervals=intervals_of(counts, None, positive))
