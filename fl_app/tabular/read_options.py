"""How a table's file is written, as a pod file, a federation file and the command line say it; and finding it out."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, ConfigDict, Field, GetPydanticSchema, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from fl_app.errors import DataError, UsageError
from fl_app.tabular.cell_text import DEFAULT_MISSING, STANDARD, NumberFormat, missing_set
from fl_app.tabular.dates import DateFormat
from fl_app.validation import dotted, explain

SEPARATORS = ",;\t|"
PARQUET = (".parquet", ".pq")
_SAMPLE = 1 << 20
_NOT_IN_CP1252 = bytes.fromhex("818d8f909d")
_NEARLY_ALL = 0.95
_FORMATS = (
    *((",", ""), (".", ","), (",", "."), (",", " "), (",", "\u00a0"), (",", "\u202f"), (".", "'"), (".", "\u2019")),
    *((".", " "), (".", "\u00a0"), (".", "\u202f")),
)
"""Pairs of a decimal mark and one for thousands; of those that read equally many columns the first is taken."""


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except (LookupError, ValueError) as error:
        raise ValueError("must be an encoding that Python knows, such as utf-8 or latin-1") from error
    return name


_Character = Annotated[str, Field(min_length=1, max_length=1)]


class _CSVOptions(TypedDict, total=False):
    """How a CSV file is written: nothing that runs code. The names are those of ``pandas.read_csv``."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    sep: _Character
    encoding: Annotated[str, AfterValidator(_known_encoding)]
    decimal: _Character
    thousands: _Character
    quotechar: _Character
    escapechar: _Character
    comment: _Character
    skipinitialspace: bool
    skiprows: Annotated[int, Field(ge=0)]
    header: Annotated[int, Field(ge=0)] | None
    names: list[str]
    na_values: list[str]
    keep_default_na: bool
    date_format: DateFormat | dict[str, DateFormat]


class _ParquetOptions(TypedDict, total=False):
    """What of a Parquet file is read, and how."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    columns: list[str]
    decimal: _Character
    thousands: _Character
    na_values: list[str]
    keep_default_na: bool
    date_format: DateFormat | dict[str, DateFormat]


# Known to others as plain dictionaries; checked as the types above.
CSVOptions = Annotated[dict[str, Any], GetPydanticSchema(lambda _, handler: handler(_CSVOptions))]
ParquetOptions = Annotated[dict[str, Any], GetPydanticSchema(lambda _, handler: handler(_ParquetOptions))]
_CSV: TypeAdapter[dict[str, Any]] = TypeAdapter(CSVOptions)
_PARQUET: TypeAdapter[dict[str, Any]] = TypeAdapter(ParquetOptions)


def is_parquet(path: Path) -> bool:
    """Say whether a file's name says that it is Parquet."""
    return path.suffix in PARQUET


def options_in(text: str, named: str = "--read-options", *, parquet: bool = False) -> dict[str, Any]:
    """Read options given in one line, such as ``sep: ";", decimal: ","``.

    Parameters
    ----------
    parquet : bool
        Whether they are for a Parquet file, of which there is less to say.

    Raises
    ------
    UsageError
        It is no YAML mapping, or an option is unknown or has a wrong value; the text begins with ``named``.
    """
    inside, adapter = text.strip(), _PARQUET if parquet else _CSV
    try:
        given = yaml.safe_load(inside if inside.startswith("{") else f"{{{inside}}}")
        return adapter.validate_python(given)
    except yaml.YAMLError:
        raise UsageError(f'{named}: cannot be read; write it as in {named} \'sep: ";", decimal: ","\'') from None
    except ValidationError as error:
        problems = explain(error, adapter.json_schema())
        raise UsageError("; ".join(f"{named}: {dotted(where)}: {why}" for where, why in problems)) from None


def missing_of(options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the spellings of missing values that the options mean; None where they say nothing of them.

    Numbers among them are written as in the file, and returned with a decimal point.
    """
    if not {"na_values", "keep_default_na"} & options.keys():
        return None
    defaults = DEFAULT_MISSING if options.get("keep_default_na", True) else ("", "?")
    numbers = numbers_of(options)
    given = (numbers.standard(text) if numbers.holds(text) else text for text in options.get("na_values", ()))
    return tuple(dict.fromkeys((*defaults, *given)))


def numbers_of(options: Mapping[str, Any]) -> NumberFormat:
    """Return how the options say that numbers are written."""
    decimal, thousands = options.get("decimal", "."), options.get("thousands", "")
    if decimal == thousands:
        raise DataError(f"the decimal mark and the mark for thousands cannot both be {decimal!r}")
    return NumberFormat(decimal=decimal, thousands=thousands)


def complete(path: Path, options: Mapping[str, Any], columns: Collection[str] = ()) -> dict[str, Any]:
    """Add to the options what a file's first bytes tell: encoding and separator, where they are not given.

    Neither depends on the rows: a row is read alike alone and in any company.

    Parameters
    ----------
    columns : names of columns
        Those that the table should have: of several separators, the one that shows most of them is taken.
    """
    found = dict(options)
    if is_parquet(path):
        return found
    encoding = found.setdefault("encoding", encoding_of(path))
    if "sep" not in found:
        lines = sample(path, encoding).splitlines()
        skipped = found.get("skiprows", 0) + (found.get("header") or 0)
        found["sep"] = separator_of(lines[skipped] if len(lines) > skipped else "", columns)
    return found


def separator_of(header: str, columns: Collection[str] = ()) -> str:
    """Return the separator of a header: the one that shows most of ``columns``, then most fields; else the comma."""

    def fields(separator: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
        return len(set(columns).intersection(names)), len(names)

    return max(SEPARATORS, key=fields)


def encoding_of(path: Path) -> str:
    """Return a file's encoding: that of its byte-order mark, else UTF-8, or Windows-1252 where it is not UTF-8.

    Where Windows-1252 has no character for a byte either, it is Latin-1, which has one for each.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with opened(path) as file:
            start = file.read(4)
            if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            if b"\0" in start[:2]:
                return "utf-16-be" if start[0] == 0 else "utf-16-le"
            while start:
                decoder.decode(start)
                start = file.read(_SAMPLE)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1" if _holds(path, _NOT_IN_CP1252) else "cp1252"
    except Exception:  # of any kind, from decompressors; whoever reads the table says what is wrong with the file
        return "utf-8"
    return "utf-8"


def _holds(path: Path, wanted: Collection[int]) -> bool:
    with opened(path) as file:
        return any(not set(wanted).isdisjoint(part) for part in iter(lambda: file.read(_SAMPLE), b""))


def number_format_of(columns: Iterable[Sequence[str]], separator: str) -> NumberFormat:
    """Return how a file writes numbers, by a sample of its cells; the standard where no other reads more columns.

    A format reads a column where nearly all of its cells are numbers in it. A mark between groups of three digits
    counts as one for thousands only where nothing else explains it: two of them in a cell, one before a decimal mark,
    or, in a file whose separator is a comma, a quoted ``3,012``.

    Parameters
    ----------
    columns : iterable of sequences of str
        The cells of each column.
    separator : str
        The file's.
    """
    missing = missing_set(DEFAULT_MISSING)
    cells = [[text for cell in column if (text := cell.strip()) not in missing] for column in columns]
    formats = [NumberFormat(decimal=decimal, thousands=thousands) for decimal, thousands in _FORMATS]
    if separator == ",":
        formats.sort(key=lambda one: one.thousands != ",")
    # Columns that are numbers as they stand show nothing of the format, and another must not take that from them.
    plain = [column for column in cells if _reads(STANDARD, column)]
    other = [column for column in cells if column and not _reads(STANDARD, column)]

    def gained(format_: NumberFormat) -> int:
        lost = sum(not _reads(format_, column) for column in plain)
        return sum(_reads(format_, column) for column in other) - lost

    best = max(formats, key=gained)
    return best if gained(best) > 0 else STANDARD


def _reads(numbers: NumberFormat, column: Sequence[str]) -> bool:
    pattern = re.compile(numbers.pattern)
    return bool(column) and sum(map(bool, map(pattern.match, column))) >= _NEARLY_ALL * len(column)


def sample(path: Path, encoding: str, size: int = _SAMPLE) -> str:
    """Return the first part of a file as text, without a byte-order mark; "" where it cannot be read."""
    try:
        with opened(path) as file:
            return file.read(size).decode(encoding, errors="ignore").lstrip("\ufeff")
    except Exception:  # of any kind, from decompressors; whoever reads the table says what is wrong with the file
        return ""


def opened(path: Path) -> "io.BufferedIOBase | Any":
    """Open a file for reading bytes, whether it is compressed or not."""
    if path.suffix == ".gz":
        import gzip

        return gzip.open(path)
    if path.suffix == ".bz2":
        import bz2

        return bz2.open(path)
    if path.suffix == ".xz":
        import lzma

        return lzma.open(path)
    if path.suffix == ".zip":
        import zipfile

        with zipfile.ZipFile(path) as archive:
            return archive.open(archive.namelist()[0])
    return path.open("rb")
