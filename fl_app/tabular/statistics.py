"""Statistics for normalisation and bins: sums over rows, so that summing over pods gives those of the pooled rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.schema import Column

if TYPE_CHECKING:
    from fl_app.tabular.cells import Table

GRID_CELLS = 4096
"""Cells of a number's histogram: each is an element of the vector that pods mask and send, once a run."""


def grid(column: Column) -> NDArray[np.float64]:
    """Return the public edges of a column's histogram, from its schema alone: float64, ascending.

    An integer column of small range has one cell for each value. Any other has an even grid, refined by one
    whose cells grow with the distance from zero, so that a skewed column is resolved near its many small values.
    """
    low, high = column.bounds
    if column.integer and high - low < GRID_CELLS:
        return np.arange(math.floor(low), math.ceil(high) + 2, dtype=np.float64) - 0.5
    half = GRID_CELLS // 2 + 1
    centre = min(max(low, 0.0), high)
    scale = (high - low) / 1000
    first, last = (math.asinh((end - centre) / scale) for end in (low, high))
    # In float32: every party cuts this grid for itself, and a sinh differs in its last bit between processors.
    growing = (centre + scale * np.sinh(np.linspace(first, last, half))).astype(np.float32).astype(np.float64)
    # sinh(asinh(x)) misses the ends by a rounding; clipping merges them with those of the even grid.
    edges = np.concatenate([np.linspace(low, high, half), np.clip(growing, low, high)])
    if column.integer:
        edges = np.concatenate([np.floor(edges[edges < high]) + 0.5, [low - 0.5, high + 0.5]])
    return np.unique(edges)


def cell_of(numbers: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each number's cell, int64 [n]; numbers outside the edges belong to the outermost cells."""
    return np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)


@dataclass(frozen=True)
class Statistics:
    """Sums over rows for p continuous columns; ``+`` gives those of both tables together.

    ``moments`` is float64 [p, 3]: the sums of u, of u^2 and of 1 over the present values, with
    u = (v - middle) / half-range in [-1, 1] by the public bounds. ``histogram`` is int64 [total cells], the
    columns' histograms on :func:`grid` one after the other. No element exceeds the number of rows in size.
    """

    moments: NDArray[np.float64]
    histogram: NDArray[np.int64]

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(self.moments + other.moments, self.histogram + other.histogram)

    def arrays(self) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
        """Give the flat arrays, in a fixed order."""
        return {"moments": self.moments.ravel(), "histogram": self.histogram}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.float64] | NDArray[np.int64]]) -> Self:
        """Undo :meth:`arrays`; integer counts that come as floats are rounded."""
        moments = np.asarray(arrays["moments"], dtype=np.float64).reshape(-1, 3)
        return cls(moments, np.rint(arrays["histogram"]).astype(np.int64))

    @classmethod
    def zeros(cls, columns: Sequence[Column]) -> Self:
        """The statistics of no rows: what a vector's layout is read from."""
        cells = sum(len(grid(column)) - 1 for column in columns)
        return cls(np.zeros((len(columns), 3)), np.zeros(cells, dtype=np.int64))


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
        histograms.append(np.bincount(cell_of(numbers, edges), minlength=len(edges) - 1))
    return Statistics(moments, np.concatenate(histograms))


def present_numbers(table: "Table", column: Column) -> NDArray[np.float64]:
    """Return a continuous column, float64 [n], clipped to its public bounds, NaN where missing or absent."""
    if is_absent(table, column):
        return np.full(len(table), np.nan)
    return np.clip(table.numbers_of(column.name, column.missing), *column.bounds)


def is_absent(table: "Table", column: Column) -> bool:
    """Say whether a table lacks a column that may be absent; raises DataError where it may not."""
    if column.name in table.names:
        return False
    if column.optional:
        return True
    raise DataError(f"the table has no column {column.name!r}, which the schema requires")
