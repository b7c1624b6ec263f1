"""Metrics from noised counts: right on average, and with the standard deviations that they really have."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_app.privacy.plan import Plan
from fl_app.privacy.settings import Privacy
from fl_app.tabular.evaluation import MAX_BRIER, Counts, count, metrics_of
from fl_app.tabular.score_cells import edges_of, even_ends
from server.app.noised_metrics import deviations, noised_metrics, shown
from server.app.promises import deviation
from server.app.summaries import no_figures

PLAN = Plan(Privacy(epsilon=1.0), 80)
HONEST, PODS = 2, 3


def counted(rows: int, classes: int = 2) -> Counts:
    rng = np.random.default_rng(rows)
    labels = rng.integers(0, classes, rows)
    scores = rng.dirichlet(np.ones(classes), rows) + np.eye(classes)[labels] * rng.random((rows, 1))
    scores /= scores.sum(axis=1, keepdims=True)
    scored = 1 if classes == 2 else classes
    return count(labels, scores, edges_of(even_ends(scored)))


def noised(exact: Counts, rng: np.random.Generator) -> Counts:
    """What the server decodes: the counts with the noise of three pods, of whom two are relied on."""

    def drawn(values: NDArray[np.int64], spread: float) -> NDArray[np.int64]:
        return np.rint(rng.normal(values, spread)).astype(np.int64)

    return Counts(
        drawn(exact.confusion, deviation(PLAN.confusion, HONEST, PODS)),
        drawn(exact.histograms, deviation(PLAN.histograms(len(exact.histograms)), HONEST, PODS)),
        exact.positions,
        rng.normal(exact.loss_sum, deviation(PLAN.loss, HONEST, PODS)),
        rng.normal(exact.brier_sum, deviation(PLAN.brier(MAX_BRIER), HONEST, PODS)),
    )


def test_a_sum_holds_the_shares_of_all_pods_that_answer() -> None:
    assert deviation(PLAN.confusion, PODS, PODS) == pytest.approx(PLAN.confusion.deviation, rel=1e-3)
    assert deviation(PLAN.confusion, 1, 4) == pytest.approx(2 * PLAN.confusion.deviation, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_deviations_are_those_of_many_runs_and_metrics_are_right_on_average(classes: int) -> None:
    exact, rng = counted(3000, classes), np.random.default_rng(7)
    runs = [noised(exact, rng) for _ in range(400)]
    metrics = [metrics_of(run) for run in runs]
    told = deviations(runs[0], PLAN, HONEST, PODS, "run")
    for name in ("accuracy", "auc", "loss", "brier", "num_examples"):
        found = np.array([one[name] for one in metrics])
        assert told[name] == pytest.approx(found.std(), rel=0.3), name
        # Unclipped counts have no bias: the mean is right within what so many runs can tell.
        assert abs(found.mean() - metrics_of(exact)[name]) < 5 * found.std() / np.sqrt(len(runs)) + 1e-3, name


def test_deviations_follow_from_the_run_s_name() -> None:
    counts = counted(500)
    once, again = (deviations(counts, PLAN, HONEST, PODS, "run") for _ in range(2))
    assert once == again
    assert once != deviations(counts, PLAN, HONEST, PODS, "another")


def test_more_noise_is_told_as_more() -> None:
    counts = counted(500)
    few = deviations(counts, PLAN, 2, 3, "run")
    many = deviations(counts, PLAN, 1, 10, "run")
    assert all(many[name] > few[name] for name in ("accuracy", "auc", "loss"))


def test_counts_below_zero_are_shown_as_none_and_their_metrics_stay_within_their_range() -> None:
    odd = Counts(
        np.array([[30, -4], [-6, 5]]),
        np.array([[[20, 10, -3], [-2, 1, 6]]]),
        np.zeros((1, 2, 0), dtype=np.int64),
        -3.0,
        -1.0,
    )
    metrics = noised_metrics(odd, PLAN, HONEST, PODS, "run")
    assert metrics_of(odd)["accuracy"] > 1  # the counts as they are
    assert (metrics.accuracy, metrics.loss, metrics.brier) == (1.0, 0.0, 0.0)
    assert metrics.num_examples == 25
    assert 0 <= (metrics.auc or 0) <= 1
    assert shown(odd).confusion.tolist() == [[30, 0], [0, 5]]
    assert shown(odd).histograms.min() == 0


def test_noise_that_leaves_no_row_has_no_metrics_and_is_told() -> None:
    nothing = Counts(
        np.array([[-5, 1], [1, -9]]), np.array([[[-4, -1], [-2, -1]]]), np.zeros((1, 2, 0), dtype=np.int64), 2.0, 1.0
    )
    metrics = noised_metrics(nothing, PLAN, HONEST, PODS, "run")
    assert (metrics.accuracy, metrics.auc, metrics.loss, metrics.num_examples) == (None, None, None, 0)
    assert "noise hides all of the rows" in no_figures(metrics)
    assert no_figures(noised_metrics(counted(3000), PLAN, HONEST, PODS, "run")) == ""
