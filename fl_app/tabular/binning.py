"""Bins, codes, mean and deviation of a number, from counts and sums that noise hides single rows in.

All are functions of public bounds and of sums over pods. Every step is exact or rounded as IEEE 754 says, and ties keep
the order of cells, so that all pods derive the same bits. Of exact sums, where noise is 0, they are the same functions.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import LEVELS, VARIANCE, blocks_of, cell_of

MAX_BINS = 256
"""Most bins of a number: the widest column sets the width of the piecewise-linear layer for all."""
MARGIN = 1
"""How many standard deviations of its noise a count is above the rows that it has to hold.

With more, amounts that 20 or 30 rows share are lost, by which the census' capital gains are known; with less, more of
the bins are noise.
"""


@dataclass(frozen=True)
class Blocks:
    """Counts of rows in k neighbouring blocks of a histogram's cells.

    Attributes
    ----------
    edges : array
        float64 [k + 1], ascending.
    counts : array
        int64 [k], which noise may have put below zero.
    variances : array
        int64 [k], of the noise in each count; 0 where it is exact.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    variances: NDArray[np.int64]

    def full(self, rows: int) -> NDArray[np.bool_]:
        """Say of each block whether it holds so many rows for all that noise says."""
        return self.counts >= rows + MARGIN * np.sqrt(self.variances)


def resolve(edges: NDArray[np.float64], levels: Sequence[NDArray[np.int64]], pods: int, min_rows: int) -> Blocks:
    """Open each block of a histogram that holds enough rows, or in which one does, and leave the others whole.

    So the many empty cells of a fine grid do not add up their noise.

    Parameters
    ----------
    edges : array
        float64 [cells + 1].
    levels : sequence of arrays
        int64, the counts of each level of `blocks_of`.
    pods : int
        How many pods' noise they carry. Each pod's share has at most all of the variance that is to be in the sum.
    """
    sizes = blocks_of(len(edges) - 1)
    variances = [pods * LEVELS[size] for size in sizes]
    opened = [counts >= min_rows + MARGIN * math.sqrt(v) for counts, v in zip(levels, variances, strict=True)]
    for coarse, fine in reversed(list(itertools.pairwise(range(len(sizes))))):
        starts = np.arange(0, len(levels[fine]), sizes[coarse] // sizes[fine])
        opened[coarse] |= np.logical_or.reduceat(opened[fine], starts)
    parts: list[tuple[int, int, int]] = []
    shown = np.arange(len(levels[0]))
    for level, size in enumerate(sizes):
        last = level + 1 == len(sizes)
        whole = shown if last else shown[~opened[level][shown]]
        parts += [(int(place) * size, int(levels[level][place]), variances[level]) for place in whole]
        if not last:
            shown = _children(shown[opened[level][shown]], size // sizes[level + 1], len(levels[level + 1]))
    starts, counts, noise = np.array(sorted(parts), dtype=np.int64).T
    return Blocks(edges[[*starts, len(edges) - 1]], counts, noise)


def mean_and_std(
    column: Column,
    moments: Sequence[float],
    edges: NDArray[np.float64],
    levels: Sequence[NDArray[np.int64]],
    pods: int,
) -> tuple[float, float]:
    """Return mean and standard deviation of a column: from its moments or, where noise is all they are, its histogram.

    Parameters
    ----------
    moments : sequence of float
        The sums of u, u^2 and 1, see `Statistics`.
    edges, levels, pods
        As for `resolve`.
    """
    low, high = column.bounds
    middle, half = (low + high) / 2, (high - low) / 2
    total, squares, count = moments
    noise = math.sqrt(pods * VARIANCE)
    if count <= 3 * noise:  # too few rows to say anything: as if they lay evenly between the bounds
        return middle, half * math.sqrt(1 / 3) if pods else 1.0
    mean = min(max(total / count, -1.0), 1.0)
    variance = squares / count - mean * mean
    # The noise of the variance has at most sqrt(6) times the deviation of each moment's, over the rows.
    error = 2.5 * noise / count
    if pods and variance < 4 * error:
        # The moments tell of rows that no block certainly holds, as of a number that is zero in most rows, not in all.
        least = half * math.sqrt(max(variance - 2 * error, 0.0))
        variance = max(variance, error)
        if (blocks := _bulk(edges, levels, pods, 0.97 * count)) is not None:
            centre, std = grouped(*blocks)
            if std < half * math.sqrt(variance):
                return centre, max(std, least)
    # Two near-equal sums: below this the difference is rounding. A column that never varies stays all 0.
    return middle + half * mean, half * math.sqrt(variance) if variance > 1e-15 else 1.0


def _bulk(
    edges: NDArray[np.float64], levels: Sequence[NDArray[np.int64]], pods: int, least: float
) -> tuple[list[float], list[float], list[int]] | None:
    """Find the smallest blocks that certainly hold rows, ``least`` in all up to noise: their ends, and rows of each."""
    cells, sizes, found = len(edges) - 1, blocks_of(len(edges) - 1), None
    inside = np.arange(len(levels[0]))
    for level, size in enumerate(sizes):
        sure = inside[levels[level][inside] > 5 * math.sqrt(pods * LEVELS[size])]
        rows = levels[level][sure]
        if rows.sum() + 3 * math.sqrt(pods * LEVELS[size] * len(sure)) < least:
            break
        found = edges[sure * size].tolist(), edges[np.minimum((sure + 1) * size, cells)].tolist(), rows.tolist()
        if size > 1:
            inside = _children(sure, size // sizes[level + 1], len(levels[level + 1]))
    return found


def grouped(starts: Sequence[float], ends: Sequence[float], rows: Sequence[int]) -> tuple[float, float]:
    """Return mean and standard deviation of rows that lie evenly within their blocks."""
    blocks, count = list(zip(starts, ends, rows, strict=True)), sum(rows)
    mean = math.fsum(n * (a + b) / 2 for a, b, n in blocks) / count
    squares = math.fsum(n * (((a + b) / 2 - mean) ** 2 + (b - a) ** 2 / 12) for a, b, n in blocks)
    return mean, math.sqrt(squares / count)


def _children(places: NDArray[np.int64], inside: int, count: int) -> NDArray[np.int64]:
    """Return the places, on the next level of ``count`` blocks, of what is in these blocks."""
    children = (places[:, None] * inside + np.arange(inside)).ravel()
    return children[children < count]


def merge_cells(blocks: Blocks, min_rows: int) -> tuple[float, ...]:
    """Merge neighbouring blocks into bins that hold ``min_rows`` rows for all that noise says, at most ``MAX_BINS``.

    A bin holds enough if any run of blocks in it does. Counts below zero count as they are: taken for zero, a thousand
    empty cells would be hundreds of rows. A cut lies in the middle of the empty cells that part two bins.
    """
    edges, full = blocks.edges, blocks.full(min_rows)
    filled = np.flatnonzero(blocks.counts).tolist()
    cuts: list[float] = []
    rows = variance = 0
    enough = False
    for place, following in itertools.pairwise([*filled, len(full)]):
        if rows <= 0:  # a run that adds nothing but noise is left out
            rows = variance = 0
        rows += int(blocks.counts[place])
        variance += int(blocks.variances[place])
        enough = bool(full[place]) or rows >= min_rows + MARGIN * math.sqrt(variance)
        if enough and following < len(full):
            cuts.append(float(edges[place + 1] + edges[following]) / 2)
            rows = variance = 0
    if cuts and not enough:
        cuts.pop()
    if len(cuts) >= MAX_BINS:
        cuts = [cuts[i] for i in np.linspace(0, len(cuts) - 1, MAX_BINS - 1).round().astype(int)]
    return float(edges[0]), *cuts, float(edges[-1])


def value_codes(blocks: Blocks, min_rows: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Give each block of enough rows a code of its own, and merge the others as :func:`merge_cells` does.

    At most the ``MAX_BINS`` fullest stand alone. A merged bin leaves out the lone blocks that lie in it; if all that is
    left to merge is too little, the emptiest lone block joins it.

    Returns
    -------
    tuple
        Ascending edges, and the code from 1 of each cell between two of them.
    """
    edges, counts = blocks.edges, blocks.counts
    # The fullest first; stable, so that every pod breaks ties alike.
    alone = np.argsort(-counts, kind="stable")[:MAX_BINS]
    alone = alone[blocks.full(max(min_rows, 1))[alone]]
    others = np.delete(np.arange(len(counts)), alone)
    # Too few are left over: a bin of their own would show them, so a lone block gives them cover.
    rest, noise = int(counts[others].sum()), math.sqrt(int(blocks.variances[others].sum()))
    if (rest or noise) and rest < min_rows + MARGIN * noise:
        alone = alone[:-1]
    alone = np.sort(alone)
    left = counts.copy()
    left[alone] = 0
    merged = np.array(merge_cells(replace(blocks, counts=left), min_rows))
    bounds = np.unique(np.concatenate([merged, edges[alone], edges[alone + 1]]))
    middles = (bounds[:-1] + bounds[1:]) / 2
    codes = len(alone) + 1 + cell_of(middles, merged)
    cells = cell_of(middles, edges)
    own = np.isin(cells, alone)
    codes[own] = 1 + np.searchsorted(alone, cells[own])
    return tuple(bounds.tolist()), tuple(codes.tolist())
