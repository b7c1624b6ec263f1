"""Counts of an evaluation by the categories of one column, and which of them there may be.

Whoever knows the counts of all rows and those of some groups knows those of all other rows. So a group's counts are
told only where the rest can be told too: every pod that adds rows to a group, or to the rest, adds as many as its owner
wants counted, and as many pods add as each of their owners wants in a sum. What is too small for that is in the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.evaluation import count, scored_classes
from fl_app.tabular.schema import Column
from fl_app.tabular.score_cells import SCORE_CELLS, Edges
from fl_app.tabular.thin_classes import APART

MOST_GROUPS: Final = 50
"""Categories at most of a column by which counts are told apart."""
MOST_CELLS: Final = 1 << 18
"""Elements at most of all groups' score histograms, 2 MiB; where there would be more, groups have no AUC."""
CONFUSIONS, HISTOGRAMS = "group_confusion", "group_histograms"
"""Names of what is summed, beside those of `fl_app.tabular.evaluation.Counts`."""


@dataclass(frozen=True)
class GroupCounts:
    """Counts by group, the rest last.

    Attributes
    ----------
    confusion
        int64 [G + 1, C, C], true class by predicted class.
    histograms
        int64 [G + 1, K, 2, cells], as of `fl_app.tabular.evaluation.Counts`; none, [0, ...], where these were too many.
    """

    confusion: NDArray[np.int64]
    histograms: NDArray[np.int64]

    @classmethod
    def zeros(cls, groups: int, classes: int) -> "GroupCounts":
        """The counts of no rows: what a vector's layout is read from."""
        scored = scored_classes(classes)
        kept = groups + 1 if (groups + 1) * scored * 2 * SCORE_CELLS <= MOST_CELLS else 0
        return cls(
            np.zeros((groups + 1, classes, classes), np.int64), np.zeros((kept, scored, 2, SCORE_CELLS), np.int64)
        )

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """Give flat arrays by the names under which they are summed."""
        return {CONFUSIONS: self.confusion.ravel(), HISTOGRAMS: self.histograms.ravel()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], groups: int, classes: int) -> "GroupCounts":
        """Undo `arrays`; counts that come as floats are rounded."""
        blank = cls.zeros(groups, classes)
        confusion, histograms = (np.rint(arrays[name]).astype(np.int64) for name in (CONFUSIONS, HISTOGRAMS))
        return cls(confusion.reshape(blank.confusion.shape), histograms.reshape(blank.histograms.shape))


def enough(counts: NDArray[np.int64], least: int, least_of_class: int) -> bool:
    """Say whether rows, given by class, are as many as an owner wants counted."""
    return bool(counts.sum() >= least and (counts >= least_of_class).all())


def own_groups(
    counts: NDArray[np.int64], beside: NDArray[np.int64], unlabelled: int, least: int, least_of_class: int
) -> tuple[tuple[int, ...], bool]:
    """Return which groups a pod has rows enough of, and whether it has rows in none of these.

    Rows in none of them are enough too, or there are none: else the smallest group is among them, and the next one.

    Parameters
    ----------
    counts, beside : int64 [G, C], int64 [C]
        The pod's rows by group and class, and those in no group it publishes, by class.
    unlabelled : int
        Its rows whose class it does not publish: they may count with another pod's classes, and make nothing enough.
    least, least_of_class : int
        The owner's ``minimum_evaluation_rows`` and ``minimum_rows_per_class``.
    """
    large = [place for place, rows in enumerate(counts) if enough(rows, least, least_of_class)]
    large.sort(key=lambda place: (int(counts[place].sum()), -place), reverse=True)
    while True:
        rest = beside + counts.sum(axis=0) - counts[large].sum(axis=0)
        there = bool(rest.sum() or unlabelled)
        if not there or not large or enough(rest, least, least_of_class):
            return tuple(sorted(large)), there
        large.pop()


def told_apart(
    publishers: Sequence[Collection[str]], rest: Collection[str], adding: Collection[str], least: int
) -> tuple[bool, ...]:
    """Return for each group whether it has counts of its own, in a session of these pods; all others are the rest.

    Parameters
    ----------
    publishers : sequence of collections of str
        For each group the pods that have rows enough of it.
    rest : collection of str
        The pods that have rows in none of these.
    adding : collection of str
        The pods that add to the evaluation.
    least : int
        Fewest pods that the strictest of their owners allows in a sum.
    """
    inside = [set(pods) & set(adding) for pods in publishers]
    apart = {place for place, pods in enumerate(inside) if adding and len(pods) >= least}

    def beside() -> set[str]:
        return set(rest) & set(adding) | {
            pod for place, pods in enumerate(inside) if place not in apart for pod in pods
        }

    while apart and 0 < len(beside()) < least:
        apart.remove(min(apart, key=lambda place: (len(inside[place]), -place)))
    return tuple(place in apart for place in range(len(inside)))


def count_groups(
    labels: NDArray[np.signedinteger[Any]],
    probabilities: NDArray[np.float64],
    edges: Edges,
    ways: Sequence[str],
    groups: NDArray[np.int64],
    size: int,
) -> GroupCounts:
    """Count rows by group, as `fl_app.tabular.thin_classes.count_by` does: those of classes that are counted apart.

    Parameters
    ----------
    groups : int64 [n]
        Each row's group, ``size`` for the rest.
    size : int
        How many groups there are without the rest.
    """
    zeros = GroupCounts.zeros(size, probabilities.shape[1])
    apart = np.array(ways)[labels] == APART
    for group in range(size + 1):
        rows = apart & (groups == group)
        counts = count(labels[rows], probabilities[rows], edges)
        zeros.confusion[group] = counts.confusion
        if len(zeros.histograms):
            zeros.histograms[group] = counts.histograms
    return zeros


def group_column(name: str, column: Column) -> Column:
    """Return the column by whose categories counts are told apart; raises `DataError` if it has none or too many."""
    if column.numeric:
        raise DataError(f"group_by: column {name!r} is a number, and has no categories")
    categories = column.as_categories()
    if not 1 <= len(categories.values) <= MOST_GROUPS:
        raise DataError(
            f"group_by: column {name!r} has {len(categories.values):,} categories; 1 to {MOST_GROUPS} are told apart"
        )
    return categories
