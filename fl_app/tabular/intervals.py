"""How far figures may be from those of endlessly many such rows: 95% confidence intervals, from sums alone.

Shares of rows (accuracy, recall, precision) have the interval of Wilson (1927), the AUC that of Newcombe (2006, "Method
5"): both hold with few rows and near 0 and 1 too, where a standard error would say that nothing is uncertain. Other
figures of classes have none: of them the sums do not tell how unlike the rows are. So have means over classes, since
one row is in the counts of every class.

What a column is worth is a mean over rows of either sign; squares are summed beside it.

The errors of a number are means over rows, so near a normal distribution once rows are many (`FEWEST`). Their standard
errors come from sums of higher powers, that of R2 as the variance of a ratio of means (Cochran, "Sampling Techniques",
1977, chapter 6). The delta method carries them over to logarithms (Wasserman, "All of Statistics", 2004, section 5.5):
so no end is below 0, or of R2 above 1, and intervals hold what is true more often than on the plain scale.
"""

from collections.abc import Callable

import numpy as np

from fl_app.tabular.evaluation import Counts
from fl_app.tabular.regression import Errors, NumericTarget

Z = 1.959963984540054
"""Standard deviations to either side that hold 95% of a normal distribution."""
LEVEL = "95%"
Interval = tuple[float, float]
FEWEST = 50
"""Rows below which the errors of a number have no intervals: of fewer, too many would not hold what is true."""
_HALVINGS = 60
_LEAST_SUM = 1e-7
"""Of fourth powers over all rows, as large as squares of the mean square make it: below, rounding has a part in it."""


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


def of_rise(total: float, squares: float, rows: int) -> Interval | None:
    """Return the interval of a mean of either sign, from sums of values and of squares; None below `FEWEST` rows."""
    if rows < FEWEST:
        return None
    mean = total / rows
    half = Z * float(np.sqrt(max(squares / rows - mean * mean, 0.0) / rows))
    return mean - half, mean + half


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
    hits, rows = int(np.trace(confusion) + counts.together[0]), counts.scored
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


def intervals_of_errors(errors: Errors, target: NumericTarget) -> dict[str, Interval]:
    """Return the intervals of ``mae``, ``rmse`` and ``r2``, as `fl_app.tabular.regression.metrics_of_errors` has them.

    They are those of rows drawn at random. There are none of fewer than ``FEWEST`` rows, and none of a figure whose
    rows differ by no more than what is rounded off.
    """
    rows, unit = errors.rows, target.groups[-1] - target.groups[0]
    if rows < FEWEST:
        return {}
    absolute, squared, mean, square, e4, d3, d4, e2d, e2d2 = (errors.sums / rows).tolist()
    if rows * squared**2 < _LEAST_SUM:
        return {}
    low, high = _of_mean(absolute, squared - absolute**2, rows)
    found = {"mae": (unit * low, unit * high)}
    low, high = _of_mean(squared, e4 - squared**2, rows)
    found["rmse"] = (unit * float(np.sqrt(low)), unit * float(np.sqrt(high)))
    variance = square - mean**2
    if rows * variance**2 < _LEAST_SUM:
        return found
    # With c the value's distance from the mean of these rows, and the ratio q of both mean squares, R2 is 1 - q. The
    # ratio's variance is that of the mean of e^2 - q c^2 (whose mean is 0), over the square of what it is divided by.
    ratio = squared / variance
    e2c2 = e2d2 - 2 * mean * e2d + mean**2 * squared
    c4 = d4 - 4 * mean * d3 + 6 * mean**2 * square - 3 * mean**4
    low, high = _of_mean(ratio, (e4 - 2 * ratio * e2c2 + ratio**2 * c4) / variance**2, rows)
    return found | {"r2": (1 - high, 1 - low)}


def _of_mean(mean: float, variance: float, rows: int) -> Interval:
    """Return the interval of a positive mean over rows with this variance, which is symmetric in its logarithm."""
    factor = float(np.exp(Z * np.sqrt(max(variance, 0.0) / rows) / mean))
    return mean / factor, mean * factor


def _edge(beyond: Callable[[float], bool], out: float, within: float) -> float:
    """Return where what is ``beyond`` the interval begins, between its end of the scale and a value within."""
    if not beyond(out + (within - out) * 1e-12):
        return out
    for _ in range(_HALVINGS):
        middle = (out + within) / 2
        out, within = (middle, within) if beyond(middle) else (out, middle)
    return within
