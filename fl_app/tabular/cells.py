"""A table in memory: each column as the distinct texts of its cells, and for each row which of them it holds.

It is read once as text (`fl_app.tabular.table_file`) or taken from a pandas frame; what the texts mean is asked of it
afterwards, column by column, by the rules of `fl_app.tabular.cell_text`. So a table means the same whether it came as
CSV, as Parquet or from Python, and a cell means the same whatever else its column holds.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.cell_text import DEFAULT_MISSING, STANDARD, NumberFormat, canonical, missing_set
from fl_app.tabular.date_cells import parse_dates
from fl_app.tabular.dates import DateForm
from fl_app.tabular.dictionaries import Codes, Dictionaries

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 3
_LARGEST_EXACT = 2.0**53


@dataclass(frozen=True, eq=False)
class Cells:
    """One column.

    Attributes
    ----------
    codes : int8, int16 or int32 [rows]
        For each row the index of its text; -1 where the file itself says that there is none. In a type that holds one
        more than the largest.
    distinct : pyarrow array
        Texts, or whole numbers or float64 as Parquet and pandas hold them.
    dated : bool
        Whether the texts are dates of Parquet or pandas, which are by ISO 8601 whatever format a file has.
    """

    codes: Codes
    distinct: pa.Array
    dated: bool = False

    @cached_property
    def texts(self) -> pa.Array:
        """The distinct cells as texts."""
        return self.distinct if pa.types.is_string(self.distinct.type) else pc.cast(self.distinct, pa.string())

    def canonical(self, numbers: NumberFormat) -> list[str]:
        """Return the canonical texts of the distinct cells."""
        return [canonical(text, numbers) for text in self.texts.to_pylist()]

    def parse(self, numbers: NumberFormat) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read the distinct cells as numbers, see `parse`."""
        if pa.types.is_string(self.distinct.type):
            return parse(self.distinct, numbers)
        # The shortest text of a float64 reads as the same float64, so that the way over the text can be left out.
        values = pc.cast(self.distinct, pa.float64(), safe=False).to_numpy(zero_copy_only=False).copy()
        values[np.isinf(values)] = np.nan
        long = (
            np.abs(values) > _LARGEST_EXACT if pa.types.is_integer(self.distinct.type) else np.zeros(len(values), bool)
        )
        return values, long

    def dates(self, form: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read the distinct cells as dates, see `parse_dates`."""
        return parse_dates(self.texts, "" if self.dated else form)


@dataclass(frozen=True)
class Numeric:
    """How far a column consists of numbers, or of dates.

    Attributes
    ----------
    values : float64 [d]
        The distinct cells that are not missing and occur in a row, as numbers; NaN where they are none.
    counts : int64 [d]
        The rows of each.
    codes : bool [d]
        Where a number would not keep the digits; see `parse`. Of dates: where a cell names its time zone.
    where : int64 [d]
        Their places among the column's distinct cells.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    codes: NDArray[np.bool_]
    where: NDArray[np.int64]

    @property
    def mixed(self) -> bool:
        """Whether some of the dates name a time zone, and others none."""
        zoned = self.codes[~np.isnan(self.values)]
        return bool(zoned.any() and not zoned.all())

    @property
    def rows(self) -> int:
        """Rows that hold a value."""
        return int(self.counts.sum())

    @property
    def number_rows(self) -> int:
        """Rows that hold a number."""
        return int(self.counts[~np.isnan(self.values)].sum())

    @property
    def whole(self) -> bool:
        """Whether all numbers are whole."""
        numbers = self.values[~np.isnan(self.values)]
        return bool((numbers == np.rint(numbers)).all())


@dataclass(frozen=True, eq=False)
class Table:
    """A table, or some of its rows.

    Attributes
    ----------
    columns : mapping of str to Cells
        All rows of each column, by its name.
    size : int
        Rows in ``columns``.
    missing : tuple of str or None
        Texts that stand for missing values, as the table's owner says; None: the owner says nothing.
    numbers : NumberFormat
        How numbers are written in it.
    date_format : str or mapping of str to str
        How dates are written in it, of all columns or of some by name; "": it does not say.
    chosen : int64 array or None
        The rows that the table consists of, in order; None: all.
    """

    columns: Mapping[str, Cells]
    size: int
    missing: tuple[str, ...] | None = None
    numbers: NumberFormat = STANDARD
    date_format: str | Mapping[str, str] = ""
    chosen: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, rows: "Table | pd.DataFrame") -> "Table":
        """Return a pandas frame as a table, and a table as it is.

        Raises
        ------
        DataError
            A column holds neither text nor numbers nor dates, or two have one name.
        """
        if isinstance(rows, Table):
            return rows
        import pandas as pd

        names = column_names(map(str, rows.columns))
        columns: dict[str, Cells] = {}
        for place, name in enumerate(names):
            series = rows.iloc[:, place]
            try:
                array = pa.array(series, from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
                _refuse_nested(name, series)
                array = pa.array([None if pd.isna(value) else _text(value) for value in series], pa.string())
            columns[name] = cells_of(pa.chunked_array([array]) if isinstance(array, pa.Array) else array, name)
        return cls(columns, len(rows))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self.columns)

    def __len__(self) -> int:
        return self.size if self.chosen is None else len(self.chosen)

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Return the rows with these numbers, or those where a mask holds; nothing is copied but the numbers."""
        numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return replace(self, chosen=numbers if self.chosen is None else self.chosen[numbers])

    def without(self, names: Collection[str]) -> Self:
        """Return the table without some of its columns."""
        return replace(self, columns={name: cells for name, cells in self.columns.items() if name not in names})

    def texts(self, name: str, missing: Collection[str] | None = None) -> tuple[NDArray[np.int64], list[str]]:
        """Return a column as categories.

        Parameters
        ----------
        missing : collection of str or None
            Texts that stand for a missing value beside those that the table's owner names; None: no others, and
            `DEFAULT_MISSING` where the owner names none.

        Returns
        -------
        indices : int64 [rows]
            For each row the index of its text, -1 where missing.
        texts : list of str
            Canonical texts, all different; not all of them need to occur in a row.
        """
        cells, absent = self.columns[name], self._absent(missing)
        places: dict[str, int] = {}
        found = [
            -1 if text in absent else places.setdefault(text, len(places)) for text in cells.canonical(self.numbers)
        ]
        return np.array([*found, -1], dtype=np.int64)[self._codes(name)], list(places)

    def written(self, name: str) -> list[str]:
        """Return a column as its file has it, without surrounding space; "" where there is nothing."""
        texts = [*(text.strip() for text in self.columns[name].texts.to_pylist()), ""]
        return [texts[code] for code in self._codes(name).tolist()]

    def numeric(self, name: str, missing: Collection[str] | None = None, date: DateForm | None = None) -> Numeric:
        """Return how far a column consists of numbers, or of dates where ``date`` is given; else as `numbers_of`."""
        counts = self._counts(name)[1:]
        values, codes = self._parsed(name, date)
        held = np.flatnonzero((counts > 0) & ~self._missing(name, values, missing, date))
        return Numeric(values[held], counts[held], codes[held], held)

    def numbers_of(
        self, name: str, missing: Collection[str] | None = None, date: DateForm | None = None
    ) -> NDArray[np.float64]:
        """Return a column as numbers, float64 [rows] with NaN where missing.

        Parameters
        ----------
        missing : collection of str or None
            As for `texts`.
        date : DateForm or None
            How its cells are read as dates, which become numbers of its unit; None: they are numbers.

        Raises
        ------
        DataError
            A cell holds neither a number, or date, nor a spelling of missing, or some dates name a time zone and others
            do not; its `full_text` quotes some.
        """
        codes = self._codes(name)
        values, marks = self._parsed(name, date)
        absent = self._missing(name, values, missing, date)
        wrong = np.flatnonzero(np.isnan(values) & ~absent & (self._counts(name)[1:] > 0))
        if len(wrong):
            raise self._unreadable(name, wrong, date)
        if date:
            held = ~absent & (self._counts(name)[1:] > 0)
            zoned, local = np.flatnonzero(held & marks), np.flatnonzero(held & ~marks)
            if len(zoned) and len(local):
                raise DataError(
                    f"column {name!r} is declared a date, and some cells name a time zone, others none",
                    detail=f": {self.quote(name, zoned[:1])}, but {self.quote(name, local[:1])}; write all of them in "
                    "UTC with a Z at the end, or all without a zone",
                )
        values[absent] = np.nan  # a number may stand for a missing value, as -999 does
        return np.append(values, np.nan)[codes]

    def date_form(self, name: str, date: DateForm) -> str:
        """Return the format in which a column's dates are read: the file's own, else the schema's."""
        own = self.date_format if isinstance(self.date_format, str) else self.date_format.get(name, "")
        return own or date.format

    def _parsed(self, name: str, date: DateForm | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Read the distinct cells as numbers, or as dates in the unit that is wanted."""
        if date is None:
            return self.columns[name].parse(self.numbers)
        seconds, zoned = self.columns[name].dates(self.date_form(name, date))
        return seconds / date.seconds, zoned

    def _unreadable(self, name: str, wrong: NDArray[np.int64], date: DateForm | None) -> DataError:
        """Return what to say of cells that are neither missing nor what their column is declared to be."""
        quoted = self.quote(name, wrong)
        if date is None:
            return DataError(
                f"column {name!r} is declared continuous but holds text that is not a number",
                detail=f": {quoted}; correct the file, name "
                "spellings of missing in na_values, or say how it writes numbers with decimal and thousands",
            )
        form = self.date_form(name, date)
        return DataError(
            f"column {name!r} is declared a date but holds text that is none"
            + (f" in the format {form}" if form else " by ISO 8601, such as 2024-01-31 or 2024-01-31 08:30"),
            detail=f": {quoted}; correct the file, name spellings of missing in na_values, or say in read_options how "
            'it writes dates, as in date_format: "%d.%m.%Y"',
        )

    def quote(self, name: str, places: NDArray[np.int64]) -> str:
        """Return some distinct cells of a column with their rows, most frequent first: for the table's owner alone."""
        codes, counts = self._codes(name), self._counts(name)[1:]
        ranked = places[np.argsort(-counts[places], kind="stable")]
        parts = []
        for place in ranked[:_SHOWN]:
            first = int(np.argmax(codes == place))
            row = first if self.chosen is None else int(self.chosen[first])
            times = f"{counts[place]:,} times, first in" if counts[place] > 1 else "in"
            parts.append(f"{self.columns[name].texts[int(place)].as_py()!r:.60} ({times} data row {row + 1:,})")
        more = f" and {len(places) - _SHOWN:,} more texts" if len(places) > _SHOWN else ""
        return ", ".join(parts) + more

    def missing_texts(self, name: str, numeric: Numeric) -> dict[str, int]:
        """Count the rows of each text that stands for a missing value, the empty one included: for the owner alone.

        Parameters
        ----------
        numeric : Numeric
            What `numeric` says of the column.
        """
        counts = self._counts(name)
        absent = counts[1:] > 0
        absent[numeric.where] = False
        texts = self.columns[name].texts
        found: Counter[str] = Counter({"": int(counts[0])} if counts[0] else {})
        for place in np.flatnonzero(absent).tolist():
            found[texts[place].as_py().strip()] += int(counts[1 + place])
        return dict(found)

    def _absent(self, missing: Collection[str] | None) -> frozenset[str]:
        if missing is None and self.missing is None:
            return missing_set(DEFAULT_MISSING)
        return missing_set((*(missing or ()), *(self.missing or ())))

    def _counts(self, name: str) -> NDArray[np.int64]:
        """Count the rows without a cell, and those of each distinct cell, int64 [1 + d]."""
        counts = np.bincount(self._codes(name) + 1, minlength=len(self.columns[name].distinct) + 1)
        return counts.astype(np.int64, copy=False)

    def _codes(self, name: str) -> Codes:
        codes = self.columns[name].codes
        return codes if self.chosen is None else codes[self.chosen]

    def _missing(
        self, name: str, values: NDArray[np.float64], missing: Collection[str] | None, date: DateForm | None = None
    ) -> NDArray[np.bool_]:
        """Say which of the distinct cells of a column, whose ``values`` are given, stand for a missing value."""
        absent = self._absent(missing)
        form = date and date.model_copy(update={"format": self.date_form(name, date)})
        found = np.isin(values, absent_numbers(absent, form))
        if form or pa.types.is_string(self.columns[name].distinct.type):
            # Only texts that are no numbers are looked at one by one: of numbers there may be as many as rows.
            texts = self.columns[name].texts
            for place in np.flatnonzero(np.isnan(values)).tolist():
                found[place] = canonical(texts[place].as_py(), self.numbers) in absent
        return found


def column_names(given: Iterable[str], table: str = "the table") -> list[str]:
    """Return a header's names without surrounding space and in NFC.

    Raises
    ------
    DataError
        A name is blank, or occurs twice.
    """
    names = [unicodedata.normalize("NFC", name.strip().lstrip("\ufeff").strip()) for name in given]
    for place, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{table}: column {place} has no name in the header; give it one, or remove it")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise DataError(f"{table}: two columns have the same name: {', '.join(map(repr, twice))}")
    return names


def is_readable(kind: pa.DataType) -> bool:
    """Say whether a column of this type has cells of text, numbers or dates."""
    if pa.types.is_dictionary(kind):
        return is_readable(kind.value_type)
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not (pa.types.is_nested(kind) or binary)


def cells_of(chunks: pa.ChunkedArray, name: str) -> Cells:
    """Make a column of Arrow's: dictionaries of text as they are, other types by their text or number.

    Raises
    ------
    DataError
        The type is nested, or binary.
    """
    kind = chunks.type
    if pa.types.is_dictionary(kind) and not pa.types.is_string(kind.value_type):
        chunks, kind = chunks.cast(kind.value_type), kind.value_type
    if not is_readable(kind):
        raise DataError(
            f"column {name!r} is of type {kind}, neither text nor number: convert it, or leave it out with ignore_cols"
        )
    if pa.types.is_null(kind):
        return Cells(np.full(len(chunks), -1, np.int8), pa.array([], pa.string()))
    if not pa.types.is_dictionary(kind):
        chunks = _readable(chunks, kind, name).dictionary_encode()
    parts = Dictionaries()
    for chunk in chunks.chunks:
        parts.add(chunk)
    codes, distinct = parts.joined(chunks.type.value_type)
    if pa.types.is_floating(distinct.type):
        empty = np.append(np.isnan(distinct.to_numpy(zero_copy_only=False)), False)
        if empty.any():
            codes = np.where(empty[codes], codes.dtype.type(-1), codes)
    return Cells(codes, distinct, pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _readable(chunks: pa.ChunkedArray, kind: pa.DataType, name: str) -> pa.ChunkedArray:
    """Return an array of texts, whole numbers or float64; other types become text as CSV would have them."""
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_float64(kind):
        return chunks
    if pa.types.is_boolean(kind):
        return pc.if_else(chunks, "True", "False")
    try:
        return chunks.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"column {name!r} is of type {kind}, neither text nor number: convert it, or leave it out with ignore_cols"
        ) from None


def _text(value: Any) -> str:
    """Return the text of one value among values of several types."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _refuse_nested(name: str, series: "pd.Series[Any]") -> None:
    if any(isinstance(value, list | dict | tuple | set | bytes | np.ndarray) for value in series):
        raise DataError(
            f"column {name!r} holds lists or other nested values, neither text nor number: convert it, or leave it out "
            "with ignore_cols"
        )


@lru_cache(maxsize=256)
def absent_numbers(missing: frozenset[str] | tuple[str, ...], date: DateForm | None = None) -> tuple[float, ...]:
    """Return those spellings of missing values that are numbers, or dates as numbers, ascending."""
    texts = pa.array(sorted(missing), pa.string())
    numbers = parse_dates(texts, date.format)[0] / date.seconds if date else parse(texts, STANDARD)[0]
    return tuple(np.unique(numbers[~np.isnan(numbers)]).tolist())


def parse(texts: pa.Array, numbers: NumberFormat) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read texts as numbers.

    Parameters
    ----------
    texts : pyarrow string array [n] without nulls
        Cells as they are in the file.
    numbers : NumberFormat
        How the file writes numbers.

    Returns
    -------
    values : float64 [n]
        The nearest number to each text; NaN where it is not a finite number.
    codes : bool [n]
        Where the text is digits that a number would not keep: leading zeros, or more than fit a float64.
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    fits = pc.match_substring_regex(trimmed, numbers.pattern)
    if numbers.thousands:
        trimmed = pc.replace_substring(trimmed, numbers.thousands, "")
    if numbers.decimal != ".":
        trimmed = pc.replace_substring(trimmed, numbers.decimal, ".")
    whole = pc.match_substring_regex(trimmed, "^[+-]?[0-9]+$")
    values = pc.cast(pc.if_else(fits, trimmed, None), pa.float64()).to_numpy(zero_copy_only=False).copy()
    values[np.isinf(values)] = np.nan
    led = pc.and_(fits, pc.match_substring_regex(trimmed, "^[+-]?0[0-9]")).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        long = whole.to_numpy(zero_copy_only=False) & (np.abs(values) > _LARGEST_EXACT)
    return values, led | long
