"""Columns of dates: what a pod publishes of them, how several pods agree, and what a modeller may propose."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from client.app.noised_sums import noised
from fl_app.errors import DataError, UsageError
from fl_app.host.column_file import columns_text, read_columns
from fl_app.tabular.binning import mean_and_std
from fl_app.tabular.cells import Table
from fl_app.tabular.column_spec import Agreement, ColumnSpec, ProposedColumn, agree
from fl_app.tabular.combining import SchemaMismatch, combine
from fl_app.tabular.dates import DateForm, DatePart, DateSettings, seconds_of
from fl_app.tabular.encoding import codes_of, features_of
from fl_app.tabular.schema import Column, Schema, schema_of
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import GRID_CELLS, HISTOGRAM, MOMENTS, Statistics, grid, present_numbers, statistics_of
from server.app.schema_agreement import SchemaChanged, check_agreement
from server.modeller.schema_verdicts import judge

DAYS = [f"2021-{1 + n % 12:02}-{1 + n % 28:02}" for n in range(60)]


def table(cells: Sequence[object], **facts: Any) -> Table:
    made = Table.of(pd.DataFrame({"day": cells, "age": range(len(cells))}))
    return Table(made.columns, made.size, **facts)


def published(cells: Sequence[object], name: str = "a", date: DateSettings | None = None, **facts: Any) -> Schema:
    return schema_of(table(cells, **facts), name=name, dates={"day": date or DateSettings()})


def test_a_schema_holds_no_date_of_the_table() -> None:
    column = published([*DAYS, None]).column("day")
    assert (column.kind, column.unit, column.integer, column.values) == (
        "continuous",
        "days since 1970-01-01",
        True,
        (),
    )
    assert column.summary == "2020-01-01 to 2028-01-01 in days since 1970-01-01, whole"
    others = [f"{2020 + n % 7}-06-05" for n in range(60)]
    assert published(others).to_json() == published([*DAYS, None]).to_json()


def test_dates_of_pandas_and_parquet_are_read_whatever_format_texts_have() -> None:
    days = pd.Series(pd.to_datetime([*DAYS[:9], None]))
    expected = (days - pd.Timestamp(0)) / pd.Timedelta(days=1)
    for cells in (days, days.dt.date, days.dt.strftime("%d.%m.%Y")):
        held = table(cells, date_format="%d.%m.%Y")
        column = schema_of(held, name="a", dates={"day": DateSettings()}).column("day")
        np.testing.assert_array_equal(present_numbers(held, column), expected)
    with pytest.raises(DataError, match="text that is none in the format"):
        present_numbers(table(days.dt.strftime("%Y-%m-%d"), date_format="%d.%m.%Y"), column)


def test_dates_are_numbers_of_their_unit_and_missing_ones_are_none() -> None:
    cells = ["2021-01-02", "2021-01-02 12:00", "", "NA", "1900-01-01"]
    held = table(cells, missing=("", "NA", "1900-01-01"))
    for unit, hours in (("days", 24.0), ("hours", 1.0)):
        column = schema_of(held, name="a", dates={"day": DateSettings(unit=unit)}).column("day")  # type: ignore[arg-type]
        first = (np.datetime64("2021-01-02") - np.datetime64("1970-01-01")).astype(int) * 24 / hours
        np.testing.assert_array_equal(
            present_numbers(held, column), [first, first + 12 / hours, np.nan, np.nan, np.nan], str(unit)
        )
    assert published([None, ""]).column("day").empty


@pytest.mark.parametrize(
    ("cells", "said", "quoted"),
    [
        (
            [*DAYS, "2021-02-30"],
            "declared a date but holds text that is none by ISO 8601",
            "'2021-02-30' (in data row 61)",
        ),
        ([*DAYS, "31.12.2021"], "such as 2024-01-31", 'date_format: "%d.%m.%Y"'),
        (
            ["2021-01-01T10:00Z", "2021-01-01T11:00"],
            "some cells name a time zone, others none",
            "'2021-01-01T10:00Z' (in data row 1), but '2021-01-01T11:00' (in data row 2); write all of them in UTC",
        ),
    ],
)
def test_what_is_wrong_is_quoted_for_the_owner_alone(cells: list[str], said: str, quoted: str) -> None:
    with pytest.raises(DataError) as refused:
        published(cells)
    assert said in str(refused.value)
    assert quoted in refused.value.full_text
    assert not any(cell in str(refused.value) for cell in cells if cell != "2024-01-31")


def test_a_files_own_format_goes_before_the_models() -> None:
    held = table(["01.02.2021", "31.12.2021"], date_format={"day": "%d.%m.%Y"})
    column = schema_of(held, name="a", dates={"day": DateSettings()}).column("day")
    assert column.date == DateForm(format="%d.%m.%Y")
    later = Table.of(pd.DataFrame({"day": ["01.02.2021", "31.12.2021"]}))
    np.testing.assert_array_equal(present_numbers(later, column), present_numbers(held, column))
    iso = Table(Table.of(pd.DataFrame({"day": ["2021-02-01", "2021-12-31"]})).columns, 2, date_format="%Y-%m-%d")
    np.testing.assert_array_equal(present_numbers(iso, column), present_numbers(held, column))


def test_a_grid_of_dates_is_even_with_a_cell_for_each_day_of_eight_years() -> None:
    column = published(DAYS).column("day")
    assert len(grid(column)) - 1 == 366 * 2 + 365 * 6 + 1
    century = published([*DAYS, "1921-01-01"]).column("day")
    steps = np.diff(grid(century))
    assert (len(steps), set(steps[1:-1])) == (GRID_CELLS, {11.0, 12.0})
    hours = published(DAYS, date=DateSettings(unit="hours")).column("day")
    assert len(grid(hours)) - 1 == GRID_CELLS


def test_pods_are_read_in_the_finest_unit_with_the_parts_that_all_give() -> None:
    north = published(DAYS, "north", DateSettings("days", None, ("month", "weekday")))
    south = published(["2021-01-01 10:00Z", "1999-05-05 11:00Z"], "south", DateSettings("minutes", None, ("weekday",)))
    both = combine([north, south])
    day = both.column("day")
    assert day.date == DateForm(unit="minutes", parts=("weekday",))
    assert day.bounds == (seconds_of("1984-01-01") / 60, seconds_of("2048-01-01") / 60)
    assert "day: north has dates in days, which it reads in minutes as the others do" in both.differences
    assert "day: north gives month too, which others do not" in both.differences
    assert "day: south names time zones and is read in UTC, others as they stand" in both.differences
    assert any("north has 2020-01-01..2028-01-01 of " in told for told in both.differences)
    assert {verdict.name: verdict.verdict for verdict in judge([north, south])}["day"] == "differs"
    np.testing.assert_array_equal(
        present_numbers(table(["2021-01-02"]), day), [np.datetime64("2021-01-02", "m").astype(int)]
    )


def test_a_pod_without_a_value_fits_and_one_that_takes_it_for_text_does_not() -> None:
    dated, empty = published(DAYS, "north"), schema_of(table([None] * 3), name="south")
    assert combine([dated, empty]).column("day").date == DateForm()
    assert combine([empty, dated]).column("day").date == DateForm()
    text = schema_of(table(DAYS), name="south")
    with pytest.raises(SchemaMismatch, match="is a date in 'north' but none in 'south'"):
        combine([dated, text])
    verdict = next(verdict for verdict in judge([dated, text]) if verdict.name == "day")
    assert verdict.verdict == "does not fit"
    assert verdict.commands == {"south": "fl-app pod column south.yaml day --kind date"}


def test_parts_are_features_of_public_values_and_no_column_of_a_table() -> None:
    held = table([*DAYS, None])
    schema = schema_of(held, name="a", dates={"day": DateSettings(parts=("month", "weekday"))})
    features = features_of(schema, DataStructure(target="age"))
    assert [column.name for column in features] == ["day", "day (month)", "day (weekday)"]
    month, weekday = features[1:]
    assert (len(month.values), len(weekday.values)) == (12, 7)
    when = pd.to_datetime(pd.Series([*DAYS, None]))
    np.testing.assert_array_equal(codes_of(held, month), (when.dt.month + 1).fillna(1))
    np.testing.assert_array_equal(codes_of(held, weekday), (when.dt.day_of_week + 2).fillna(1))
    taken = schema.model_copy(update={"columns": (*schema.columns, Column(name="day (month)", kind="categorical"))})
    with pytest.raises(DataError, match="have a column 'day \\(month\\)' already"):
        features_of(taken, DataStructure(target="age", ignore_cols=("day (month)",)))
    with pytest.raises(UsageError, match="part of a date, which no table has"):
        Schema(name="a", columns=(month,))


def test_columns_that_contradict_themselves_are_refused() -> None:
    facts: dict[str, Any] = {"name": "day", "kind": "continuous", "low": 0, "high": 9, "date": DateForm()}
    with pytest.raises(UsageError, match="in days since 1970-01-01"):
        Column(**facts, unit="days")
    with pytest.raises(UsageError, match="has no values"):
        Column(**facts, unit=DateForm().text, values=("1",), integer=True)
    part = DatePart(column="day", part="month", date=DateForm())
    with pytest.raises(UsageError, match="is the month of a date"):
        Column(name="m", kind="categorical", values=("01", "02"), part=part)


def test_a_schema_that_changed_says_so() -> None:
    days, hours = published(DAYS), published(DAYS, date=DateSettings("hours"))
    with pytest.raises(SchemaChanged, match=r"day: .*a date in one of the two, or another unit"):
        check_agreement(combine([days]), combine([hours]), DataStructure(target="age"))


def agreed(proposal: dict[str, Any], cells: Sequence[object] = DAYS, **owner: Any) -> Agreement:
    settings: dict[str, Any] = {"force_stypes": {}, "bounds": {}, "units": {}, **owner}
    return agree(table(cells), ColumnSpec(columns={"day": ProposedColumn(**proposal)}), min_count=10, **settings)


def test_a_modeller_proposes_what_the_owner_leaves_open() -> None:
    found = agreed({"kind": "date", "unit": "hours", "bounds": ["2000-01-01", "2030-01-01"], "parts": ["month"]})
    expected = DateSettings("hours", (seconds_of("2000-01-01"), seconds_of("2030-01-01")), ("month",))
    assert (found.dates, found.disagreements) == ({"day": expected}, {})
    owned = agreed({"kind": "date", "unit": "hours", "parts": ["month"]}, dates={"day": DateSettings("days")})
    assert owned.dates == {"day": DateSettings("days", None, ("month",))}
    assert owned.disagreements == {"day": "its owner says that it is in days, not in 'hours'"}


@pytest.mark.parametrize(
    ("proposal", "cells", "owner", "why"),
    [
        ({"kind": "date"}, [*DAYS, "soon"], {}, "it holds cells that are no dates"),
        ({"kind": "date"}, ["2021-01-01 10:00", "2021-01-01 10:00Z"], {}, "name a time zone and others none"),
        (
            {"kind": "date"},
            DAYS,
            {"force_stypes": {"categorical": ["day"]}},
            "its owner declares it categorical, not a",
        ),
        ({"kind": "date"}, range(60), {"bounds": {"day": (0, 64)}}, "its owner gives it bounds"),
        ({"kind": "date"}, DAYS, {"units": {"day": "h"}}, "its owner says that it is in 'h', and so no date"),
        ({"kind": "categorical"}, DAYS, {"dates": {"day": DateSettings()}}, "its owner declares it a date, not categ"),
        ({"unit": "kg"}, DAYS, {"dates": {"day": DateSettings()}}, "its owner says that it is in days, not in 'kg'"),
        (
            {"kind": "date", "bounds": ["2000-01-01", "2030-01-01"]},
            DAYS,
            {"dates": {"day": DateSettings(None, (0.0, 9e9))}},
            "its owner gives it other bounds",
        ),
        (
            {"kind": "date", "parts": ["month"]},
            DAYS,
            {"dates": {"day": DateSettings(None, None, ())}},
            "its owner says which parts of it are given",
        ),
    ],
)
def test_the_owner_has_the_last_word(
    proposal: dict[str, Any], cells: Sequence[object], owner: dict[str, Any], why: str
) -> None:
    found = agreed(proposal, cells, **owner)
    assert why in found.disagreements["day"]
    if "dates" not in owner:
        assert not found.dates


def test_a_proposed_spelling_of_missing_does_not_show_in_the_bounds() -> None:
    cells = [*DAYS, *["1900-01-01"] * 20]
    found = agreed({"kind": "date", "missing": ["", "1900-01-01"]}, cells)
    schema = schema_of(table(cells), name="a", dates=found.dates, read_as=found.read_as)
    assert schema.column("day").range == published(cells).column("day").range
    held = present_numbers(table(cells), schema.column("day"))
    assert np.isnan(held).tolist() == [False] * 60 + [True] * 20


@pytest.mark.parametrize(
    ("proposal", "why"),
    [
        ({"kind": "date", "unit": "weeks"}, "the unit of a date is days, hours, minutes, seconds"),
        ({"kind": "date", "bounds": ["2000-01-01", "soon"]}, "must be a date such as"),
        ({"kind": "date", "bounds": ["2001-01-01", "2000-01-01"]}, "low below high"),
        ({"kind": "continuous", "parts": ["month"]}, "parts go with kind: date"),
        ({"kind": "date", "parts": ["year"]}, "month"),
    ],
)
def test_a_proposal_that_makes_no_sense_is_refused(proposal: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ProposedColumn(**proposal)


def test_what_pods_publish_can_be_proposed_as_it_is(tmp_path: Any) -> None:
    schema = published(DAYS, date=DateSettings("hours", None, ("month",)))
    text = columns_text(schema.columns)
    assert "  day: {kind: date, unit: hours, bounds: [2020-01-01, 2028-01-01], parts: [month]}\n" in text
    (tmp_path / "columns.yaml").write_text(text)
    spec = read_columns(tmp_path / "columns.yaml")
    assert ColumnSpec.from_json(spec.to_json()) == spec
    found = agreed(spec.columns["day"].model_dump())
    assert published(DAYS, date=found.dates["day"]).column("day") == schema.column("day")


@pytest.mark.parametrize(
    ("years", "rows", "middle", "one_in_twenty", "spread"),
    [((2020, 2028), 300, 0.13, 0.43, 2.6), ((2022, 2023), 300, 0.02, 0.05, 1.0), ((2020, 2028), 3000, 0.02, 0.08, 1.0)],
)
def test_how_far_noise_puts_the_mean_off_is_as_the_page_says(
    years: tuple[int, int], rows: int, middle: float, one_in_twenty: float, spread: float
) -> None:
    low, high = (seconds_of(f"{year}-01-01") / 86400 for year in years)
    form = DateForm()
    column = Column(name="day", kind="continuous", low=low, high=high, integer=True, unit=form.text, date=form)
    off, ratio = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        days = seconds_of("2022-01-01") / 86400 + rng.integers(0, 365, rows)
        texts = days.astype("datetime64[D]").astype(str)
        found = [
            noised(statistics_of(table(part), (column,)), (column,), np.zeros(0, np.int64), 2, rng.bytes)
            for part in (texts[::2], texts[1::2])
        ]
        total = Statistics.from_sums({name: found[0][name] + found[1][name] for name in (MOMENTS, HISTOGRAM)}, 2)
        (moments,), (levels,) = total.moments.tolist(), total.levels((column,))
        mean, std = mean_and_std(column, moments, grid(column), levels, 2)
        off.append(abs(mean - days.mean()) / days.std())
        ratio.append(std / days.std())
    np.testing.assert_allclose(np.quantile(off, [0.5, 0.95]), [middle, one_in_twenty], rtol=0.25, atol=0.005)
    assert np.median(ratio) == pytest.approx(spread, rel=0.05)
