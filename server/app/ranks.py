"""Ranks in a number's histogram: how many rows lie below, from counts of blocks and cells that noise is in."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import LEVELS, VARIANCE, blocks_of, grid

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranks:
    """How many rows lie below each edge of a number's grid.

    Attributes
    ----------
    edges : array
        float64 [cells + 1].
    below : array
        float64 [cells + 1], never falling.
    deviation : float
        Standard deviation of the noise in any of these, at the most, beside that of all rows.
    whole : bool
        Whether all numbers are whole.
    """

    edges: _Floats
    below: _Floats
    deviation: float
    whole: bool

    @classmethod
    def of(cls, column: Column, levels: Sequence[NDArray[np.int64]], rows: float, pods: int) -> Self:
        """Return the ranks that fit all levels of a histogram best.

        Parameters
        ----------
        levels : sequence of arrays
            The counts, as of `Statistics.levels`, with the noise of so many ``pods``.
        rows : float
            All rows with a value, as the moments say.
        """
        edges = grid(column)
        counts, deviation = _cells_of(levels, blocks_of(len(edges) - 1), rows, pods)
        below = np.concatenate([[0.0], np.cumsum(counts)])
        # Noise makes ranks fall here and there: halfway between the least and the most that they can have been.
        rising = np.maximum.accumulate(below) + np.minimum.accumulate(below[::-1])[::-1]
        return cls(edges, rising / 2, deviation, column.integer)

    @property
    def rows(self) -> float:
        """All rows with a value."""
        return float(self.below[-1])

    def quantile(self, share: float) -> float:
        """Return a number with this share of the rows up to it, as if rows lay evenly in its cell."""
        rank = share * self.rows - 1e-9 * max(1.0, self.rows)
        place = int(np.clip(np.searchsorted(self.below, rank, side="left") - 1, 0, len(self.edges) - 2))
        low, high = float(self.edges[place]), float(self.edges[place + 1])
        inside = float(self.below[place + 1] - self.below[place])
        part = (rank - float(self.below[place])) / inside if inside > 0 else 0.5
        value = low + min(max(part, 0.0), 1.0) * (high - low)
        return min(max(float(np.rint(value)) + 0.0, math.ceil(low)), math.floor(high)) if self.whole else value

    def histogram(self, bins: int) -> tuple[list[float], list[int]]:
        """Count the rows in at most so many even bins, from the first to the last hundredth, with edges of the grid."""
        low, high = self.quantile(0.01), self.quantile(0.99)
        first = int(np.searchsorted(self.edges, low, side="right")) - 1
        last = max(int(np.searchsorted(self.edges, high, side="left")), first + 1)
        if self.whole and np.allclose(np.diff(self.edges[first : last + 1]), 1):  # as many whole numbers in each bin
            step = -(-(last - first) // bins)
            places = np.unique(np.minimum(np.arange(first, last + step, step), len(self.edges) - 1))
        else:
            wanted = np.linspace(self.edges[first], self.edges[last], min(bins, last - first) + 1)
            places = np.unique(np.clip(np.searchsorted(self.edges, wanted - 1e-12), first, last))
        return self.edges[places].tolist(), np.rint(np.diff(self.below[places])).astype(int).tolist()


def _cells_of(
    levels: Sequence[NDArray[np.int64]], sizes: Sequence[int], rows: float, pods: int
) -> tuple[_Floats, float]:
    """Return the counts of single cells that fit those of all blocks best, and the largest deviation of their sums.

    Least squares over a tree: blocks and what is in them are weighed from the cells up, and what is left over is
    divided from the top down (Hay et al. 2010, Boosting the accuracy of differentially private histograms).
    """
    if not pods:
        return levels[-1].astype(np.float64), 0.0
    estimates = [counts.astype(np.float64) for counts in levels]
    variances: list[_Floats] = [
        np.full(len(c), float(pods * LEVELS[size])) for c, size in zip(levels, sizes, strict=True)
    ]
    inside = [coarse // fine for coarse, fine in itertools.pairwise(sizes)]
    for level in reversed(range(len(sizes) - 1)):
        starts = np.arange(0, len(levels[level + 1]), inside[level])
        sums = np.add.reduceat(estimates[level + 1], starts)
        noise = np.add.reduceat(variances[level + 1], starts)
        weight = noise / (noise + variances[level])
        estimates[level] = weight * estimates[level] + (1 - weight) * sums
        variances[level] = weight * variances[level]
    top, noise_of_top = float(estimates[0].sum()), float(variances[0].sum())
    left_over = (rows - top) * noise_of_top / (noise_of_top + pods * VARIANCE)
    estimates[0] += left_over * variances[0] / noise_of_top
    # Of n parts whose sum is known, the first k together have k (n - k) / n times the noise of one: n / 4 at most.
    deviation = float(variances[0].max()) * len(levels[0]) / 4
    for level, children in enumerate(inside):
        starts = np.arange(0, len(levels[level + 1]), children)
        parents = np.repeat(np.arange(len(starts)), children)[: len(levels[level + 1])]
        noise = np.add.reduceat(variances[level + 1], starts)
        missed = estimates[level] - np.add.reduceat(estimates[level + 1], starts)
        estimates[level + 1] += missed[parents] * variances[level + 1] / noise[parents]
        deviation += float(variances[level + 1].max()) * min(children, len(levels[level + 1])) / 4
    return estimates[-1], math.sqrt(deviation)
