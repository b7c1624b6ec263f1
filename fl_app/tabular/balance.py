"""How many rows of which class are in each category and in each stretch of a number: counts by two columns at once.

The stretches follow from a number's published bounds alone, so that the same rows make the same counts in every run.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.encoding import FIRST_VALUE, codes_of
from fl_app.tabular.label_counts import LabelCounts
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import VARIANCE, cell_of, grid, present_numbers

if TYPE_CHECKING:
    from fl_app.tabular.cells import Table

STRETCHES = 8
"""Most stretches that a number is cut into: with more, noise and the owners' least count leave nothing of most."""
MOST_VALUES = 64
"""Most categories of a column, and most classes, that are counted against each other."""
_MOST_COLUMNS = 4096
TAIL = 2048
"""What the noise of a count at one pod exceeds with a probability below 2^-250, whatever the table."""


def is_countable(column: Column) -> bool:
    """Say whether a column is counted by class: a number always is, categories are if there are some, and few."""
    return column.kind == "continuous" or 2 <= len(column.values) <= MOST_VALUES


def stretches(column: Column) -> NDArray[np.float64]:
    """Return the public edges of a number's stretches: float64, ascending, at most `STRETCHES` + 1.

    Each holds as many cells of the histogram as the others; these are finer near zero, and so are they.
    """
    edges = grid(column)
    cells = len(edges) - 1
    size = -(-cells // STRETCHES)
    return edges[[*range(0, cells, size), cells]]


def size_of(column: Column) -> int:
    """Return how many counts a column has in each class: missing and its stretches, or unknown, missing and values."""
    return len(stretches(column)) if column.kind == "continuous" else LabelCounts.size(column)


def places_of(table: "Table", column: Column) -> NDArray[np.int64]:
    """Return the count that each row is in, int64 [n]: of a number 0 where it is missing, of a category its code."""
    if column.kind != "continuous":
        return codes_of(table, column)
    numbers = present_numbers(table, column)
    places = np.zeros(len(numbers), dtype=np.int64)
    present = ~np.isnan(numbers)
    places[present] = 1 + cell_of(numbers[present], stretches(column))
    return places


def joint_counts(table: "Table", column: Column, target: Column, least: int = 1) -> NDArray[np.int64]:
    """Count one pod's rows by a column and the target, int64 [`size_of` column, codes of the target].

    Parameters
    ----------
    target : Column
        A categorical column.
    least : int
        A count of fewer rows is given as none: the owner's ``minimum_category_count``.
    """
    shape = size_of(column), FIRST_VALUE + len(target.values)
    places = places_of(table, column) * shape[1] + codes_of(table, target)
    counts = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
    return np.where(counts >= least, counts, 0)


def balance_variance(columns: int) -> int:
    """Return the variance of the noise in each count by two columns, in a table of so many.

    A class, or a category, is counted against each of the other columns, and the counts of one such table, at least
    four, add up to its rows. Whoever asks for all of them, and averages, learns no more of its rows than from one more
    count with noise of `VARIANCE`: a table's sum has four times this variance or more.
    """
    return VARIANCE * max(1, math.ceil(min(columns, _MOST_COLUMNS) / 4))
