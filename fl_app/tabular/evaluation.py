"""Metrics as counts: what is summed over pods gives the metrics of the pooled rows, not a mean of means.

Secure aggregation shows sums only, so everything a metric needs has to be a sum over rows with a bound known
beforehand. Accuracy, precision, recall and F1 come from the confusion matrix, loss and Brier score from capped sums.
The AUC is not a sum: it compares every row inside a class with every row outside. Histograms of the scores give it, in
cells that follow the scores: see `fl_app.tabular.score_cells`.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError, RunFailed
from fl_app.tabular.score_cells import POSITIONS, SCORE_CELLS, Edges, cells_of, fixed_edges

# A row's cross entropy is capped here (a probability of 1.1e-7), so that sums have a bound known beforehand.
MAX_LOSS = 16.0
MAX_BRIER = 2.0

Arrays = dict[str, NDArray[np.int64] | NDArray[np.float64]]


@dataclass(frozen=True)
class Counts:
    """Counts over rows with C classes; ``+`` gives the counts of both sets of rows together.

    Attributes
    ----------
    confusion
        int64 [C, C], true class by predicted class.
    histograms
        int64 [K, 2, cells], scores of the rows outside (0) and inside (1) a class: K = 1, the second class,
        where there are two, else K = C, each class against the rest.
    positions
        int64 [K, 2, POSITIONS], the same rows by where in its cell their score lies.
    loss_sum
        Sum of the rows' cross entropy, each at most ``MAX_LOSS``.
    brier_sum
        Sum of squared errors: of the second class's probability where there are two classes, else of all,
        at most ``MAX_BRIER`` a row.
    together
        int64 [2], rows predicted right and wrong that are in none of the counts above, only in the two sums: those of
        classes that too few pods have, see `fl_app.tabular.thin_classes`.
    """

    confusion: NDArray[np.int64]
    histograms: NDArray[np.int64]
    positions: NDArray[np.int64]
    loss_sum: float
    brier_sum: float
    together: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, dtype=np.int64))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.confusion + other.confusion,
            self.histograms + other.histograms,
            self.positions + other.positions,
            self.loss_sum + other.loss_sum,
            self.brier_sum + other.brier_sum,
            self.together + other.together,
        )

    @property
    def rows(self) -> int:
        """How many rows are counted by their class."""
        return int(self.confusion.sum())

    @property
    def scored(self) -> int:
        """How many rows loss and accuracy are over: those that are counted together too."""
        return int(self.confusion.sum() + self.together.sum())

    def arrays(self) -> Arrays:
        """Give flat arrays in a fixed order: integer counts, then the two float sums of one element."""
        return {
            "confusion": self.confusion.ravel(),
            "histograms": self.histograms.ravel(),
            "positions": self.positions.ravel(),
            "loss_sum": np.array([self.loss_sum]),
            "brier_sum": np.array([self.brier_sum]),
            "together": self.together,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Undo :meth:`arrays`; counts that come as floats are rounded; positions and together may be missing."""
        confusion = np.rint(arrays["confusion"]).astype(np.int64)
        classes = int(len(confusion) ** 0.5)
        parts = (arrays["histograms"], arrays.get("positions", np.zeros(0)))
        by_cell, by_position = (np.rint(part).astype(np.int64) for part in parts)
        return cls(
            confusion.reshape(classes, classes),
            by_cell.reshape(scored_classes(classes), 2, -1),
            by_position.reshape(scored_classes(classes), 2, -1),
            float(arrays["loss_sum"][0]),
            float(arrays["brier_sum"][0]),
            np.rint(arrays.get("together", np.zeros(2))).astype(np.int64),
        )

    @classmethod
    def zeros(cls, classes: int, cells: int = SCORE_CELLS, positions: int = POSITIONS) -> Self:
        """The counts of no rows: what a vector's layout is read from."""
        by_cell, by_position = (
            np.zeros((scored_classes(classes), 2, size), dtype=np.int64) for size in (cells, positions)
        )
        return cls(np.zeros((classes, classes), dtype=np.int64), by_cell, by_position, 0.0, 0.0)


def scored_classes(classes: int) -> int:
    """Count the classes that have score histograms of their own."""
    return 1 if classes == 2 else classes


def count(
    labels: NDArray[np.signedinteger[Any]], probabilities: NDArray[np.float64], edges: Edges | None = None
) -> Counts:
    """Count rows by true and predicted class, and their scores by cell.

    Parameters
    ----------
    labels : integers [n]
    probabilities : float64 [n, C]
    edges : float64 [K, cells + 1] or None
        The cells of each scored class; None: those with which a run begins.

    Raises
    ------
    RunFailed
        A probability is not finite.
    """
    if not np.isfinite(probabilities).all():
        raise RunFailed("the model's predictions are not finite: training diverged; use a smaller learning rate")
    classes = probabilities.shape[1]
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    inside = np.eye(classes, dtype=np.int64)[labels]
    scored = slice(1, None) if classes == 2 else slice(None)
    edges = fixed_edges(scored_classes(classes)) if edges is None else edges
    cells, positions = cells_of(probabilities[:, scored], edges)
    histograms = np.zeros((cells.shape[1], 2, edges.shape[1] - 1), dtype=np.int64)
    within = np.zeros((cells.shape[1], 2, POSITIONS), dtype=np.int64)
    for counts, places in ((histograms, cells), (within, positions)):
        np.add.at(counts, (np.arange(cells.shape[1]), inside[:, scored], places), 1)
    loss, brier = row_scores(labels, probabilities)
    return Counts(confusion, histograms, within, float(loss.sum()), float(brier.sum()))


def row_scores(
    labels: NDArray[np.signedinteger[Any]], probabilities: NDArray[np.float64], most_loss: float = MAX_LOSS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each row's cross entropy, at most ``most_loss``, and its squared error, float64 [n] each."""
    likelihood = probabilities[np.arange(len(labels)), labels]
    # Capped before the sum: one row with a probability of 0 would otherwise exceed the segment's bound.
    losses = np.minimum(-np.log(np.maximum(likelihood, np.exp(-most_loss))), most_loss)
    classes = probabilities.shape[1]
    scored = slice(1, None) if classes == 2 else slice(None)
    inside = np.eye(classes)[labels]
    return losses, np.square(probabilities[:, scored] - inside[:, scored]).sum(axis=1)


def metrics_of(counts: Counts, positive: int | None = None) -> dict[str, float]:
    """Compute metrics from (summed) counts.

    Parameters
    ----------
    positive : int or None
        The class that precision, recall and F1 are of; None: the second of two, and of more the unweighted mean over
        the classes that have rows.

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy`` (the mean recall of the classes that have rows), ``auc``, ``f1``,
        ``recall``, ``precision``, ``brier``, ``loss``, ``num_examples``. A class without rows inside, or without rows
        outside, has no AUC; a metric that no row defines is NaN. Rows that are counted
        ``together`` are in accuracy, loss, Brier score and ``num_examples`` alone. Counts with noise may be below zero,
        and metrics of them out of their range.
    """
    confusion = counts.confusion.astype(np.float64)
    rest = counts.together.astype(np.float64)
    n = max(float(confusion.sum() + rest.sum()), 0.0)  # of few rows under noise, less than none may be left
    hits = np.diag(confusion)
    precision, recall = _ratio(hits, confusion.sum(axis=0)), _ratio(hits, confusion.sum(axis=1))
    f1 = _ratio(2 * precision * recall, precision + recall)
    present = confusion.sum(axis=1) > 0
    chosen = present.copy()  # a class without rows has no recall, and would pull the mean down
    if positive is not None or len(confusion) == 2:
        place = 1 if positive is None else positive
        chosen[:place] = chosen[place + 1 :] = False
    nothing = float("nan")
    # A class that no row is in, or all are, has no ranking to measure; a mean with NaN would hide the other classes'.
    areas = [found for found in map(area, counts.histograms) if not np.isnan(found)]
    return {
        "accuracy": float(hits.sum() + rest[0]) / n if n else nothing,
        "balanced_accuracy": float(recall[present].mean()) if present.any() else nothing,
        "auc": float(np.mean(areas)) if areas else nothing,
        "f1": float(f1[chosen].mean()) if chosen.any() else nothing,
        "recall": float(recall[chosen].mean()) if chosen.any() else nothing,
        "precision": float(precision[chosen].mean()) if chosen.any() else nothing,
        "brier": counts.brier_sum / n if n else nothing,
        "loss": counts.loss_sum / n if n else nothing,
        "num_examples": n,
    }


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def area(histogram: NDArray[np.int64]) -> float:
    """Area under the ROC curve from int64 [2, cells]: trapezoids, so rows that share a cell count as ties."""
    outside, inside = histogram.astype(np.float64)
    if outside.sum() <= 0 or inside.sum() <= 0:
        return float("nan")
    # The AUC is the share of pairs (one row inside, one outside) in which the inside row scores higher: it wins against
    # all outside rows in lower cells, and half against those in its own.
    lower = np.cumsum(outside) - outside
    return float((inside * (lower + outside / 2)).sum() / (outside.sum() * inside.sum()))


def score(
    labels: NDArray[np.signedinteger[Any]], probabilities: NDArray[np.float64], positive: int | None = None
) -> dict[str, float]:
    """Return the metrics of `metrics_of`, with exact AUC and loss in the place of those that counts approximate.

    Parameters
    ----------
    labels : integers [n]
        The true classes, by their positions.
    probabilities : float64 [n, C]
        A model's predictions, each row summing to one.
    positive : int or None
        As for `metrics_of`.
    """
    if not len(labels):
        raise DataError("no row has a label that the model knows")
    metrics = metrics_of(count(labels, probabilities), positive)
    smallest = np.finfo(probabilities.dtype).eps
    found = probabilities[np.arange(len(labels)), labels].clip(smallest, 1 - smallest)
    metrics["loss"] = float(-np.log(found).mean())
    classes = probabilities.shape[1]
    if len(np.unique(labels)) == classes:
        chosen = [1] if classes == 2 else range(classes)
        metrics["auc"] = float(np.mean([_exact_area(labels == index, probabilities[:, index]) for index in chosen]))
    return metrics


def _exact_area(inside: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve of single scores, of which each has a cell of its own.

    It is that of scikit-learn, as a test shows, whose import takes a second: as long as a short run's server.
    """
    values, cells = np.unique(scores, return_inverse=True)
    return area(np.stack([np.bincount(cells[chosen], minlength=len(values)) for chosen in (~inside, inside)]))
