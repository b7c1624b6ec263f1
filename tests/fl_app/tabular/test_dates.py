"""Texts as dates, and dates as numbers, bounds and parts: Python's datetime is the oracle."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.errors import UsageError
from fl_app.tabular.date_cells import parse_dates, parts_of
from fl_app.tabular.dates import (
    VALUES,
    DateForm,
    day_in,
    format_problem,
    public_span,
    seconds_of,
    shown,
    unit_in,
)

MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))
EPOCH = datetime(1970, 1, 1)


def seconds(text: str, form: str = "") -> float:
    return float(parse_dates(pa.array([text]), form)[0][0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29", "2024-02-29"),
        (" 2024-02-29 ", "2024-02-29"),
        ("2024-01-31T10:20", "2024-01-31 10:20:00"),
        ("2024-01-31 10:20:30.000", "2024-01-31 10:20:30"),
        ("2024-01-31T10:20:30Z", "2024-01-31 10:20:30"),
        ("2024-01-31T10:20+02:00", "2024-01-31 08:20:00"),
        ("2024-01-31 10:20:00-0330", "2024-01-31 13:50:00"),
        ("2024-01-31 00:30:00 +01", "2024-01-30 23:30:00"),
        ("1899-12-31", "1899-12-31"),
    ],
)
def test_iso_texts_are_read(text: str, expected: str) -> None:
    assert shown(seconds(text), "seconds") == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "2023-02-29", "2024-13-01", "2024-00-01", "2024-01-32", "0000-01-01", "24-01-31", "20240131"),
        *("2024-01-01 24:00", "2024-01-01 10:60", "2024-01-01 10:00:60", "2024-01-01Z", "2024-01-01 10:00+25"),
        *("2024-01", "2024-1-1", "2024-01-31 10", "2024-01-31 10:20:30.", "2024-01-31x"),
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(text: str) -> None:
    assert np.isnan(seconds(text))


@given(MOMENTS)
def test_every_moment_is_read_as_python_writes_it(when: datetime) -> None:
    expected = (when - EPOCH) / timedelta(seconds=1)
    assert seconds(when.isoformat()) == pytest.approx(expected, abs=1e-4)
    assert seconds(when.isoformat(" ") + "+05:30") == pytest.approx(expected - 5.5 * 3600, abs=1e-4)


@pytest.mark.parametrize(
    "form",
    [
        *("%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%d %b %Y", "%B %d, %Y", "%d-%b-%Y %I:%M:%S %p", "%Y-%m-%dT%H:%M:%S.%f"),
        *("%d.%m.%Y %H:%M", "(%d|%m|%Y)*", "%d%%%m%%%Y", "%Y年%m月%d日"),
    ],
)
@given(when=MOMENTS)
def test_formats_mean_what_strptime_says(form: str, when: datetime) -> None:
    written = when.strftime(form.replace("%Y", f"{when.year:04}"))
    read = datetime.strptime(written, form)
    assert seconds(written, form) == pytest.approx((read - EPOCH) / timedelta(seconds=1), abs=1e-4)
    assert np.isnan(seconds(written + "x", form))


def test_two_digits_of_a_year_are_those_of_posix_and_zones_are_read_in_formats() -> None:
    assert shown(seconds("1.2.68", "%d.%m.%y") / 86400, "days") == "2068-02-01"
    assert shown(seconds("1.2.69", "%d.%m.%y") / 86400, "days") == "1969-02-01"
    found, zoned = parse_dates(pa.array(["01.02.2024 10:00 +0200"]), "%d.%m.%Y %H:%M %z")
    assert shown(found[0], "seconds") == "2024-02-01 08:00:00"
    assert zoned.tolist() == [True]


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("%d.%m", "needs a year, a month and a day"),
        ("%d.%m.%Y %y", "needs a year"),
        ("%d.%m.%Y %q", "has %q; known are %Y"),
        ("%d.%m.%Y %d", "twice"),
        ("%d.%m.%Y %I", "%I with %p"),
        ("%d.%m.%Y %", "has %"),
    ],
)
def test_a_format_that_makes_no_date_is_refused(form: str, why: str) -> None:
    assert why in format_problem(form)
    with pytest.raises(UsageError, match="format"):
        DateForm(format=form)


@given(st.text(max_size=20), st.text(max_size=10))
def test_no_text_of_a_format_breaks_the_reader(between: str, cell: str) -> None:
    form = f"%d{between.replace('%', '')}%m.%Y"
    assert format_problem(form) == ""
    parse_dates(pa.array([cell, f"01{between}02.2024"]), form)


@given(st.lists(MOMENTS, min_size=1, max_size=5))
def test_public_bounds_hold_all_dates_and_are_whole_spans(found: list[datetime]) -> None:
    held = [(when - EPOCH) / timedelta(seconds=1) for when in found]
    low, high = public_span(held)
    assert low <= min(held)
    assert max(held) < high or high == seconds_of("9999-01-01")
    first, last = (int(shown(end, "seconds")[:4]) for end in (low, high))
    years = last - first
    if first > 1 and last < 9999:
        assert years in [8 * 2**k for k in range(12)]
        assert first % (years // 2) == 0


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("2021-05-01", "2023-02-01"), ("2020-01-01", "2028-01-01")),
        (("2023-05-01", "2024-02-01"), ("2020-01-01", "2028-01-01")),
        (("1921-05-01", "2006-02-01"), ("1920-01-01", "2048-01-01")),
        (("1969-12-31", "1970-01-01"), ("1968-01-01", "1976-01-01")),
    ],
)
def test_bounds_do_not_show_the_dates(dates: tuple[str, str], expected: tuple[str, str]) -> None:
    assert public_span([seconds_of(date) for date in dates]) == tuple(map(seconds_of, expected))


def test_parts_are_those_of_python() -> None:
    moments = [datetime(1900 + n, 1 + n % 12, 1 + n % 28, n % 24, n % 60, tzinfo=UTC) for n in range(150)]
    held = np.array([when.timestamp() for when in moments] + [np.nan])
    months, weekdays, hours = (parts_of(held, part).tolist() for part in VALUES)
    assert months == [when.month - 1 for when in moments] + [-1]
    assert weekdays == [when.weekday() for when in moments] + [-1]
    assert hours == [when.hour for when in moments] + [-1]
    for values in VALUES.values():
        assert list(values) == sorted(set(values))
    assert VALUES["weekday"][moments[0].weekday()][2:] == f"{moments[0]:%A}"


def test_numbers_are_shown_as_dates() -> None:
    assert shown(19753.4, "days") == "2024-01-31"
    assert shown(24 * 19753 + 5, "hours") == "2024-01-31 05:00"
    assert shown(1e12, "days") == "1e+12"
    assert unit_in(DateForm(unit="minutes").text) == "minutes"
    assert unit_in("days") is None
    assert str(day_in("2024-01-31")) == "2024-01-31"
    assert day_in("2024-01-31 05:00") == "2024-01-31 05:00"
    with pytest.raises(ValueError, match="must be a date"):
        seconds_of(5)
