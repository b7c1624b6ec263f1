"""What `pod init` says of a column: what it seems to be, and what its owner should know of its cells."""

from collections.abc import Sequence

import pandas as pd
import pytest

from client.site.column_description import ColumnDescription, describe_column
from client.site.date_columns import date_settings
from fl_app.tabular.cells import Table
from fl_app.tabular.dates import DateSettings
from fl_app.tabular.schema import schema_of


def described(cells: Sequence[object]) -> ColumnDescription:
    table = Table.of(pd.DataFrame({"x": cells}))
    return describe_column(table, schema_of(table, name="a", dates=date_settings(table)).columns[0], 10)


DAYS = [f"2024-{1 + n % 12:02}-{1 + n % 28:02}" for n in range(100)]


@pytest.mark.parametrize(
    ("cells", "look", "doubtful"),
    [
        ([n % 50 / 4 for n in range(100)], "number", False),
        ([n % 3 for n in range(100)], "few whole numbers", False),
        (["f", "m"] * 50, "category", False),
        ([None] * 100, "no value", False),
        (["A"] * 100, "constant", False),
        ([0] * 100, "constant", False),
        (DAYS, "date", False),
        (DAYS[:2] * 50, "date", False),
        ([day.replace("-", "") for day in DAYS], "date", True),
        ([f"{day[8:]}.{day[5:7]}.{day[:4]}" for day in DAYS], "date", True),
        ([f"{day} 10:20:30" for day in DAYS], "date", False),
        ([*DAYS, "2024-02-30"], "date", True),
        ([*DAYS, "2024-02-03 10:00Z"], "date", True),
        (["Jan-2024", "Feb-2024"] * 50, "category", False),  # few values: it could be a target
        ([f"P{n}" for n in range(100)], "identifier", True),
        (list(range(5000, 5100)), "identifier", True),
        ([f"seen by {n % 70}" for n in range(100)], "free text", True),
        (["<0.1" if n % 10 == 0 else f"{n / 10}" for n in range(100)], "nearly numeric", False),
        ([f"{n % 40:03}" for n in range(100)], "code", False),
        ([f"{10**19 + n % 40}" for n in range(100)], "code", False),
        (["0", "1", "2", "3+"] * 25, "category", False),
    ],
)
def test_columns_are_recognised(cells: Sequence[object], look: str, doubtful: bool) -> None:
    found = described(cells)
    assert (found.look, found.doubtful) == (look, doubtful), found.text


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        (DAYS, "a date, read in days since 1970-01-01, with public bounds 2024-01-01 to 2032-01-01"),
        ([*DAYS, None], "2032-01-01; 1 row without a value"),
        ([f"{day} 10:30" for day in DAYS], "a date, read in minutes since 1970-01-01"),
        (
            [f"{day[8:]}.{day[5:7]}.{day[:4]}" for day in DAYS],
            'say in read_options how it is written, date_format: {x: "%d.%m.%Y"}; else leave it out',
        ),
        (
            [
                f"{day[8:]}/{1 + n % 12:02}/24 10:20 PM"
                for n, day in enumerate(f"2024-01-{1 + n % 9:02}" for n in range(99))
            ],
            'date_format: {x: "%d/%m/%y %I:%M %p"} or date_format: {x: "%m/%d/%y %I:%M %p"}',
        ),
        ([f"the {day}" for day in DAYS], "free text"),
        ([f"{day[8:]}/{day[5:7]}/{day[:4]} at noon" for day in DAYS], "a date, in no way that is known"),
        ([*DAYS, "2024-02-30"], "a date but for '2024-02-30' (1 row): correct the file, or name it in na_values"),
        ([*DAYS, "2024-02-03 10:00Z"], "some cells name a time zone and others none: write all in UTC with a Z"),
    ],
)
def test_a_date_is_told_as_it_is_read_or_why_it_is_not(cells: Sequence[object], text: str) -> None:
    assert text in described(cells).text


def test_the_unit_of_a_date_is_the_coarsest_in_which_all_are_whole() -> None:
    for time, unit in (("", "days"), (" 10:00", "hours"), (" 10:30", "minutes"), (" 10:30:01", "seconds")):
        table = Table.of(pd.DataFrame({"x": [f"{day}{time}" for day in DAYS], "y": range(100)}))
        assert date_settings(table) == {"x": DateSettings(unit, date_settings(table)["x"].bounds)}


def test_a_nearly_numeric_column_is_quoted_with_its_rows() -> None:
    found = described(["<0.1"] * 24 + [f"{n / 10}" for n in range(200)])
    assert found.text == "numbers but for '<0.1' (24 rows): name it in na_values, or correct the file"


def test_a_few_bands_are_a_category_and_what_is_not_a_number_is_told() -> None:
    assert "numbers but for '3+' (25 rows)" in described(["0", "1", "2", "3+"] * 25).text


def test_one_number_with_a_leading_zero_does_not_make_a_code_of_the_others() -> None:
    found = described(["07", *map(str, range(20, 90)), *map(str, range(20, 90))])
    assert found.look == "nearly numeric"
    assert "'07' (1 row)" in found.text


def test_texts_that_count_as_missing_are_told_with_their_rows() -> None:
    text = described(["own"] * 40 + ["NA"] * 52 + [""] * 3 + ["rent"] * 20).text
    assert "'NA' (52 rows) counts as missing; if it is a value, set keep_default_na: false and na_values" in text
    assert "3 rows without a value" in text


def test_values_too_rare_to_be_published_are_told_with_their_rows() -> None:
    assert "not published, as in fewer than 10 rows: 'c' (4 rows)" in described(["a", "b"] * 20 + ["c"] * 4).text
    assert "a number, or a target (then without 4 rows of rarer values)" in described([1, 2] * 20 + [7] * 4).text


def test_measurements_that_happen_to_differ_are_no_identifier() -> None:
    assert described([(n * 7919) % 100_003 for n in range(60)]).look == "number"
    assert described([1000 + 97 * n for n in range(60)]).look == "identifier"
