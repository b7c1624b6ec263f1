import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from sklearn import metrics as sk

from fl_app.errors import RunFailed
from fl_app.tabular.evaluation import MAX_BRIER, MAX_LOSS, Counts, count, metrics_of, score


def rows_of(n: int, classes: int, seed: int, signal: float = 1.5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + signal * np.eye(classes)[labels]
    exp = np.exp(logits)
    return labels, exp / exp.sum(axis=1, keepdims=True)


seeds = st.integers(0, 2**32)
classes = st.integers(2, 5)


@given(seeds, classes, st.integers(1, 200), st.integers(0, 200))
def test_counts_add(seed: int, classes: int, n: int, cut: int) -> None:
    labels, scores = rows_of(n, classes, seed)
    whole = count(labels, scores)
    both = count(labels[:cut], scores[:cut]) + count(labels[cut:], scores[cut:])
    assert_array_equal(both.confusion, whole.confusion)
    assert_array_equal(both.histograms, whole.histograms)
    assert metrics_of(both) == pytest.approx(metrics_of(whole), nan_ok=True)


@given(seeds, classes, st.integers(0, 100))
def test_counts_travel_as_flat_arrays_within_their_bounds(seed: int, classes: int, n: int) -> None:
    counts = count(*rows_of(n, classes, seed, signal=40.0))
    arrays = counts.arrays()
    layout = Counts.zeros(classes).arrays()
    assert [(k, v.shape, v.dtype) for k, v in arrays.items()] == [(k, v.shape, v.dtype) for k, v in layout.items()]
    assert arrays["loss_sum"][0] <= MAX_LOSS * n
    assert arrays["brier_sum"][0] <= MAX_BRIER * n
    back = Counts.from_arrays(arrays)
    assert_array_equal(back.confusion, counts.confusion)
    assert_array_equal(back.histograms, counts.histograms)
    assert (back.loss_sum, back.brier_sum) == (counts.loss_sum, counts.brier_sum)


@pytest.mark.parametrize("signal", [0.2, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("shift", [-4.0, 0.0, 4.0])
def test_auc_from_histograms_is_that_of_the_scores(signal: float, shift: float) -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 20_000)
    score = 1 / (1 + np.exp(-(rng.normal(size=len(labels)) + signal * labels + shift)))
    counts = count(labels, np.column_stack([1 - score, score]))
    assert metrics_of(counts)["auc"] == pytest.approx(sk.roc_auc_score(labels, score), abs=2e-3)


def test_two_classes_agree_with_scikit_learn() -> None:
    labels, scores = rows_of(3000, 2, seed=1)
    predicted = scores.argmax(axis=1)
    assert metrics_of(count(labels, scores)) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "auc": pytest.approx(sk.roc_auc_score(labels, scores[:, 1]), abs=2e-3),
            "f1": sk.f1_score(labels, predicted),
            "recall": sk.recall_score(labels, predicted),
            "precision": sk.precision_score(labels, predicted),
            "brier": sk.brier_score_loss(labels, scores[:, 1]),
            "loss": sk.log_loss(labels, scores),
            "num_examples": 3000,
        }
    )


def test_more_classes_agree_with_scikit_learn() -> None:
    labels, scores = rows_of(3000, 4, seed=2)
    predicted = scores.argmax(axis=1)
    assert metrics_of(count(labels, scores)) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "auc": pytest.approx(sk.roc_auc_score(labels, scores, multi_class="ovr"), abs=2e-3),
            "f1": sk.f1_score(labels, predicted, average="macro"),
            "recall": sk.recall_score(labels, predicted, average="macro"),
            "precision": sk.precision_score(labels, predicted, average="macro"),
            "brier": np.square(scores - np.eye(4)[labels]).sum(axis=1).mean(),
            "loss": sk.log_loss(labels, scores),
            "num_examples": 3000,
        }
    )


@given(seeds, classes, st.integers(5, 200), st.sampled_from([1, 3, 17]))
def test_single_rows_are_scored_as_scikit_learn_scores_them(seed: int, classes: int, n: int, digits: int) -> None:
    """Exactly so, also where rows share a score, and where a row's class has a probability of nothing."""
    labels, scores = rows_of(n, classes, seed, signal=8.0)
    labels[:classes] = range(classes)
    scores = scores.round(digits)
    scores /= scores.sum(axis=1, keepdims=True)
    found = score(labels, scores)
    assert found["loss"] == pytest.approx(sk.log_loss(labels, scores, labels=range(classes)), rel=1e-12)
    chosen = scores[:, 1] if classes == 2 else scores
    assert found["auc"] == pytest.approx(sk.roc_auc_score(labels, chosen, multi_class="ovr"), rel=1e-12)
    assert found["accuracy"] == sk.accuracy_score(labels, scores.argmax(axis=1))


def test_rows_that_share_a_score_count_half() -> None:
    labels, scores = np.array([0, 1, 0, 1]), np.full((4, 2), 0.5)
    assert metrics_of(count(labels, scores))["auc"] == 0.5


def test_what_no_row_defines_is_nan_or_zero() -> None:
    only_negative = metrics_of(count(np.array([0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]])))
    assert np.isnan(only_negative["auc"])
    assert only_negative["accuracy"] == 1.0
    assert np.isnan([only_negative[name] for name in ("recall", "precision", "f1")]).all()
    nothing = metrics_of(Counts.zeros(2))
    assert nothing["num_examples"] == 0
    assert np.isnan([value for name, value in nothing.items() if name != "num_examples"]).all()


@pytest.mark.parametrize(("classes", "positive"), [(2, 0), (2, 1), (4, 0), (4, 3)])
def test_precision_recall_and_f1_are_of_the_class_that_is_named(classes: int, positive: int) -> None:
    labels, scores = rows_of(2000, classes, seed=3)
    predicted = scores.argmax(axis=1)
    values = metrics_of(count(labels, scores), positive)
    assert values["recall"] == pytest.approx((predicted[labels == positive] == positive).mean())
    assert values["precision"] == pytest.approx((labels[predicted == positive] == positive).mean())
    assert values["f1"] == pytest.approx(sk.f1_score(labels == positive, predicted == positive))
    assert values["accuracy"] == metrics_of(count(labels, scores))["accuracy"]


def test_a_row_costs_at_most_the_declared_loss() -> None:
    counts = count(np.array([0, 1]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert counts.loss_sum == 2 * MAX_LOSS


def test_predictions_that_are_not_finite_are_refused() -> None:
    with pytest.raises(RunFailed, match="diverged"):
        count(np.array([0]), np.array([[np.nan, 0.5]]))
