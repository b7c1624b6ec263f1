"""Classes that too few pods have: how their rows are counted, and that the figures are those of the rows counted."""

import numpy as np
import pytest
import sklearn.metrics as sk

from fl_app.tabular.evaluation import Counts, count, metrics_of
from fl_app.tabular.thin_classes import APART, NOT, TOGETHER, count_by, ways_of

ALL = ("a", "b", "c", "d")


def test_a_class_of_pods_enough_is_counted_by_itself() -> None:
    assert ways_of([ALL, ALL[:3], ALL[1:]], ALL, 3) == (APART, APART, APART)


def test_classes_of_few_pods_are_counted_together_where_there_are_enough_of_these_pods() -> None:
    assert ways_of([ALL, ("a", "b"), ("c",)], ALL, 3) == (APART, TOGETHER, TOGETHER)
    assert ways_of([ALL, ("a", "b"), ("b",)], ALL, 3) == (APART, NOT, NOT)
    assert ways_of([ALL, ("a",)], ALL, 2) == (APART, NOT)


def test_only_pods_that_add_rows_count() -> None:
    assert ways_of([ALL, ("a", "b", "d")], ("a", "b", "c"), 3) == (APART, NOT)
    assert ways_of([ALL, ALL], (), 0) == (TOGETHER, TOGETHER)  # of nobody's rows
    assert ways_of([("c", "d")], ("a", "b"), 2) == (NOT,)


def rows_of(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 4, n)
    scores = rng.dirichlet(np.ones(4), n)
    scores[np.arange(n), labels] += 0.6
    return labels, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rest", [TOGETHER, NOT])
def test_figures_are_those_of_the_rows_counted(rest: str) -> None:
    labels, scores = rows_of(3000)
    counts = count_by(labels, scores, None, [APART, rest, APART, rest])
    metrics = metrics_of(Counts.from_arrays(counts.arrays()))
    thin = np.isin(labels, [1, 3])
    kept = np.ones(len(labels), bool) if rest == TOGETHER else ~thin
    assert metrics["num_examples"] == kept.sum()
    assert metrics["accuracy"] == pytest.approx((scores.argmax(axis=1) == labels)[kept].mean())
    assert metrics["loss"] == pytest.approx(sk.log_loss(labels[kept], scores[kept], labels=range(4)))
    assert metrics["brier"] == pytest.approx(np.square(scores - np.eye(4)[labels])[kept].sum(axis=1).mean())
    predicted = scores.argmax(axis=1)
    for name, figure in (("recall", sk.recall_score), ("precision", sk.precision_score), ("f1", sk.f1_score)):
        exact = figure(labels[~thin], predicted[~thin], labels=[0, 2], average="macro")
        assert metrics[name] == pytest.approx(exact), name
    areas = [sk.roc_auc_score(labels[~thin] == one, scores[~thin, one]) for one in (0, 2)]
    assert metrics["auc"] == pytest.approx(np.mean(areas), abs=2e-3)


def test_without_such_classes_nothing_changes() -> None:
    labels, scores = rows_of(500)
    by, plain = count_by(labels, scores, None, [APART] * 4).arrays(), count(labels, scores).arrays()
    assert all(np.array_equal(by[name], plain[name]) for name in plain)
