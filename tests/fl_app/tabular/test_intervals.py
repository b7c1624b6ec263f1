"""Confidence intervals from counts: against other computations of the same, and how often they hold what is true."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize, stats

from fl_app.tabular.evaluation import Counts, count, metrics_of
from fl_app.tabular.intervals import FEWEST, Z, intervals_of, intervals_of_errors, of_auc, wilson
from fl_app.tabular.regression import NumericTarget, errors_of
from tests.support.intervals import of_numbers


@pytest.mark.parametrize(("hits", "rows"), [(0, 1), (1, 1), (0, 40), (7, 9), (40, 40), (350, 464), (12_000, 16_281)])
def test_shares_have_the_interval_of_wilson(hits: int, rows: int) -> None:
    exact = stats.binomtest(hits, rows).proportion_ci(method="wilson")
    assert wilson(hits, rows) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(("auc", "inside", "outside"), [(0.5, 5, 5), (0.8, 12, 300), (0.93, 3000, 9000), (0.02, 9, 4)])
def test_the_interval_of_the_auc_is_where_newcombes_equation_holds(auc: float, inside: int, outside: int) -> None:
    def apart(true: float) -> float:
        half = (inside + outside) / 2
        q1, q2 = true / (2 - true), 2 * true**2 / (1 + true)  # Hanley and McNeil, with half the rows on either side
        variance = true * (1 - true) + (half - 1) * (q1 - true**2) + (half - 1) * (q2 - true**2)
        return (auc - true) ** 2 - Z**2 * variance / (inside * outside)

    found = of_auc(auc, inside, outside)
    assert found == pytest.approx((optimize.brentq(apart, 1e-12, auc), optimize.brentq(apart, auc, 1 - 1e-12)))


def test_few_rows_without_a_mistake_are_not_certain() -> None:
    low, high = of_auc(1.0, 6, 6)
    assert (round(low, 2), high) == (0.69, 1.0)
    assert of_auc(0.0, 6, 6) == pytest.approx((0.0, 1 - low), abs=1e-9)
    assert wilson(6, 6)[0] < 0.65


def two_classes(rng: np.random.Generator, inside: int, outside: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [inside, outside])
    score = 1 / (1 + np.exp(-rng.normal(shift * labels, 1.0) + shift / 2))
    return labels, np.column_stack([1 - score, score])


@pytest.mark.parametrize(("inside", "outside", "shift"), [(10, 30, 1.0), (25, 25, 2.0), (40, 400, 1.5)])
def test_of_twenty_intervals_about_nineteen_hold_the_true_figure(inside: int, outside: int, shift: float) -> None:
    rng, held, runs = np.random.default_rng(11), {"auc": 0, "accuracy": 0, "recall": 0}, 1500
    share = NormalDist().cdf(shift / 2)
    true = {"auc": NormalDist().cdf(shift / np.sqrt(2)), "accuracy": share, "recall": share}
    for _ in range(runs):
        counts = count(*two_classes(rng, inside, outside, shift))
        found = intervals_of(counts, metrics_of(counts)["auc"])
        for name, value in true.items():
            held[name] += found[name][0] <= value <= found[name][1]
    for name, times in held.items():  # a share of ten rows takes eleven values: .924 is what Wilson's gives there
        assert 0.92 <= times / runs <= 0.985, (name, times / runs)


def test_intervals_are_around_the_figures_of_the_pooled_rows() -> None:
    rng = np.random.default_rng(2)
    parts = [two_classes(rng, 30, 50, 1.0), two_classes(rng, 12, 90, 1.5)]
    counts = count(*parts[0]) + count(*parts[1])
    labels, scores = (np.concatenate(both) for both in zip(*parts, strict=True))
    named = scores.argmax(axis=1)
    metrics = metrics_of(counts)
    found = intervals_of(counts, metrics["auc"])
    assert found["accuracy"] == wilson((named == labels).sum(), len(labels))
    assert found["recall"] == wilson((named & labels).sum(), labels.sum())
    assert found["precision"] == wilson((named & labels).sum(), named.sum())
    assert found["auc"] == of_auc(metrics["auc"], 42, 140)
    assert intervals_of(counts, metrics["auc"], 0)["recall"] == wilson(((named == 0) & (labels == 0)).sum(), 140)


def test_what_is_not_defined_has_no_interval() -> None:
    assert intervals_of(Counts.zeros(2), None) == {}
    only = count(np.zeros(5, int), np.tile([0.9, 0.1], (5, 1)))
    assert set(intervals_of(only, None)) == {"accuracy"}
    labels = np.arange(9) % 3
    assert set(intervals_of(count(labels, np.eye(3)[labels]), 1.0)) == {"accuracy"}
    assert set(intervals_of(count(labels, np.eye(3)[labels]), 1.0, 2)) == {"accuracy", "recall", "precision"}


TARGET = NumericTarget(mean=3.0, std=10.0, groups=(-200.0, 200.0))


def numbers(rng: np.random.Generator, rows: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return observed and predicted values, errors being normal, skewed, or the larger the farther out the rows are."""
    x = rng.normal(size=rows)
    noise = rng.exponential(8, rows) - 8 if kind == "skewed" else rng.normal(0, 8, rows)
    return 3 + 12 * x + (np.abs(x) * noise if kind == "uneven" else noise), 2 + 11 * x


@pytest.mark.parametrize("kind", ["normal", "skewed", "uneven"])
def test_intervals_of_a_number_are_those_of_the_pooled_rows(kind: str) -> None:
    rng = np.random.default_rng(4)
    parts = [numbers(rng, rows, kind) for rows in (30, 70, 55)]
    observed, predicted = (np.concatenate(both) for both in zip(*parts, strict=True))
    sums = [errors_of(*part, TARGET) for part in parts]
    found = intervals_of_errors(sums[0] + sums[1] + sums[2], TARGET)
    for name, ends in of_numbers(observed, predicted).items():
        assert found[name] == pytest.approx(ends, rel=1e-9), name


@pytest.mark.parametrize(
    ("kind", "rows", "least"),
    [("normal", 60, 0.9), ("normal", 1000, 0.93), ("skewed", 100, 0.84), ("skewed", 2000, 0.92)],
)
def test_intervals_of_a_number_hold_what_is_true_about_as_often_as_they_say(kind: str, rows: int, least: float) -> None:
    many = numbers(np.random.default_rng(1), 2_000_000, kind)
    error = many[0] - many[1]
    mse = float((error * error).mean())
    true = {"mae": float(np.abs(error).mean()), "rmse": mse**0.5, "r2": 1 - mse / float(many[0].var())}
    rng, held, runs = np.random.default_rng(12), dict.fromkeys(true, 0), 1000
    for _ in range(runs):
        found = intervals_of_errors(errors_of(*numbers(rng, rows, kind), TARGET), TARGET)
        for name, value in true.items():
            held[name] += found[name][0] <= value <= found[name][1]
    for name, times in held.items():
        assert least <= times / runs <= 0.97, (name, times / runs)


def test_errors_that_say_too_little_have_no_interval() -> None:
    rng = np.random.default_rng(3)
    few = numbers(rng, FEWEST - 1, "normal")
    assert intervals_of_errors(errors_of(*few, TARGET), TARGET) == {}
    observed, _ = numbers(rng, 300, "normal")
    assert intervals_of_errors(errors_of(observed, observed + rng.normal(0, 0.5, 300), TARGET), TARGET) == {}
    same = np.full(300, 3.0)
    found = intervals_of_errors(errors_of(same, same + rng.normal(0, 20, 300), TARGET), TARGET)
    assert set(found) == {"mae", "rmse"}
