"""How far figures may be from those of endlessly many such rows: 95% confidence intervals, from counts alone.

Shares of rows (accuracy, recall, precision) have the interval of Wilson (1927), the AUC that of Newcombe (2006, "Method
5"): both hold with few rows and near 0 and 1 too, where a standard error would say that nothing is uncertain. Other
figures have none: of them the sums do not tell how unlike the rows are. So have means over classes, since one row is
in the counts of every class.
"""

from collections.abc import Callable

import numpy as np

from fl_app.tabular.evaluation import Counts

Z = 1.959963984540054
"""Standard deviations to either side that hold 95% of a normal distribution."""
LEVEL = "95%"
Interval = tuple[float, float]
_HALVINGS = 60


def wilson(hits: float, rows: float) -> Interval:
    """Return the interval of a share: ``hits`` of ``rows``, of which there is one at least."""
    share, square = hits / rows, Z * Z / rows
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * float(np.sqrt(share * (1 - share) / rows + square / (4 * rows)))
    return max(0.0, middle - half), min(1.0, middle + half)


def of_auc(auc: float, inside: int, outside: int) -> Interval:
    """Return the interval of the AUC over so many rows inside a class and outside, at least one each.

    It holds all true values by which what was found is within ``Z`` standard deviations. The variance is that of Hanley
    and McNeil (1982), with the mean of both numbers of rows in the place of each.
    """
    more = (inside + outside) / 2 - 1

    def beyond(true: float) -> bool:
        spread = 1 + more * (1 - true) / (2 - true) + more * true / (1 + true)
        return abs(auc - true) > Z * float(np.sqrt(true * (1 - true) * spread / (inside * outside)))

    return _edge(beyond, 0.0, auc), _edge(beyond, 1.0, auc)


def intervals_of(counts: Counts, auc: float | None, positive: int | None = None) -> dict[str, Interval]:
    """Return the intervals of those figures that have one, by name.

    Parameters
    ----------
    counts : Counts
        Exact ones: noise would be taken for rows.
    auc : float or None
        As the counts or the rows themselves say.
    positive : int or None
        As for `fl_app.tabular.evaluation.metrics_of`.
    """
    confusion = counts.confusion
    hits, rows = int(np.trace(confusion) + counts.together[0]), int(confusion.sum() + counts.together.sum())
    found = {"accuracy": wilson(hits, rows)} if rows else {}
    two = len(confusion) == 2
    if two or positive is not None:
        place = 1 if positive is None else positive
        right, true, named = int(confusion[place, place]), int(confusion[place].sum()), int(confusion[:, place].sum())
        if true:
            found["recall"] = wilson(right, true)
        if true and named:
            found["precision"] = wilson(right, named)
    if two and auc is not None and confusion.sum(axis=1).all():
        found["auc"] = of_auc(auc, int(confusion[1].sum()), int(confusion[0].sum()))
    return found


def _edge(beyond: Callable[[float], bool], out: float, within: float) -> float:
    """Return where what is ``beyond`` the interval begins, between its end of the scale and a value within."""
    if not beyond(out + (within - out) * 1e-12):
        return out
    for _ in range(_HALVINGS):
        middle = (out + within) / 2
        out, within = (middle, within) if beyond(middle) else (out, middle)
    return within
