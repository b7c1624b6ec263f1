"""Dates as numbers: units, the origin that all pods share, bounds that tell little, and parts of a date.

A date is learnt as the number of days, hours, minutes or seconds since 1970-01-01, 00:00 UTC. A cell with a time zone
is that moment; one without is taken as it stands, as if it were UTC.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from fl_app.validation import Frozen

Unit = Literal["days", "hours", "minutes", "seconds"]
SECONDS: Mapping[str, int] = MappingProxyType({"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1})
"""The seconds of each unit, the coarsest first."""
ORIGIN = "1970-01-01"
_SINCE = f" since {ORIGIN}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST_YEARS = 8
"""Of public bounds: a histogram of statistics has a cell for each day of them."""
_FIRST, _LAST = 1, 9999

Part = Literal["month", "weekday", "hour"]
VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "month": tuple(f"{month:02}" for month in range(1, 13)),
        "weekday": ("1 Monday", "2 Tuesday", "3 Wednesday", "4 Thursday", "5 Friday", "6 Saturday", "7 Sunday"),
        "hour": tuple(f"{hour:02}" for hour in range(24)),
    }
)
"""The values of each part of a date: the calendar's, whatever a table holds, so that they tell nothing of it."""
DIRECTIVES = "YymdbBHIpMSfz"
"""What may follow a % in a format, as for `datetime.strptime`; names of months are English."""


def format_problem(text: str) -> str:
    """Return what keeps a text from being a format of dates, "" if nothing does."""
    found = re.findall(r"%(.?)", text, re.DOTALL)
    if wrong := [directive for directive in found if directive not in (*DIRECTIVES, "%")]:
        return f"has %{wrong[0]}; known are {', '.join('%' + known for known in DIRECTIVES)}"
    named = [directive for directive in found if directive != "%"]
    if len(set(named)) < len(named):
        return "names a part of the date twice"
    if len(set("Yy") & set(named)) != 1 or len(set("mbB") & set(named)) != 1 or "d" not in named:
        return "needs a year, a month and a day, as in %d.%m.%Y"
    if ("I" in named) != ("p" in named) or {"H", "I"} <= set(named):
        return "needs %H, or %I with %p"
    return ""


def _known_format(text: str) -> str:
    if problem := format_problem(text):
        raise ValueError(problem)
    return text


DateFormat = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_known_format)]


class DateForm(Frozen):
    """How the cells of a column are read as dates.

    Attributes
    ----------
    unit : str
        Of the number that a date becomes.
    format : str
        How it is written, as for `datetime.strptime`, where the table's own file does not say it; "": by ISO 8601.
    zoned : bool
        Whether cells name a time zone; in a column all do or none.
    parts : tuple of str
        Parts of a date that are learnt as categories beside it.
    """

    unit: Unit = "days"
    format: DateFormat | Literal[""] = ""
    zoned: bool = False
    parts: tuple[Part, ...] = ()

    @property
    def text(self) -> str:
        """The unit and the origin, as a schema names them."""
        return self.unit + _SINCE

    @property
    def seconds(self) -> int:
        """The seconds of the unit."""
        return SECONDS[self.unit]


class DatePart(Frozen):
    """Of which date a category is which part.

    Attributes
    ----------
    column : str
        The date's name in the table.
    part : str
        "month", "weekday" or "hour".
    date : DateForm
        How the date is read.
    """

    column: str
    part: Part
    date: DateForm


class DateSettings(NamedTuple):
    """What an owner or a modeller says of a column of dates; None leaves it open.

    Attributes
    ----------
    unit : str or None
        See `DateForm`.
    bounds : pair of float or None
        Its public bounds, in seconds since the origin.
    parts : tuple of str or None
        See `DateForm`.
    """

    unit: Unit | None = None
    bounds: tuple[float, float] | None = None
    parts: tuple[Part, ...] | None = None


def seconds_of(written: object) -> float:
    """Return the seconds since the origin of a date, a date and time, or the text of one by ISO 8601.

    Raises
    ------
    ValueError
        It is none of these.
    """
    moment = written
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.strip())
        except ValueError:
            raise ValueError("must be a date such as 2000-01-31") from None
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(moment, date):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC).timestamp()
    raise ValueError("must be a date such as 2000-01-31")


def unit_in(text: str) -> Unit | None:
    """Return the unit of the dates that a schema's unit names; None where it is another, no date's."""
    units: dict[str, Unit] = {DateForm(unit=unit).text: unit for unit in ("days", "hours", "minutes", "seconds")}
    return units.get(text)


def shown(value: float, unit: str) -> str:
    """Return a number of a date's unit as a date, with the time where there is one and the unit is finer than days."""
    size = SECONDS[unit]
    try:
        moment = _EPOCH + timedelta(seconds=round(value) * size)
    except OverflowError:
        return f"{value:g}"
    if moment.hour == moment.minute == moment.second == 0:
        return moment.date().isoformat()
    return moment.strftime("%Y-%m-%d %H:%M:%S" if unit == "seconds" else "%Y-%m-%d %H:%M")


def day_in(text: str) -> date | str:
    """Return what YAML writes without quotation marks: the day that a text is, or the text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text


def span_of(bounds: Sequence[float], unit: str) -> tuple[float, float]:
    """Return bounds in seconds as bounds in a unit."""
    low, high = bounds
    return low / SECONDS[unit], high / SECONDS[unit]


def public_span(seconds: Sequence[float]) -> tuple[float, float]:
    """Return bounds of dates that tell no date: the least of 8, 16, 32 ... years that hold them all.

    Such a span begins at a multiple of half its years, as 2016 to 2024 and 2020 to 2028 do. So it shows of the earliest
    and the latest date no more than the bounds of a number show of the largest: an order of magnitude.

    Parameters
    ----------
    seconds : sequence of float
        The dates, or the earliest and the latest of them, in seconds since the origin.
    """
    first, last = (_year(end) for end in (min(seconds), max(seconds))) if len(seconds) else (1970, 1970)
    years = _LEAST_YEARS
    while (start := first // (years // 2) * (years // 2)) + years <= last:
        years *= 2
    return _january(max(start, _FIRST)), _january(min(start + years, _LAST))


def _year(seconds: float) -> int:
    return (_EPOCH + timedelta(seconds=math.floor(seconds))).year


def _january(year: int) -> float:
    return datetime(year, 1, 1, tzinfo=UTC).timestamp()


def moved(given: Any) -> Any:
    """Return a proposal for a column with dates among its bounds as numbers of its unit; others as they are.

    Raises
    ------
    ValueError
        A bound is a text, and no date.
    """
    if not isinstance(given, Mapping) or not isinstance(given.get("bounds"), list | tuple):
        return given
    size = SECONDS.get(str(given.get("unit") or "days"), 1)
    bounds = [
        seconds_of(end) / size
        if isinstance(end, date) or (isinstance(end, str) and given.get("kind") == "date")
        else end
        for end in given["bounds"]
    ]
    if any(isinstance(end, date) for end in given["bounds"]) and given.get("kind") != "date":
        raise ValueError("bounds that are dates go with kind: date")
    return {**given, "bounds": bounds}


def finest(units: Sequence[Unit]) -> Unit:
    """Return the unit in which all numbers of the others are whole."""
    return min(units, key=SECONDS.__getitem__)
