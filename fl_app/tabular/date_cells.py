"""Reading texts as dates, and their parts: by whole columns, exactly, and alike on any machine and in any language."""

import re
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_Ints = NDArray[np.int64]
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_ZONE = r"(?:(?P<Z>[Zz])|(?P<sign>[+-])(?P<zh>[0-9]{2}):?(?P<zm>[0-9]{2})?)"
_ISO = (
    r"^(?P<Y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"
    r"(?:[ Tt](?P<H>[0-9]{2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]{1,9}))?)?(?: ?" + _ZONE + ")?)?$"
)
_GROUPS = {
    "Y": "(?P<Y>[0-9]{4})",
    "f": "(?P<f>[0-9]{1,9})",
    "b": f"(?P<b>(?i:{'|'.join(_MONTHS)}))",
    "B": f"(?P<B>(?i:{'|'.join(_FULL)}))",
    "p": "(?P<p>(?i:am|pm))",
    "z": _ZONE,
    "%": "%",
}


@lru_cache(maxsize=64)
def pattern_of(form: str) -> str:
    """Return the regular expression of a whole cell in a format, see `fl_app.tabular.dates`; "" is ISO 8601."""
    if not form:
        return _ISO
    parts = re.findall(r"%(.)|(\s+)|([^%\s]+)", form.strip())
    return "^" + "".join(_piece(*part) for part in parts) + "$"


def _piece(directive: str, space: str, text: str) -> str:
    if directive:
        return _GROUPS.get(directive, f"(?P<{directive}>[0-9]{{1,2}})")
    return r"\s+" if space else re.escape(text)


def parse_dates(texts: pa.Array, form: str = "") -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read texts as dates.

    Parameters
    ----------
    texts : pyarrow string array [n] without nulls
        Cells as they are in the file.
    form : str
        How they are written.

    Returns
    -------
    seconds : float64 [n]
        Since 1970-01-01, in UTC where a cell names its zone; NaN where it is no date.
    zoned : bool [n]
        Whether it names its zone.
    """
    found = pc.extract_regex(pc.utf8_trim_whitespace(texts), pattern_of(form))
    fields = {field.name: found.field(place) for place, field in enumerate(found.type)}
    fits = pc.is_valid(found).to_numpy(zero_copy_only=False)

    def number(name: str, default: int = 0) -> _Ints:
        return _whole(fields[name], default) if name in fields else np.full(len(texts), default, np.int64)

    year = number("Y")
    if "y" in fields:
        year = number("y") + np.where(number("y") < 69, 2000, 1900)  # as POSIX has it
    month = number("m")
    for name, words in (("b", _MONTHS), ("B", _FULL)):
        if name in fields:
            month = _places(fields[name], words) + 1
    hour = number("H")
    if "I" in fields:
        late = _places(fields["p"], ("am", "pm"))
        fits &= (number("I") >= 1) & (number("I") <= 12)
        hour = number("I") % 12 + 12 * late
    minute, second = number("M"), number("S")
    fits &= (year >= 1) & (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60)
    months = np.where(fits, 12 * (year - 1970) + month - 1, 0).astype("datetime64[M]")
    day = months.astype("datetime64[D]") + np.where(fits, number("d") - 1, 0)
    fits &= day.astype("datetime64[M]") == months  # no 31st of February
    seconds = 86400 * day.astype(np.int64) + 3600 * hour + 60 * minute + second
    zoned = np.zeros(len(texts), bool)
    if "sign" in fields:
        offset = 3600 * number("zh") + 60 * number("zm")
        fits &= (number("zh") < 24) & (number("zm") < 60)
        west, east = _is(fields["sign"], "-"), _is(fields["sign"], "+")
        seconds -= np.where(west, -offset, offset)
        zoned = west | east | _is(pc.utf8_upper(fields["Z"]), "Z")
    values = seconds.astype(np.float64)
    if "f" in fields:
        values += _fractions(fields["f"])
    return np.where(fits, values, np.nan), zoned & fits


def parts_of(seconds: NDArray[np.float64], part: str) -> _Ints:
    """Return the place of each date's part among its values, int64 [n]; -1 where there is no date."""
    present = ~np.isnan(seconds)
    whole = np.floor(np.where(present, seconds, 0)).astype(np.int64)
    if part == "hour":
        places = whole // 3600 % 24
    elif part == "weekday":
        places = (whole // 86400 + 3) % 7  # 1970-01-01 was a Thursday
    else:
        places = (whole // 86400).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    return np.where(present, places, -1)


def _is(field: pa.Array, text: str) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = pc.equal(pc.fill_null(field, ""), text).to_numpy(zero_copy_only=False)
    return same


def _whole(field: pa.Array, default: int) -> _Ints:
    given = pc.fill_null(field, "")
    texts = pc.if_else(pc.equal(given, ""), str(default), given)
    numbers: _Ints = pc.cast(texts, pa.int64()).to_numpy(zero_copy_only=False)
    return numbers


def _fractions(field: pa.Array) -> NDArray[np.float64]:
    digits = pc.utf8_rpad(pc.fill_null(field, ""), 9, "0")
    numbers: NDArray[np.float64] = pc.cast(digits, pa.int64()).to_numpy(zero_copy_only=False) / 1e9
    return numbers


def _places(field: pa.Array, words: tuple[str, ...]) -> _Ints:
    found = pc.index_in(pc.utf8_lower(field), pa.array(words))
    places: _Ints = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return places
