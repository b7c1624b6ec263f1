"""Shuffling a column: all of it moves, nothing else does, no row adds more than 1, and intervals hold what is true."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.flower.records import Published
from fl_app.replica.declared import Declared
from fl_app.replica.tabular import TabularRule
from fl_app.tabular.dates import DateSettings
from fl_app.tabular.encoding import Encoded, Encoding, statistic_sums
from fl_app.tabular.importance import MOST_COLUMNS, class_errors, rises_of, shuffled, table_columns
from fl_app.tabular.intervals import FEWEST, of_rise
from fl_app.tabular.schema import Column, Schema, schema_of
from fl_app.tabular.settings import DataStructure
from tests.fl_app.tabular.tables import TARGET, shop


def with_dates(rows: int = 200) -> tuple[pd.DataFrame, Encoding]:
    """Return a table with a column of dates, of which month and weekday are learnt too, and its encoding."""
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(rows) * 9 % 700, unit="D")
    frame = shop(rows).assign(day=pd.Series(days.strftime("%Y-%m-%d")).where(np.arange(rows) % 20 > 0, ""))
    schema = schema_of(frame, name="shop", dates={"day": DateSettings(parts=("month", "weekday"))})
    return frame, Encoding.of(schema, TARGET, statistic_sums(frame, schema, TARGET))


def cells(rows: Encoded, encoding: Encoding, columns: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return what the arrays hold of these columns of the table."""
    of_number = [place for place, column in enumerate(encoding.continuous) if column.source in columns]
    of_category = [place for place, column in enumerate(encoding.categorical) if column.source in columns]
    return {
        "numbers": rows.numbers[:, of_number],
        "bins": rows.bins[:, of_number],
        "codes": rows.codes[:, of_category],
    }


@pytest.mark.parametrize("column", ["age", "gift", "town", "colour", "day"])
def test_a_column_moves_with_its_bins_its_parts_and_what_is_missing_and_nothing_else_does(column: str) -> None:
    frame, encoding = with_dates()
    assert table_columns(encoding) == ("age", "gift", "town", "colour", "day")
    rows, order = encoding.encode(frame), np.random.default_rng(3).permutation(len(frame))
    mixed = shuffled(rows, encoding, column, order)
    again = encoding.encode(frame.assign(**{column: frame[column].to_numpy()[order]}))
    for name in ("numbers", "bins", "codes", "labels"):
        assert np.array_equal(getattr(mixed, name), getattr(again, name))
    others = [name for name in table_columns(encoding) if name != column]
    before, after = cells(rows, encoding, others), cells(mixed, encoding, others)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    own_before, own_after = cells(rows, encoding, [column]), cells(mixed, encoding, [column])
    assert any(not np.array_equal(own_before[name], own_after[name]) for name in own_before)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=20))
def test_no_row_has_an_error_below_0_or_above_1(rows: list[tuple[float, int]]) -> None:
    scores, labels = np.array([score for score, _ in rows]), np.array([label for _, label in rows])
    errors = class_errors(labels, np.column_stack([1 - scores, scores]))
    assert errors.shape == (len(rows), 2)
    assert ((errors >= 0) & (errors <= 1)).all()


def test_a_column_takes_one_evaluation() -> None:
    frame, encoding = with_dates()
    rows, asked = encoding.encode(frame), list[Encoded]()

    def errors(part: Encoded) -> NDArray[np.float64]:
        asked.append(part)
        return np.zeros((len(part), 2))

    rises_of(rows, encoding, errors, [np.arange(len(rows))] * 5)
    assert len(asked) == 1 + 5


@pytest.mark.parametrize("column", [0, 1])
def test_of_twenty_intervals_about_nineteen_hold_the_true_rise(column: int) -> None:
    """One shuffle of a sample of rows, against the mean of many."""
    rng, rises, ends = np.random.default_rng(5), list[float](), list[tuple[float, float]]()

    def losses(x: NDArray[np.float64], y: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.logaddexp(0, np.where(y, -1, 1) * (1.5 * x[:, 0] - x[:, 1]))

    for _ in range(3000):
        x = rng.normal(size=(300, 2))
        y = rng.random(300) < 1 / (1 + np.exp(x[:, 1] - x[:, 0]))
        mixed = x.copy()
        mixed[:, column] = rng.permutation(x[:, column])
        rise = losses(mixed, y) - losses(x, y)
        interval = of_rise(rise.sum(), (rise**2).sum(), len(rise))
        assert interval is not None
        rises.append(rise.mean())
        ends.append(interval)
    low, high = np.array(ends).T
    held = ((low <= np.mean(rises)) & (np.mean(rises) <= high)).mean()
    assert 0.915 < held < 0.965


def test_of_few_rows_no_interval_is_told() -> None:
    assert of_rise(3.0, 9.0, FEWEST - 1) is None
    assert of_rise(50.0, 50.0, 50) == (1.0, 1.0)
    assert of_rise(0.0, 50.0, 50) == pytest.approx((-1.96 / 50**0.5, 1.96 / 50**0.5), abs=1e-4)


def test_more_columns_than_are_shuffled_are_refused() -> None:
    outcome = Column(name="outcome", kind="categorical", values=("no", "yes"))
    columns = [Column(name=f"c{place}", kind="continuous", low=0, high=1) for place in range(MOST_COLUMNS + 1)]
    pods = ("north", "south")
    declared = Declared(minimum_cohort=2, least_rows=5, validation=True, test=True).to_json()

    def begin(columns: list[Column]) -> None:
        published = {
            pod: Published(Schema(name=pod, columns=(*columns, outcome)).to_json(), (), (), declared) for pod in pods
        }
        config = RunConfig(pods=pods, datastructure=DataStructure(target="outcome"), importance=True)
        TabularRule().begin(config.to_json(), published)

    begin(columns[:-1])
    with pytest.raises(UsageError, match="importance: 501 columns are learnt from, and at most 500 are shuffled"):
        begin(columns)
