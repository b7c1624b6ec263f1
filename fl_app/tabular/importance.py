"""Permutation importance (Breiman 2001): how much worse a model is once the values of a column are shuffled among rows.

A column is one of the table: its number with its bin, a date with its parts, missing values and all. Each row is
compared with itself, so that two sums give the mean rise of an error, and how far that may be off.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.encoding import Encoded, Encoding
from fl_app.tabular.evaluation import MAX_LOSS, row_scores
from fl_app.tabular.regression import NumericTarget

IMPORTANCE: Final = "importance"
"""Name of what is summed, beside those of `fl_app.tabular.evaluation.Counts`."""
MOST_COLUMNS: Final = 500
"""Columns at most: each takes an evaluation of its own."""
RowErrors = NDArray[np.float64]
"""Two errors of each row, float64 [n, 2], between 0 and 1. Of classes: the loss, in units of the largest, and whether
another class is the most probable one. Of a number: the absolute and the squared error, in units of the distance
between its bounds."""
Rises = NDArray[np.float64]
"""Of each column, float64 [columns, 2, 2]: the rises of either error, summed over rows, and their squares. No row adds
more than 1 to any of these sums."""


def table_columns(encoding: Encoding) -> tuple[str, ...]:
    """Return the names of the table's columns that are learnt from; a date and its parts are one."""
    return tuple(dict.fromkeys(column.source for column in encoding.features))


def no_rises(encoding: Encoding) -> Rises:
    """Return the sums over no rows: what a vector's layout is read from."""
    return np.zeros((len(table_columns(encoding)), 2, 2))


def rises_of(
    rows: Encoded,
    encoding: Encoding,
    errors_of: Callable[[Encoded], RowErrors],
    orders: Iterable[NDArray[np.int64]],
) -> Rises:
    """Sum over rows how much larger their errors are with each column shuffled.

    Parameters
    ----------
    errors_of : callable
        Returns the errors of rows.
    orders : iterable of int64 [n]
        For each of `table_columns` the row whose values of it each row takes on.
    """
    before, sums = errors_of(rows), no_rises(encoding)
    for place, (column, order) in enumerate(zip(table_columns(encoding), orders, strict=True)):
        rise = errors_of(shuffled(rows, encoding, column, order)) - before
        sums[place] = np.stack([rise.sum(axis=0), (rise * rise).sum(axis=0)], axis=1)
    return sums


def shuffled(rows: Encoded, encoding: Encoding, column: str, order: NDArray[np.int64]) -> Encoded:
    """Return the rows, each with its own values in all columns of the table but one, and there with those of another.

    Parameters
    ----------
    order : int64 [n]
        The row whose values each row takes on.
    """
    number = [place for place, feature in enumerate(encoding.continuous) if feature.source == column]
    category = [place for place, feature in enumerate(encoding.categorical) if feature.source == column]

    def mixed(part: NDArray[Any], places: list[int]) -> Any:
        if not places:
            return part
        taken = part.copy()
        taken[:, places] = part[order[:, None], places]
        return taken

    return replace(
        rows,
        numbers=mixed(rows.numbers, number),
        bins=mixed(rows.bins, number),
        codes=mixed(rows.codes, category),
    )


def class_errors(labels: NDArray[np.signedinteger[Any]], probabilities: NDArray[np.float64]) -> RowErrors:
    """Return the errors of rows, with labels, integers [n], and predicted probabilities, float64 [n, C]."""
    loss, _ = row_scores(labels, probabilities)
    return np.stack([loss / MAX_LOSS, probabilities.argmax(axis=1) != labels], axis=1)


def number_errors(values: NDArray[np.float64], predictions: NDArray[np.float64], target: NumericTarget) -> RowErrors:
    """Return the errors of predictions, float64 [n] as the values, both in the target's unit and within its bounds."""
    error = np.abs(predictions - values) / (target.groups[-1] - target.groups[0])
    return np.stack([error, error * error], axis=1)
