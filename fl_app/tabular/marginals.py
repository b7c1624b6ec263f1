"""Counts of rows by the value of one column: all that a private run learns of a table before it trains.

A row is in one count of each column, whatever its values, so that one amount of noise hides it in all of them. Bins of
numbers and the scales of a linear model's parameters are functions of the noised counts.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.binning import Blocks, grouped, merge_cells
from fl_app.tabular.encoding import FIRST_VALUE, Encoding, Normalisation, codes_of
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import GRID_CELLS, cell_of, grid, present_numbers

if TYPE_CHECKING:
    from fl_app.tabular.cells import Table

MARGINALS = "marginals"
_BLOCK = 16
"""Cells of a fine grid that are counted together: with noise, single ones of thousands tell nothing."""
_BIN_DEVIATIONS = 2.5
_SURE_DEVIATIONS = 3
"""A block of more rows than so many deviations holds some for sure; a number's mean and deviation are those of them."""
_LEAST_SHARE = 1 / 1000
"""A bin holds as many deviations of a count's noise as rows, and this share of all rows, at the least."""


def edges_of(column: Column) -> NDArray[np.float64]:
    """Return the edges of the blocks in which a number is counted, from its schema alone: float64, ascending."""
    edges = grid(column)
    if len(edges) - 1 <= GRID_CELLS // _BLOCK:
        return edges
    return edges[[*range(0, len(edges) - 1, _BLOCK), len(edges) - 1]]


def size_of(column: Column) -> int:
    """Return how many counts a column has: its values and two more, or its blocks and one more for missing numbers."""
    return len(edges_of(column)) if column.kind == "continuous" else FIRST_VALUE + len(column.values)


def marginals_of(table: "Table", columns: Sequence[Column]) -> NDArray[np.int64]:
    """Count a table's rows by the values of each column, int64 [sum of `size_of`].

    A category's code comes first to last; of a number, missing comes first and then its blocks.
    """
    counts = [np.zeros(0, dtype=np.int64)]
    for column in columns:
        if column.kind == "continuous":
            numbers = present_numbers(table, column)
            places = np.zeros(len(numbers), dtype=np.int64)
            present = ~np.isnan(numbers)
            places[present] = 1 + cell_of(numbers[present], edges_of(column))
        else:
            places = codes_of(table, column)
        counts.append(np.bincount(places, minlength=size_of(column)))
    return np.concatenate(counts)


@dataclass(frozen=True)
class Marginals:
    """The noised counts of all pods' training rows.

    Attributes
    ----------
    columns : tuple of Column
        The features.
    counts : tuple of arrays
        float64 [`size_of`] for each; those of few rows may be below zero.
    rows : int
        The training rows, as the noised counts of their labels add up; 1 at the least.
    deviation : float
        Standard deviation of the noise in each count.
    """

    columns: tuple[Column, ...]
    counts: tuple[NDArray[np.float64], ...]
    rows: int
    deviation: float

    @classmethod
    def from_sums(
        cls, sums: NDArray[np.float64], labels: NDArray[np.float64], columns: Sequence[Column], deviation: float
    ) -> Self:
        """Read the sum of what the pods made of `marginals_of`, and of their counts of rows by label."""
        ends = np.cumsum([0, *map(size_of, columns)]).tolist()
        counts = tuple(sums[start:end] for start, end in itertools.pairwise(ends))
        return cls(tuple(columns), counts, max(1, round(math.fsum(labels.tolist()))), deviation)

    def encoding(self, schema: Schema, datastructure: DataStructure, least_rows: int) -> Encoding:
        """Return the encoding that follows: neighbouring blocks merged into bins that hold enough rows.

        Parameters
        ----------
        least_rows : int
            Fewest rows in a bin, whatever the noise.
        """
        least = max(least_rows, math.ceil(_BIN_DEVIATIONS * self.deviation), math.ceil(_LEAST_SHARE * self.rows))
        parts = [
            self._normalised(column, counts[1:], least)
            for column, counts in zip(self.columns, self.counts, strict=True)
            if column.kind == "continuous"
        ]
        means, stds, bins = (tuple(part) for part in zip(*parts, strict=True)) if parts else ((), (), ())
        codes = tuple(tuple(range(1, len(edges))) for edges in bins)
        return Encoding(
            target=schema.column(datastructure.target).as_categories(),
            features=self.columns,
            normalisation=Normalisation(mean=means, std=stds, bins=bins, cells=bins, codes=codes),
            numbers=schema.numbers,
        )

    def _normalised(
        self, column: Column, counts: NDArray[np.float64], least: int
    ) -> tuple[float, float, tuple[float, ...]]:
        edges = edges_of(column)
        whole = np.rint(counts).astype(np.int64)
        variance = np.full(len(whole), math.ceil(self.deviation**2), dtype=np.int64)
        bins = merge_cells(Blocks(edges, whole, variance), least)
        sure = np.flatnonzero(whole > _SURE_DEVIATIONS * self.deviation)  # or a thousand empty blocks would weigh
        blocks = edges[sure].tolist(), edges[sure + 1].tolist(), whole[sure].tolist()
        # Of rows too few to be seen: as if they lay evenly between the bounds.
        mean, std = grouped(*blocks) if len(sure) else grouped([float(edges[0])], [float(edges[-1])], [1])
        return mean, std or 1.0, bins

    def by_code(self, encoding: Encoding) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the counts by an encoding's codes, rounded: of all numbers' bins, and of all categories; int64."""
        numbers: list[NDArray[np.float64]] = [np.zeros(0)]
        categories: list[NDArray[np.float64]] = [np.zeros(0)]
        bins = iter(encoding.normalisation.bins)
        for column, counts in zip(self.columns, self.counts, strict=True):
            if column.kind != "continuous":
                categories.append(counts)
                continue
            edges, own = edges_of(column), np.array(next(bins))
            inside = cell_of((edges[:-1] + edges[1:]) / 2, own)
            numbers += [counts[:1], np.bincount(inside, counts[1:], len(own) - 1).astype(np.float64)]
        rounded = [np.rint(np.concatenate(parts)).astype(np.int64) for parts in (numbers, categories)]
        return rounded[0], rounded[1]
