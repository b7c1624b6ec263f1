"""The cells that scores are counted in, so that the AUC of pooled rows can be had from sums.

The AUC depends only on how the scores of the rows inside a class and outside it lie among each other. Histograms tell
that but for rows that share a cell; those count as ties. So the error is at most half the share of pairs (one row
inside, one outside) that lie in a common cell. No fixed cells keep that small for every model: scores of a rare class
or of a model that has hardly trained crowd together anywhere. So cells follow the sums: those of the next evaluation
are cut where the scores of the last one were. Where they lay within their cells a second histogram tells, of all cells
together: even if all scores have met in one cell, the next cells part them.

Each party of a run computes the next cells for itself, and all must get the same. So they are kept as log-odds in
float32, made of the sums by operations that IEEE 754 rounds exactly: logarithms and exponentials differ in their last
bit from one processor to another.
"""

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError

SCORE_CELLS = 512
"""Cells of a score histogram: for two classes they add 1,024 elements to every pod's vector."""
PRIVATE_CELLS = 16
"""The same of a private run, in which each cell has noise: the AUC of the census is .001 less by them than it is."""
POSITIONS = 256
"""Parts of a cell in which the second histogram counts."""
AUC_BOUND = 2e-3
"""Error of the AUC beyond which a final evaluation takes place twice, the second time in cells cut by the first."""
_FOLLOWING = 3 * SCORE_CELLS // 4
"""Cells that follow the scores; the others are laid out beforehand, for scores that move to where none were."""
_LOWEST, _HIGHEST = -700.0, 37.0
"""Log-odds of the least and the largest probability that a float64 tells from 0 and 1."""
_REACH = float(np.arcsinh(-_LOWEST))
_NARROW = 1e-6
MAX_EVALUATIONS = 2
"""Final evaluations at most."""
Edges = NDArray[np.float64]
"""Probabilities, ascending from 0 to 1: float64 [classes, cells + 1]."""
Ends = NDArray[np.float32]
"""The same as log-odds: float32 [classes, cells + 1]."""


def score_cells(*, private: bool) -> int:
    """Return how many cells scores are counted in, in a private run and in any other."""
    return PRIVATE_CELLS if private else SCORE_CELLS


def first_ends(classes: int, cells: int = SCORE_CELLS) -> Ends:
    """Return the cells with which a run begins.

    Half of their ends are even in arcsin(sqrt p), and half grow with the log-odds, which reaches all that a float64
    holds.
    """
    half = cells // 2
    even = _log_odds(np.sin(np.pi / 2 * np.arange(half + 1) / half) ** 2)
    steep = np.sinh(np.linspace(-_REACH, _REACH, cells - half))
    ends = np.clip(np.sort(np.concatenate([even, steep]))[: cells + 1], _LOWEST, _HIGHEST).astype(np.float32)
    ends[0], ends[-1] = _LOWEST, _HIGHEST
    return np.tile(ends, (classes, 1))


def even_ends(classes: int, cells: int = PRIVATE_CELLS) -> Ends:
    """Return the cells of a private run, even in arcsin(sqrt p): with noise in each, the fewer the better."""
    ends = np.clip(_log_odds(np.sin(np.pi / 2 * np.arange(cells + 1) / cells) ** 2), _LOWEST, _HIGHEST)
    ends[0], ends[-1] = _LOWEST, _HIGHEST
    return np.tile(ends.astype(np.float32), (classes, 1))


def edges_of(ends: Ends) -> Edges:
    """Return the edges of cells as probabilities."""
    edges = _probability(ends.astype(np.float64))
    edges[:, 0], edges[:, -1] = 0.0, 1.0
    return edges


def fixed_edges(classes: int) -> Edges:
    """Return the edges of the cells with which a run begins."""
    return edges_of(first_ends(classes))


def checked_ends(given: bytes, classes: int, cells: int = SCORE_CELLS) -> Ends:
    """Read the cells of a request: little-endian float32 [classes, cells + 1].

    Raises
    ------
    DataError
        They are not as many, not ascending, or do not span all log-odds.
    """
    ends = np.frombuffer(given, "<f4") if len(given) % 4 == 0 else np.zeros(0, np.float32)
    if ends.size != classes * (cells + 1):
        raise DataError(f"the request's score cells are not {cells} for each of {classes} classes")
    ends = ends.reshape(classes, cells + 1)
    if not ((np.diff(ends) >= 0).all() and (ends[:, 0] == _LOWEST).all() and (ends[:, -1] == _HIGHEST).all()):
        raise DataError(f"the request's score cells are not ascending from {_LOWEST:g} to {_HIGHEST:g}")
    return ends


def cells_of(scores: NDArray[np.float64], edges: Edges) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cell of each score, and its position within it, int64 [n, classes] each.

    Parameters
    ----------
    scores : float64 [n, classes]
    edges : float64 [classes, cells + 1]
    """
    cells, positions = np.zeros(scores.shape, dtype=np.int64), np.zeros(scores.shape, dtype=np.int64)
    for place, own in enumerate(edges):
        found = np.clip(np.searchsorted(own, scores[:, place], side="right") - 1, 0, len(own) - 2)
        ends = _log_odds(own)
        widths = np.maximum(np.diff(ends)[found], np.finfo(float).tiny)
        part = (_log_odds(scores[:, place]) - ends[:-1][found]) / widths
        cells[:, place] = found
        positions[:, place] = np.clip(part * POSITIONS, 0, POSITIONS - 1).astype(np.int64)
    return cells, positions


def refined(ends: Ends, histograms: NDArray[np.int64], positions: NDArray[np.int64]) -> Ends:
    """Return the cells that part rows into equal shares.

    Both groups, the rows outside a class and inside it, count the same, however rare a class is.

    Parameters
    ----------
    histograms : int64 [classes, 2, cells]
        Rows by cell.
    positions : int64 [classes, 2, POSITIONS]
        Rows by where in their cell they lie, in log-odds; taken to be alike in all cells.
    """
    return np.stack([_refined(*each) for each in zip(ends, histograms, positions, strict=True)])


def auc_error(edges: Edges, histograms: NDArray[np.int64]) -> float:
    """Return the largest error that a class's AUC can have: half the share of pairs in a common cell.

    Scores in a cell so narrow that a float32 network hardly tells them apart count as equal, which is no error.
    """
    totals = histograms.sum(axis=2, keepdims=True)
    shares = histograms / np.maximum(totals, 1)
    wide = np.diff(_log_odds(edges), axis=1) > _NARROW
    errors = (shares[:, 0] * shares[:, 1] * wide).sum(axis=1) / 2
    return float(errors.max(initial=0.0))


def _refined(ends: Ends, histogram: NDArray[np.int64], positions: NDArray[np.int64]) -> Ends:
    totals = histogram.sum(axis=1)
    if not totals.any():
        return ends
    present = totals > 0
    groups, within = (counts[present] / totals[present, None] for counts in (histogram, positions))
    share = np.concatenate([[0.0], np.cumsum((groups[:, :, None] * within[:, None, :]).mean(axis=0))])
    wide = ends.astype(np.float64)
    inner = wide[:-1, None] + np.diff(wide)[:, None] * np.arange(POSITIONS) / POSITIONS
    following = np.interp(np.arange(1, _FOLLOWING) / _FOLLOWING, share / share[-1], np.append(inner, wide[-1]))
    beforehand = first_ends(1, len(ends) - 1 - (_FOLLOWING - 1))[0]
    return np.sort(np.concatenate([beforehand, following.astype(np.float32)]))


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        steep: Edges = np.log(probabilities) - np.log1p(-probabilities)
    return np.clip(steep, _LOWEST, _HIGHEST)


def _probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    rising: Edges = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1 / (1 + rising), rising / (1 + rising))
