"""What a column of a table seems to be, for its owner alone: the proposal of ``fl-app pod init``, and its reason.

These texts quote cells and count rows. They are printed to the owner and written into the owner's pod file, and never
leave the pod.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from client.site.date_columns import dates_in, formats_of
from fl_app.pod.yaml_lines import in_one_line
from fl_app.tabular.cells import Numeric, Table
from fl_app.tabular.schema import MAX_CLASSES, Column
from fl_app.validation import counted

Look = Literal[
    "number",
    "few whole numbers",
    "category",
    "code",
    "nearly numeric",
    "constant",
    "no value",
    "date",
    "identifier",
    "free text",
]
"""What a column seems to be."""

_DATE = re.compile(
    r"[0-9]{4}([-/.])[0-9]{1,2}\1[0-9]{1,2}([ T].*)?|[0-9]{1,2}([-/.])[0-9]{1,2}\3([0-9]{4}|[0-9]{2})( .*)?"
    r"|([0-9]{1,2}[- ])?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?[-, ]+[0-9]{1,4}([-, ]+[0-9]{4})?",
    re.IGNORECASE,
)
_REGISTER = re.compile(r"(?i:(^|[^a-z])(id|key|no|nr|number|code)([^a-z]|$))|[a-z]I[Dd]$|_id$")
_NEARLY_ALL, _MOSTLY, _LONG, _FEW_ROWS, _SHOWN = 0.95, 0.5, 25, 20, 3
_PLAIN_MISSING = ("", "?")


@dataclass(frozen=True)
class ColumnDescription:
    """What a column seems to be.

    Attributes
    ----------
    name : str
        The column's.
    look : str
        See `Look`.
    why : str
        The reason, and what it means for the pod.
    notes : tuple of str
        What else its owner should know: missing values, and values too rare to be published.
    doubtful : bool
        Whether it is one to leave out. A column that could be a target never is, nor one that other pods need.
    """

    name: str
    look: Look
    why: str
    notes: tuple[str, ...] = ()
    doubtful: bool = False

    @property
    def text(self) -> str:
        """The reason and the notes in one line."""
        return "; ".join((self.why, *self.notes))


def describe_column(table: Table, column: Column, min_count: int) -> ColumnDescription:
    """Return what a column seems to be.

    Parameters
    ----------
    column : Column
        As it would be published.
    min_count : int
        Fewest rows of a value that is published.
    """
    numeric = table.numeric(column.name, None, column.date)
    counts = _counts(table, column, numeric)
    look, why = _look(table, column, numeric, counts)
    rare = sum(rows for rows in counts.values() if rows < min_count)
    if look == "few whole numbers" and rare:
        why += f" (then without {counted(rare, 'row')} of rarer values)"
    notes = _missing_notes(table, column.name, numeric)
    if look in ("category", "code", "constant"):
        notes += _rare_notes(counts, min_count)
    doubtful = look in ("date", "identifier", "free text") and not column.date
    return ColumnDescription(column.name, look, why, notes, doubtful)


def _counts(table: Table, column: Column, numeric: Numeric) -> Mapping[str, int]:
    """Return the rows of each value; of numbers only where they are few."""
    if column.kind == "categorical":
        indices, texts = table.texts(column.name)
        counted = np.bincount(indices[indices >= 0], minlength=len(texts)).tolist()
        return {text: count for text, count in zip(texts, counted, strict=True) if count}
    numbers, places = np.unique(numeric.values, return_inverse=True)
    if len(numbers) > MAX_CLASSES:
        return {}
    rows = np.bincount(places, weights=numeric.counts, minlength=len(numbers))
    return {f"{number:.15g}": int(count) for number, count in zip(numbers, rows, strict=True)}


def _look(table: Table, column: Column, numeric: Numeric, counts: Mapping[str, int]) -> tuple[Look, str]:
    held, distinct = numeric.rows, len(counts) or len(np.unique(numeric.values))
    if not held:
        return "no value", "no value in any row here; other pods may have some"
    if distinct == 1:
        where = "in every row" if held == len(table) else "wherever there is one"
        return "constant", f"the same value {where} here; other pods may differ"
    if column.date:
        return "date", f"a date, read in {column.unit}, with public bounds {column.range}"
    several = distinct > MAX_CLASSES
    if several and _are_dates(column, numeric, counts):
        return "date", _unread_dates(table, column)
    if distinct == held >= _FEW_ROWS and (column.kind == "categorical" or _runs_on(table, column)):
        return "identifier", "another value in each row: an identifier?"
    if column.kind == "continuous":
        if column.values:
            return "few whole numbers", f"{distinct} whole numbers, published by value: a number, or a target"
        return "number", f"a number, with public bounds {column.low:g} to {column.high:g}"
    return _look_of_text(table, column, numeric, counts)


def _unread_dates(table: Table, column: Column) -> str:
    """Say why a column of dates is none, and what would make it one."""
    name, held = column.name, dates_in(table, column.name)
    if held and held.mixed and held.number_rows == held.rows:
        return "a date, but some cells name a time zone and others none: write all in UTC with a Z, or all without"
    if held and held.number_rows >= _NEARLY_ALL * held.rows:
        wrong = np.isnan(held.values)
        texts = table.columns[name].texts
        odd = _quoted({texts[int(at)].as_py(): int(rows) for at, rows in _odd(held, wrong)})
        return f"a date but for {odd}: correct the file, or name it in na_values; else leave it out"
    if held:
        return "a date here and there: leave it out, or correct the file"
    if not (formats := formats_of(table, name)):
        return "a date, in no way that is known: write it as 2024-01-31, or leave it out"
    shown = " or ".join(f'date_format: {{{in_one_line(name)}: "{form}"}}' for form in formats[:2])
    return f"a date, not by ISO 8601: say in read_options how it is written, {shown}; else leave it out"


def _look_of_text(table: Table, column: Column, numeric: Numeric, counts: Mapping[str, int]) -> tuple[Look, str]:
    held, distinct = numeric.rows, len(counts)
    texts = np.isnan(numeric.values)
    odd = texts | numeric.codes
    odd_rows = int(numeric.counts[odd].sum())
    numbers = len(np.unique(numeric.values[~texts]))
    quoted = _quoted({table.columns[column.name].texts[int(at)].as_py(): int(n) for at, n in _odd(numeric, odd)})
    if not texts.any() and (odd_rows > (1 - _NEARLY_ALL) * held or distinct <= MAX_CLASSES):
        what = "digits with leading zeros" if _lead(table, column.name, numeric) else "more digits than a number keeps"
        return "code", f"{what}: a code, kept as text"
    if numbers > 2 and distinct > MAX_CLASSES and odd_rows <= _MOSTLY * held:
        return "nearly numeric", f"numbers but for {quoted}: name it in na_values, or correct the file"
    if distinct > max(_MOSTLY * held, MAX_CLASSES):
        return "free text", "mostly different text in each row: free text, or an identifier?"
    if distinct > _FEW_ROWS and sum(map(len, counts)) > _LONG * distinct:
        return "free text", "long text: free text?"
    if not column.values:
        return "category", "a category, but no value is frequent enough to be published"
    aside = f"; numbers but for {quoted}" if numbers > 2 and odd_rows <= _MOSTLY * held else ""
    return "category", f"a category, {counted(len(column.values), 'value')} published{aside}"


def _runs_on(table: Table, column: Column) -> bool:
    """Say whether whole numbers that all differ look given by a counter or a register: measurements do so rarely."""
    if not column.integer:
        return False
    numbers = table.numbers_of(column.name)
    held = numbers[~np.isnan(numbers)]
    dense = held.max() - held.min() < 4 * len(held)
    return bool(dense or (np.diff(held) > 0).all() or _REGISTER.search(column.name))


def _odd(numeric: Numeric, odd: NDArray[np.bool_]) -> "zip[tuple[np.int64, np.int64]]":
    return zip(numeric.where[odd], numeric.counts[odd], strict=True)


def _lead(table: Table, name: str, numeric: Numeric) -> bool:
    texts = table.columns[name].texts
    return any(re.match(r"\s*[+-]?0[0-9]", texts[int(at)].as_py()) for at in numeric.where[numeric.codes])


def _are_dates(column: Column, numeric: Numeric, counts: Mapping[str, int]) -> bool:
    if column.kind == "categorical":
        fits = sum(rows for text, rows in counts.items() if _DATE.fullmatch(text))
        return fits >= _NEARLY_ALL * numeric.rows
    days = numeric.values  # 20240131
    month, day = days // 100 % 100, days % 100
    inside = (days >= 1900_01_01) & (days <= 2100_12_31) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return column.integer and bool(inside.all())


def _missing_notes(table: Table, name: str, numeric: Numeric) -> tuple[str, ...]:
    missing = table.missing_texts(name, numeric)
    notes = []
    if silent := sum(missing.get(text, 0) for text in _PLAIN_MISSING):
        notes.append(f"{counted(silent, 'row')} without a value")
    said = {text: rows for text, rows in missing.items() if text not in _PLAIN_MISSING}
    if said and table.missing is None:
        verb = "count" if len(said) > 1 else "counts"
        notes.append(f"{_quoted(said)} {verb} as missing; if it is a value, set keep_default_na: false and na_values")
    elif said:
        notes.append(f"{_quoted(said)} counted as missing, as read_options say")
    return tuple(notes)


def _rare_notes(counts: Mapping[str, int], min_count: int) -> tuple[str, ...]:
    rare = {text: rows for text, rows in counts.items() if rows < min_count}
    if not rare:
        return ()
    return (f"not published, as in fewer than {min_count} rows: {_quoted(rare)}",)


def _quoted(counts: Mapping[str, int]) -> str:
    """Quote texts with their rows, the most frequent first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{text!r:.60} ({counted(rows, 'row')})" for text, rows in ranked[:_SHOWN])
    left = ranked[_SHOWN:]
    return shown + (f" and {len(left):,} more ({counted(sum(rows for _, rows in left), 'row')})" if left else "")
