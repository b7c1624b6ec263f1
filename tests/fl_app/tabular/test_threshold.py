"""The decision threshold: the best on the rows it is chosen on, and the classes it gives."""

import numpy as np
import pytest
import sklearn.metrics as sk

from fl_app.tabular.evaluation import count
from fl_app.tabular.score_cells import fixed_edges
from fl_app.tabular.threshold import best_threshold, chosen, confusion_from, threshold_of

EDGES = fixed_edges(1)


def rows_of(n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    labels = (rng.random(n) < share).astype(int)
    score = 1 / (1 + np.exp(2.5 - 1.6 * labels - rng.normal(size=n)))
    return labels, np.column_stack([1 - score, score])


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("rule", ["youden", "f1"])
def test_no_other_threshold_is_better_but_for_the_width_of_a_cell(rule: str, positive: int) -> None:
    labels, scores = rows_of(2000, 0.15)

    def figure(threshold: float) -> float:
        named, true = chosen(scores, threshold) == positive, labels == positive
        if rule == "youden":
            return float((named[true].mean() + (~named[~true]).mean()) / 2)
        return float(2 * (named & true).sum() / (named.sum() + true.sum()))

    found = best_threshold(count(labels, scores, EDGES).histograms[0], EDGES[0], rule, positive)  # type: ignore[arg-type]
    assert found is not None
    best = max(figure(threshold) for threshold in np.unique(scores[:, 1]))
    assert best - 0.005 <= figure(found) <= best
    named = chosen(scores, found)
    of_sklearn = {
        "youden": sk.balanced_accuracy_score(labels, named),
        "f1": sk.f1_score(labels, named, pos_label=positive),
    }
    assert figure(found) == pytest.approx(of_sklearn[rule])
    assert figure(found) == max(figure(edge) for edge in EDGES[0][:-1])
    if positive == 1 or rule == "youden":
        assert figure(found) > figure(0.5) + 0.05


def test_the_confusion_at_an_end_of_a_cell_is_that_of_the_rows() -> None:
    labels, scores = rows_of(500, 0.3)
    histogram = count(labels, scores, EDGES).histograms[0]
    for place in (0, 50, 200, 300, 500):
        exact = sk.confusion_matrix(labels, chosen(scores, EDGES[0][place]), labels=[0, 1])
        assert np.array_equal(confusion_from(histogram, place), exact)


def test_of_thresholds_as_good_it_is_one_in_the_middle() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    found = best_threshold(count(np.array([0, 1]), scores, EDGES).histograms[0], EDGES[0], "youden")
    assert found is not None
    assert 0.3 < found < 0.6


def test_without_rows_of_both_classes_none_is_chosen() -> None:
    histogram = count(np.zeros(4, int), np.tile([0.7, 0.3], (4, 1)), EDGES).histograms[0]
    assert best_threshold(histogram, EDGES[0], "f1") is None
    assert best_threshold(np.ones((2, 3), int), EDGES[0], "0.5") is None


def test_rows_are_of_their_most_probable_class_unless_there_is_a_threshold() -> None:
    scores = np.array([[0.8, 0.2], [0.5, 0.5], [0.4, 0.6]])
    assert chosen(scores, None).tolist() == [0, 0, 1]
    assert chosen(scores, 0.2).tolist() == [1, 1, 1]
    assert threshold_of({"decision": {"rule": "f1", "threshold": 0.25}}) == 0.25
    assert {threshold_of(text) for text in ({}, None, {"decision": None}, {"decision": {"rule": "f1"}})} == {None}
