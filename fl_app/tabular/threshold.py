"""From which score on a row counts as the second of two classes: chosen on summed histograms, used by the model."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.score_cells import Edges

ThresholdRule = Literal["0.5", "youden", "f1"]
"""How it is chosen: not at all, for the best balanced accuracy (Youden's J), or for the best F1."""


def best_threshold(histogram: NDArray[np.int64], edges: Edges, rule: ThresholdRule, positive: int = 1) -> float | None:
    """Return the score, among the ends of cells, from which on rows are best taken for the second class.

    Of several that are as good it is the one in their middle, as far as those next to each other reach.

    Parameters
    ----------
    histogram : int64 [2, cells]
        Rows outside (0) and inside (1) the second class by the cell of their score.
    edges : float64 [cells + 1]
        The ends of the cells, from 0 to 1.
    rule : str
        "youden" or "f1".
    positive : int
        The class that F1 is of.

    Returns
    -------
    float or None
        None if there is no row of either class, or the rule is not to choose.
    """
    if rule == "0.5" or not histogram.sum(axis=1).all():
        return None
    tables = np.stack([confusion_from(histogram, place) for place in range(len(edges) - 1)]).astype(np.float64)
    if rule == "youden":
        values = (tables[:, 0, 0] / tables[:, 0].sum(axis=1) + tables[:, 1, 1] / tables[:, 1].sum(axis=1)) / 2
    else:
        right = tables[:, positive, positive]
        values = 2 * right / (tables[:, positive].sum(axis=1) + tables[:, :, positive].sum(axis=1))
    best = np.flatnonzero(values >= values.max() - 1e-12)
    run = best[: 1 + np.argmin(np.diff(best, append=best[-1] + 2) == 1)]
    return float(edges[run[len(run) // 2]])


def confusion_from(histogram: NDArray[np.int64], place: int) -> NDArray[np.int64]:
    """Return the confusion matrix, int64 [2, 2], if rows from the cell number ``place`` on are of the second class."""
    return np.stack([histogram[:, :place].sum(axis=1), histogram[:, place:].sum(axis=1)], axis=1)


def chosen(probabilities: NDArray[np.float64], threshold: float | None) -> NDArray[np.int64]:
    """Return the class of each row, int64 [n]: the most probable one, or, of two, the second from a threshold on.

    Parameters
    ----------
    probabilities : float64 [n, C]
    threshold : float or None
        None: the most probable class.
    """
    taken = probabilities.argmax(axis=1) if threshold is None else probabilities[:, 1] >= threshold
    return np.asarray(taken, dtype=np.int64)


def threshold_of(origin: Any) -> float | None:
    """Return the threshold that a model file says it was given; None where rows are of their most probable class."""
    decision = origin.get("decision") if isinstance(origin, dict) else None
    value = decision.get("threshold") if isinstance(decision, dict) else None
    return float(value) if isinstance(value, int | float) else None
