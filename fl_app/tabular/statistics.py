"""Statistics for normalisation and bins: sums over rows, so that summing over pods gives those of the pooled rows."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.schema import Column

if TYPE_CHECKING:
    from fl_app.tabular.cells import Table

MOMENTS, HISTOGRAM = "moments", "histogram"
GRID_CELLS = 4096
"""Cells of a number's histogram: each is an element of the vector that pods mask and send, once a run."""
VARIANCE = 9
"""Variance of the noise, of all pods but one together, that hides a row in a sum: a standard deviation of 3.

What one or two rows change may as well be chance; 10 rows, the fewest of a category unless an owner says otherwise, are
two deviations or three. The census loses .001 of AUC by it.
"""
LEVELS: Mapping[int, int] = MappingProxyType({256: 180, 16: 180, 1: 10})
"""Variance of the noise in each count of a level of a histogram, by the number of cells in its blocks.

Where noise hides single cells, blocks of them show. A row is in a block of each level, and whoever takes all levels
together learns as much as from one count with noise of `VARIANCE`: 1/180 + 1/180 + 1/10 = 1/9.
"""
NOISE_TAIL = 256
"""What the noise of an element at one pod exceeds with a probability below 2^-250."""


def grid(column: Column) -> NDArray[np.float64]:
    """Return the public edges of a column's histogram, from its schema alone: float64, ascending.

    An integer column of small range has one cell for each value. Any other has an even grid, refined by one
    whose cells grow with the distance from zero, so that a skewed column is resolved near its many small values. Dates
    gather nowhere, and have an even grid alone.
    """
    low, high = column.bounds
    if column.integer and high - low < GRID_CELLS:
        return np.arange(math.floor(low), math.ceil(high) + 2, dtype=np.float64) - 0.5
    if column.date:
        return _even(low, high, integer=column.integer)
    half = GRID_CELLS // 2
    centre = min(max(low, 0.0), high)
    unit = (high - low) / 1024
    below, above = _octaves(centre - low, unit), _octaves(high - centre, unit)
    steps = half // (below + above)
    growing = np.concatenate([centre - _growing(unit, below, steps), centre + _growing(unit, above, steps)])
    edges = np.concatenate([np.linspace(low, high, half + 1), np.clip(growing, low, high)])
    if column.integer:
        edges = np.concatenate([np.floor(edges[edges < high]) + 0.5, [low - 0.5, high + 0.5]])
    return np.unique(edges)


def _even(low: float, high: float, *, integer: bool) -> NDArray[np.float64]:
    edges = np.linspace(low, high, GRID_CELLS + 1)
    if integer:  # whole numbers fall into the middle of a cell, and never on an edge
        edges = np.unique(np.concatenate([[low - 0.5], np.floor(edges[1:-1]) + 0.5, [high + 0.5]]))
    return edges


# Only sums, products and quotients, which IEEE 754 rounds alike everywhere: pods compare encodings by their bits.
def _octaves(length: float, unit: float) -> int:
    """Count the unit, and its doublings from there on, that cover a length."""
    octaves = 0
    while unit * 2.0 ** (octaves - 1) * (octaves > 0) < length:
        octaves += 1
    return octaves


def _growing(unit: float, octaves: int, steps: int) -> NDArray[np.float64]:
    """Return distances from 0 on: so many even steps to the unit, and as many in each doubling of it."""
    step = np.arange(steps) / steps
    return np.concatenate(
        [np.zeros(0), *(unit * step if k == 0 else unit * 2.0 ** (k - 1) * (1 + step) for k in range(octaves))]
    )


def cell_of(numbers: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each number's cell, int64 [n]; numbers outside the edges belong to the outermost cells."""
    return np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)


def blocks_of(cells: int) -> tuple[int, ...]:
    """Return how many cells are in a block of each level of a histogram with so many cells, the coarsest first."""
    return tuple(size for size in LEVELS if size == 1 or size < cells)


@dataclass(frozen=True)
class Statistics:
    """Sums over rows for p continuous columns; ``+`` gives those of both tables together.

    No row adds more than 1 to any.

    Attributes
    ----------
    moments
        float64 [p, 3]: the sums of u, of u^2 and of 1 over the present values, with u = (v - middle) / half-range in
        [-1, 1] by the public bounds.
    histogram
        int64 [total blocks]: for each column, each level of its histogram on :func:`grid`, see `LEVELS`.
    pods
        How many pods' shares of noise are in them; 0 where they are exact.
    """

    moments: NDArray[np.float64]
    histogram: NDArray[np.int64]
    pods: int = 0

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(self.moments + other.moments, self.histogram + other.histogram, self.pods + other.pods)

    def arrays(self) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
        """Give the flat arrays, in a fixed order."""
        return {MOMENTS: self.moments.ravel(), HISTOGRAM: self.histogram}

    @classmethod
    def from_sums(cls, sums: Mapping[str, NDArray[np.int64] | NDArray[np.float64]], pods: int = 0) -> Self:
        """Read the sums of what so many pods made of :meth:`arrays` with noise, as integers or as floats near them.

        Each pod raises its counts by `NOISE_TAIL`, so that none that leaves it is below zero.
        """
        moments = np.asarray(sums[MOMENTS], dtype=np.float64).reshape(-1, 3)
        return cls(moments, np.rint(sums[HISTOGRAM]).astype(np.int64) - NOISE_TAIL * pods, pods)

    @classmethod
    def zeros(cls, columns: Sequence[Column]) -> Self:
        """The statistics of no rows: what a vector's layout is read from."""
        size = sum(-(-cells // block) for cells in map(_cells, columns) for block in blocks_of(cells))
        return cls(np.zeros((len(columns), 3)), np.zeros(size, dtype=np.int64))

    def parted(self, first: Sequence[Column], last: Sequence[Column]) -> tuple[Self, Self]:
        """Return the statistics of the first columns and those of the others, which follow them."""
        at = len(self.zeros(first).histogram)
        return (
            replace(self, moments=self.moments[: len(first)], histogram=self.histogram[:at]),
            replace(self, moments=self.moments[len(self.moments) - len(last) :], histogram=self.histogram[at:]),
        )

    def levels(self, columns: Sequence[Column]) -> Iterator[list[NDArray[np.int64]]]:
        """Yield each column's counts by level, as `blocks_of` says."""
        at = 0
        for cells in map(_cells, columns):
            sizes = [-(-cells // block) for block in blocks_of(cells)]
            ends = np.cumsum([at, *sizes]).tolist()
            yield [self.histogram[start:end] for start, end in itertools.pairwise(ends)]
            at = ends[-1]


def histogram_variances(columns: Sequence[Column]) -> NDArray[np.int64]:
    """Return the variance of the noise that is wanted in each element of a histogram of `Statistics`, int64."""
    parts = [np.full(-(-cells // block), LEVELS[block]) for cells in map(_cells, columns) for block in blocks_of(cells)]
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _cells(column: Column) -> int:
    return len(grid(column)) - 1


def statistics_of(table: "Table", columns: Sequence[Column]) -> Statistics:
    """Sum a table's rows for the given continuous columns; an absent optional column counts as all missing."""
    moments = np.zeros((len(columns), 3))
    histograms = [np.zeros(0, dtype=np.int64)]
    for row, column in enumerate(columns):
        numbers = present_numbers(table, column)
        numbers = numbers[~np.isnan(numbers)]
        # Scaled to [-1, 1] by public bounds: no row adds more than 1 to any sum, which bounds the masked segment.
        low, high = column.bounds
        u = (numbers - (low + high) / 2) / ((high - low) / 2)
        moments[row] = u.sum(), (u * u).sum(), len(u)
        edges = grid(column)
        cells = np.bincount(cell_of(numbers, edges), minlength=len(edges) - 1)
        histograms += [np.add.reduceat(cells, np.arange(0, len(cells), block)) for block in blocks_of(len(cells))]
    return Statistics(moments, np.concatenate(histograms))


def present_numbers(table: "Table", column: Column) -> NDArray[np.float64]:
    """Return a continuous column, float64 [n], clipped to its public bounds, NaN where missing or absent."""
    if is_absent(table, column):
        return np.full(len(table), np.nan)
    return np.clip(table.numbers_of(column.name, column.missing, column.date), *column.bounds)


def is_absent(table: "Table", column: Column) -> bool:
    """Say whether a table lacks a column that may be absent; raises DataError where it may not."""
    if column.source in table.names:
        return False
    if column.optional:
        return True
    raise DataError(f"the table has no column {column.source!r}, which the schema requires")
