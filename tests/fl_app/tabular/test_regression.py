"""A numeric target: its scale and groups, its errors as sums, and what training makes of it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics

from fl_app.errors import DataError, RunFailed, UsageError
from fl_app.tabular.cells import Table
from fl_app.tabular.encoding import Encoding, statistic_sums
from fl_app.tabular.label_counts import LabelCounts, label_sums, left_out
from fl_app.tabular.network import build_network
from fl_app.tabular.regression import (
    GROUPS,
    LOSSES,
    Errors,
    Loss,
    NumericTarget,
    errors_of,
    metrics_of_errors,
    score_numbers,
)
from fl_app.tabular.schema import Column, schema_of
from fl_app.tabular.settings import ARCHITECTURES, DataStructure, Optimizer
from fl_app.tabular.statistics import statistics_of
from fl_app.tabular.training import evaluate_numbers, predict_numbers, train

HOURS = Column(name="hours", kind="continuous", low=0, high=128)
TARGET = NumericTarget(mean=40.0, std=10.0, groups=(0, 30, 40, 50, 128))
AIM = DataStructure(target="hours")
values_in_bounds = st.lists(st.tuples(st.floats(0, 128), st.floats(0, 128)), min_size=2, max_size=60)


def rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Return rows whose hours follow from age and trade, with noise of deviation 5."""
    rng = np.random.default_rng(seed)
    age, trade = rng.integers(18, 70, count), rng.choice(["farm", "shop"], count)
    hours = 20 + age / 2 + 15 * (trade == "farm") + rng.normal(0, 5, count)
    return pd.DataFrame({"age": age.astype(float), "trade": trade, "hours": hours.clip(0, 127).round(2)})


def encoding_of(frame: pd.DataFrame, loss: Loss = "squared") -> Encoding:
    schema = schema_of(frame, name="pod", min_count=1)
    return Encoding.of(schema, AIM, statistic_sums(frame, schema, AIM), min_bin_rows=1, loss=loss)


def test_scale_and_groups_follow_from_sums_over_pods() -> None:
    parts = [rows(300, seed)["hours"].to_frame() for seed in range(3)]
    sums = [statistics_of(Table.of(part), (HOURS,)) for part in parts]
    target = NumericTarget.of(HOURS, sums[0] + sums[1] + sums[2], min_rows=1)
    pooled = pd.concat(parts)["hours"].to_numpy()
    assert_allclose([target.mean, target.std], [pooled.mean(), pooled.std()], rtol=1e-9)
    assert (target.groups[0], target.groups[-1]) == HOURS.bounds
    counts = np.histogram(pooled, target.groups)[0]
    assert GROUPS - 2 <= len(counts) <= GROUPS
    assert counts.min() >= len(pooled) / GROUPS


def test_one_value_that_most_rows_share_is_one_group() -> None:
    frame = pd.DataFrame({"hours": [40.0] * 900 + [10.5, 60.5] * 50})
    target = NumericTarget.of(HOURS, statistics_of(Table.of(frame), (HOURS,)), min_rows=1)
    assert len(target.groups) <= 4
    assert np.histogram(frame["hours"], target.groups)[0].max() >= 900


def test_of_no_rows_there_is_one_group() -> None:
    nothing = statistics_of(Table.of(pd.DataFrame({"hours": [np.nan, np.nan]})), (HOURS,))
    assert NumericTarget.of(HOURS, nothing, min_rows=1).groups == HOURS.bounds


@given(values_in_bounds, st.integers(0, 60))
def test_sums_of_parts_give_the_metrics_of_all_rows(pairs: list[tuple[float, float]], cut: int) -> None:
    observed, predicted = np.array(pairs).T
    parts = [errors_of(observed[part], predicted[part], TARGET) for part in (slice(cut), slice(cut, None))]
    found = metrics_of_errors(parts[0] + parts[1], TARGET)
    assert_allclose(found["mae"], metrics.mean_absolute_error(observed, predicted), atol=1e-9)
    assert_allclose(found["rmse"], metrics.root_mean_squared_error(observed, predicted), atol=1e-6)
    assert_allclose(found["loss"], metrics.mean_squared_error(observed, predicted) / 100, atol=1e-9)
    assert found["num_examples"] == len(observed)
    if observed.var() > 1e-3:
        assert_allclose(found["r2"], metrics.r2_score(observed, predicted), rtol=1e-6, atol=1e-6)


@given(st.floats(0, 128), st.floats(0, 128))
def test_no_row_adds_more_than_one_to_a_sum(observed: float, predicted: float) -> None:
    sums = errors_of(np.array([observed]), np.array([predicted]), TARGET)
    assert np.abs(sums.sums).max() <= 1
    assert sums.pairs.sum() == 1


def test_pairs_count_rows_by_the_groups_of_value_and_prediction() -> None:
    observed, predicted = np.array([0.0, 30.0, 45.0, 128.0]), np.array([29.0, 128.0, 45.0, 0.0])
    assert errors_of(observed, predicted, TARGET).pairs.tolist() == [
        [1, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 0],
        [1, 0, 0, 0],
    ]


def test_arrays_come_back_as_they_were() -> None:
    sums = errors_of(np.array([10.0, 60.0]), np.array([20.0, 50.0]), TARGET)
    back = Errors.from_arrays({name: array.astype(np.float64) for name, array in sums.arrays().items()})
    assert_array_equal(back.pairs, sums.pairs)
    assert_array_equal(back.sums, sums.sums)
    assert (Errors.zeros(TARGET) + back).rows == 2


def test_what_rows_do_not_define_is_nan() -> None:
    nothing = metrics_of_errors(Errors.zeros(TARGET), TARGET)
    assert nothing["num_examples"] == 0
    assert all(np.isnan(nothing[name]) for name in ("mae", "rmse", "r2", "loss"))
    same = score_numbers(np.full(5, 30.0), np.full(5, 35.0), TARGET)
    assert_allclose([same["mae"], same["rmse"]], 5)
    assert np.isnan(same["r2"])
    with pytest.raises(DataError, match="no row has a number"):
        score_numbers(np.empty(0), np.empty(0), TARGET)


def test_predictions_that_are_not_finite_end_the_run() -> None:
    with pytest.raises(RunFailed, match="diverged"):
        errors_of(np.array([1.0]), np.array([np.nan]), TARGET)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"std": 0.0}, "deviation above 0"),
        ({"mean": float("nan")}, "finite mean"),
        ({"groups": (0.0,)}, "groups"),
        ({"groups": (0.0, 5.0, 5.0)}, "ascending"),
        ({"groups": tuple(range(GROUPS + 2))}, "groups"),
    ],
)
def test_a_target_that_cannot_be_is_refused(wrong: dict[str, float], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        NumericTarget(**{**TARGET.model_dump(), **wrong})


def test_an_encoding_has_a_scale_where_its_target_is_a_number_and_nowhere_else() -> None:
    encoding = encoding_of(rows(200))
    fields = {name: getattr(encoding, name) for name in Encoding.model_fields}
    with pytest.raises(UsageError, match="where it is a number"):
        Encoding(**{**fields, "numeric": None})
    numeric = encoding.numeric
    assert numeric is not None
    classes = encoding.target.model_copy(
        update={"kind": "categorical", "values": ("a", "b"), "low": None, "high": None}
    )
    with pytest.raises(UsageError, match="only there"):
        Encoding(**{**fields, "target": classes})
    beyond = numeric.model_copy(update={"groups": (numeric.groups[0], 2 * numeric.groups[-1])})
    with pytest.raises(UsageError, match="public bounds"):
        Encoding(**{**fields, "numeric": beyond})


def test_rows_without_the_target_are_left_out_and_counted_and_it_is_no_feature() -> None:
    frame = rows(200)
    encoding = encoding_of(frame)
    assert [column.name for column in encoding.features] == ["age", "trade"]
    frame.loc[:19, "hours"] = np.nan
    frame.loc[20, "hours"] = 1000.0
    encoded = encoding.encode(frame)
    assert (len(encoded), encoded.dropped) == (180, 20)
    assert encoded.labels is None
    assert encoded.values is not None
    assert encoded.values[0] == 128  # the bound, as the schema has it
    assert_allclose(encoded.values[1:], frame["hours"][21:])
    counts = LabelCounts.from_sums(label_sums(Table.of(frame), encoding.target))
    assert (counts.unpublished, counts.missing, counts.classes) == (0, 20, (180,))
    assert left_out(Table.of(frame), encoding.target) == {"": 20}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_network_learns_a_number(architecture: str, loss: Loss) -> None:
    frame = rows(400)
    encoding = encoding_of(frame, loss)
    numeric = encoding.numeric
    assert numeric is not None
    network, encoded = build_network(encoding, architecture), encoding.encode(frame)
    lr = 0.03 if architecture == "linear" else 0.003
    optimizer = Optimizer(name="AdamW", params={"lr": lr})
    last = train(network, encoded, optimizer=optimizer, epochs=30, batch_size=64, numeric=numeric)
    assert encoded.values is not None
    found = metrics_of_errors(evaluate_numbers(network, encoded, numeric), numeric)
    exact = score_numbers(encoded.values, predict_numbers(network, encoded, numeric), numeric)
    assert found == exact
    assert found["r2"] > 0.6
    assert_allclose(last, found["loss"], atol=0.25)


@pytest.mark.parametrize(("loss", "best"), [("squared", np.mean), ("absolute", np.median)])
def test_squared_error_finds_the_mean_and_absolute_error_the_median(loss: Loss, best: object) -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"age": np.ones(600), "hours": rng.exponential(10, 600).clip(0, 120).round(3)})
    encoding = encoding_of(frame, loss)
    numeric = encoding.numeric
    assert numeric is not None
    network, encoded = build_network(encoding, "linear"), encoding.encode(frame)
    for rate in (0.05, 0.005):
        optimizer = Optimizer(name="AdamW", params={"lr": rate, "weight_decay": 0.0})
        train(network, encoded, optimizer=optimizer, epochs=60, batch_size=300, numeric=numeric)
    predicted = predict_numbers(network, encoded, numeric)
    assert predicted.max() - predicted.min() < 1e-6
    assert_allclose(predicted[0], best(frame["hours"]), atol=0.35)  # type: ignore[operator]
    assert abs(np.mean(frame["hours"]) - np.median(frame["hours"])) > 2
