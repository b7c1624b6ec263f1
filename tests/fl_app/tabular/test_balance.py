"""Counts of rows by a column and the target, against pandas', and the noise that hides rows in them."""

import numpy as np
import pandas as pd
import pytest

from fl_app.tabular.balance import (
    MOST_VALUES,
    STRETCHES,
    TAIL,
    balance_variance,
    is_countable,
    joint_counts,
    size_of,
    stretches,
)
from fl_app.tabular.cells import Table
from fl_app.tabular.schema import Column, schema_of
from fl_app.tabular.statistics import VARIANCE, grid
from tests.fl_app.tabular.tables import shop

FRAME = shop(800)
SCHEMA = schema_of(FRAME, name="shop")
TARGET = SCHEMA.column("bought")
COLUMNS = [column for column in SCHEMA.columns if column.name != "bought"]


@pytest.mark.parametrize("least", [1, 60])
@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_rows_by_column_and_class(column: Column, least: int) -> None:
    counts = joint_counts(Table.of(FRAME), column, TARGET, least)
    assert counts.shape == (size_of(column), 2 + len(TARGET.values))
    cells = FRAME[column.name]
    if column.kind == "continuous":
        edges = stretches(column)
        places = pd.cut(cells, [*edges[:-1], np.inf], right=False, labels=False).add(1).fillna(0).astype(int)
    else:
        places = cells.map({value: 2 + k for k, value in enumerate(column.values)}).fillna(1).astype(int)
    right = pd.crosstab(places, FRAME["bought"]).reindex(index=range(size_of(column)), fill_value=0)
    right = right[list(TARGET.values)].to_numpy()
    assert (counts[:, 2:] == np.where(right >= least, right, 0)).all()
    assert not counts[:, :2].any()
    assert (counts.sum() == len(FRAME)) == (right[right > 0].min() >= least)


@pytest.mark.parametrize("high", [1, 2, 7, 100, 2.0**20])
@pytest.mark.parametrize("integer", [True, False])
def test_stretches_are_public_and_few(high: float, integer: bool) -> None:
    column = Column(name="x", kind="continuous", low=0, high=high, integer=integer)
    edges, cells = stretches(column), grid(column)
    assert 2 <= len(edges) <= STRETCHES + 1
    assert (edges[0], edges[-1]) == (cells[0], cells[-1])
    assert np.isin(edges, cells).all()


def test_many_categories_are_not_counted_by_class() -> None:
    values = tuple(sorted(f"v{k:03}" for k in range(MOST_VALUES + 1)))
    assert not is_countable(Column(name="x", kind="categorical", values=values))
    assert is_countable(Column(name="x", kind="categorical", values=values[1:]))
    for few in ((), values[:1]):
        assert not is_countable(Column(name="x", kind="categorical", values=few))


@pytest.mark.parametrize("columns", [1, 2, 4, 14, 31, 500, 4096, 100_000])
def test_noise_grows_with_the_columns_and_stays_within_its_tail(columns: int) -> None:
    variance = balance_variance(columns)
    assert variance >= VARIANCE
    counted = min(columns, 4096)
    assert counted / (4 * variance) <= 1 / VARIANCE  # a count again in each table, of four places at the least
    assert TAIL**2 / (2 * variance) > 250 * np.log(2)
