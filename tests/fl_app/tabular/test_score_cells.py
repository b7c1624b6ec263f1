"""The AUC from sums is that of the rows, whatever the scores are: cells follow them, and the bound holds."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fl_app.errors import DataError
from fl_app.tabular.evaluation import Counts, count, metrics_of
from fl_app.tabular.score_cells import (
    AUC_BOUND,
    MAX_EVALUATIONS,
    POSITIONS,
    SCORE_CELLS,
    Ends,
    auc_error,
    checked_ends,
    edges_of,
    first_ends,
    refined,
)

Scores = NDArray[np.float64]


def logistic(x: Scores) -> Scores:
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


SHAPES: dict[str, Callable[[Scores], Scores]] = {
    "ordinary": logistic,
    "crowded in the middle": lambda x: 0.5 + 0.01 * np.tanh(x),
    "crowded elsewhere": lambda x: 0.01015 + 0.00015 * np.tanh(x),
    "barely trained": lambda x: logistic(1e-3 * x - 2),
    "extreme": lambda x: logistic(9 * x),
    "nearly 0": lambda x: 1e-9 * (1 + 0.1 * logistic(x)),
    "nearly 1": lambda x: 1 - 1e-9 * (1 + 0.1 * logistic(-x)),
    "few different ones": lambda x: logistic(np.round(x)),
    "all the same": lambda x: np.full(len(x), 0.5),
}


def evaluated(pods: list[tuple[NDArray[np.int64], Scores]]) -> Counts:
    """Evaluate as a run does in the end: from the fixed cells on, once more in cells cut by the first sums."""
    classes = pods[0][1].shape[1]
    ends = first_ends(1 if classes == 2 else classes)
    for _ in range(MAX_EVALUATIONS):
        edges = edges_of(ends)
        counts = [count(labels, scores, edges) for labels, scores in pods]
        total = sum(counts[1:], counts[0])
        if auc_error(edges, total.histograms) <= AUC_BOUND:
            break
        ends = refined(ends, total.histograms, total.positions)
    return total


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(SHAPES)), st.integers(0, 2**32), st.sampled_from([0.5, 0.05, 0.002]),
    st.floats(0, 3), st.integers(1, 5),
)  # fmt: skip
@example("barely trained", 1, 0.002, 0.0, 1)
@example("nearly 1", 0, 0.002, 0.0, 1)
def test_the_auc_of_two_classes(shape: str, seed: int, share: float, signal: float, pods: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(8000) < share).astype(np.int64)
    labels[:2] = 0, 1
    scores = SHAPES[shape](rng.normal(size=len(labels)) + signal * labels)
    both = np.column_stack([1 - scores, scores])
    parts = np.array_split(np.arange(len(labels)), pods)
    counts = evaluated([(labels[part], both[part]) for part in parts])
    assert abs(metrics_of(counts)["auc"] - roc_auc_score(labels, scores)) <= AUC_BOUND


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.001, 20))
def test_the_auc_of_five_classes(seed: int, steepness: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(5, 4000, p=[0.6, 0.3, 0.08, 0.015, 0.005])
    labels[:5] = range(5)
    logits = steepness * (rng.normal(size=(4000, 5)) + np.eye(5)[labels])
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    exact = roc_auc_score(labels, scores, multi_class="ovr")
    assert abs(metrics_of(evaluated([(labels, scores)]))["auc"] - exact) <= AUC_BOUND


@given(st.integers(0, 2**32), st.sampled_from(sorted(set(SHAPES) - {"all the same", "few different ones"})))
@settings(max_examples=30, deadline=None)
def test_the_error_is_never_larger_than_the_bound_says(seed: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 500)
    labels[:2] = 0, 1
    scores = SHAPES[shape](rng.normal(size=500) + labels)
    ends = first_ends(1)
    for _ in range(3):
        edges = edges_of(ends)
        counts = count(labels, np.column_stack([1 - scores, scores]), edges)
        error = abs(metrics_of(counts)["auc"] - roc_auc_score(labels, scores))
        assert error <= auc_error(edges, counts.histograms) + 1e-9
        ends = refined(ends, counts.histograms, counts.positions)


def test_edges_keep_their_number_and_order() -> None:
    empty = np.zeros((2, 2, SCORE_CELLS), dtype=np.int64)
    one = empty.copy()
    one[:, 1, 7] = 5
    none, within = (np.zeros((2, 2, POSITIONS), dtype=np.int64) for _ in range(2))
    within[:, 1, 3] = 5
    once = refined(first_ends(2), one, within)
    for ends in (first_ends(2), refined(first_ends(2), empty, none), once, refined(once, one, within)):
        assert ends.dtype == np.float32
        assert (checked_ends(ends.astype("<f4").tobytes(), 2) == ends).all()
        assert edges_of(ends).shape == (2, SCORE_CELLS + 1)
        assert (np.diff(edges_of(ends)) >= 0).all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ends: ends[:, :-1],
        lambda ends: ends[:, ::-1],
        lambda ends: np.where(ends == np.float32(0.5), np.nan, ends),
        lambda ends: ends * 2,
        lambda ends: ends[:1],
    ],
)
def test_cells_of_a_request_are_checked(spoil: Callable[[Ends], NDArray[np.float64]]) -> None:
    ends = first_ends(2)
    ends[:, 100:-1] = np.maximum(ends[:, 100:-1], np.float32(0.5))
    checked_ends(ends.astype("<f4").tobytes(), 2)
    with pytest.raises(DataError, match="score cells are not"):
        checked_ends(np.ascontiguousarray(spoil(ends)).astype("<f4").tobytes(), 2)
    with pytest.raises(DataError, match="score cells are not"):
        checked_ends(b"123", 2)
