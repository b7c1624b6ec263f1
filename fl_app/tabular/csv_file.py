"""Reading a CSV file into cells of text, block by block, so that a file need not fit into memory as the text it is."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fl_app.errors import DataError, UsageError
from fl_app.tabular.cells import Cells, column_names
from fl_app.tabular.dictionaries import Dictionaries
from fl_app.tabular.read_options import opened

_BLOCK = 2 << 20
_ROWS = 10_000
_SURPLUS = "\0surplus"
NOT_TEXT = "invalid UTF8"
"""What Arrow says of bytes that are no text."""

_Stream = io.BufferedReader
Batches = Iterable[Sequence[pa.Array]]
Parser = Callable[["_Stream[Any]", Sequence[str], Sequence[str], Mapping[str, Any]], Batches]


class _SpaceBeforeQuotes(Exception):
    """A field is quoted after a space, which Arrow takes for a part of the field, quotation marks and all."""


def read_csv(path: Path, options: Mapping[str, Any], without: Collection[str] = ()) -> tuple[list[str], list[Cells]]:
    """Return the names and cells of a CSV file's columns but for those in ``without``.

    Raises
    ------
    UsageError
        ``without`` names a column that the file lacks.
    DataError
        The header or a row is wrong.
    OSError, UnicodeDecodeError, pyarrow.ArrowInvalid
        The file cannot be opened, unpacked or decoded.
    """
    try:
        return _read(path, options, without, _by_arrow)
    except _SpaceBeforeQuotes:
        return _read(path, options, without, _by_python)


def kept_of(names: Sequence[str], without: Collection[str], file: str) -> list[str]:
    """Return the names that are not in ``without``; raises UsageError where one of these is none of them."""
    if absent := [name for name in without if name not in names]:
        raise UsageError(f"{file}: has no column {', '.join(map(repr, absent))}, which is to be ignored")
    return [name for name in names if name not in without]


def _read(
    path: Path, options: Mapping[str, Any], without: Collection[str], parse: Parser
) -> tuple[list[str], list[Cells]]:
    with opened(path) as file:
        lines = _Lines(file, options.get("encoding", "utf-8"), options.get("comment"))
        stream: _Stream[Any] = io.BufferedReader(lines, _BLOCK)
        for _ in range(options.get("skiprows", 0)):
            stream.readline()
        header = _header(stream, options, path.name)
        first = _record(stream, options, peek=True)
        names = column_names(header or options.get("names") or map(str, range(len(first))), path.name)
        kept, width = kept_of(names, without, path.name), len(names)
        # Each row ends in a separator and the header does not: one more field, which has to be empty everywhere.
        surplus = len(first) == width + 1 and not first[-1].strip()
        fields = [str(place) for place in range(width)] + [_SURPLUS] * surplus
        wanted = [str(place) for place, name in enumerate(names) if name in kept] + [_SURPLUS] * surplus
        parts = [Dictionaries() for _ in wanted]
        try:
            for batch in parse(stream, fields, wanted, options) if stream.peek(1) else ():
                for part, column in zip(parts, batch, strict=True):
                    part.add(column)
        except (pa.ArrowInvalid, ValueError) as error:
            if NOT_TEXT in str(error) or isinstance(error, UnicodeDecodeError):
                raise
            wrong = _wrong_row(path, options, len(fields), surplus=surplus)
            if wrong is None and parse is _by_arrow:
                raise _SpaceBeforeQuotes from error
            raise wrong or error from error
    columns = [Cells(*part.joined(pa.string())) for part in parts]
    if parse is _by_arrow:
        quoted = r"^\s+" + re.escape(options.get("quotechar", '"'))
        if any(pc.any(pc.match_substring_regex(column.distinct, quoted)).as_py() for column in columns):
            raise _SpaceBeforeQuotes
    if surplus and any(text.strip() for text in columns.pop().distinct.to_pylist()):
        wrong = _wrong_row(path, options, len(fields), surplus=surplus)
        raise wrong or DataError(f"{path.name}: cannot be read as csv")
    return kept, columns


def _by_arrow(
    stream: "_Stream[Any]", fields: Sequence[str], wanted: Sequence[str], options: Mapping[str, Any]
) -> Batches:
    text = pa.dictionary(pa.int32(), pa.string())
    reader = pa.csv.open_csv(
        stream,
        pa.csv.ReadOptions(column_names=list(fields), block_size=_BLOCK, use_threads=False),
        pa.csv.ParseOptions(
            delimiter=options.get("sep", ","),
            quote_char=options.get("quotechar", '"'),
            escape_char=options.get("escapechar", False),
            newlines_in_values=True,
        ),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(fields, text), include_columns=list(wanted), strings_can_be_null=False
        ),
    )
    for batch in reader:
        yield batch.columns


def _by_python(
    stream: "_Stream[Any]", fields: Sequence[str], wanted: Sequence[str], options: Mapping[str, Any]
) -> Batches:
    """Parse as Python does, who knows of spaces before quotation marks: some five times slower than Arrow."""
    places = [fields.index(field) for field in wanted]
    rows = (row for row in csv.reader(io.TextIOWrapper(stream, "utf-8-sig", newline=""), **_dialect(options)) if row)
    while chunk := list(itertools.islice(rows, _ROWS)):
        if any(len(row) != len(fields) for row in chunk):
            raise ValueError("a row has another number of fields")
        yield [pa.array([row[place] for row in chunk], pa.string()).dictionary_encode() for place in places]


def _header(stream: "io.BufferedReader[Any]", options: Mapping[str, Any], name: str) -> list[str] | None:
    """Read the lines up to the header, and the header; None where the options say that there is none."""
    line = options.get("header", None if "names" in options else 0)
    if line is None:
        return None
    for _ in range(line):
        _record(stream, options)
    header = _record(stream, options)
    if not header:
        raise DataError(f"{name}: cannot be read as csv: the file is empty")
    return list(options["names"]) if "names" in options else header


def _record(stream: "io.BufferedReader[Any]", options: Mapping[str, Any], *, peek: bool = False) -> list[str]:
    """Read one record, which may go over several lines where a field is quoted; empty at the end of the file."""
    text = ""
    if peek:
        ahead = io.BytesIO(stream.peek(1))
        while not text.strip() and (line := ahead.readline()):
            text = line.decode("utf-8", errors="replace")
        return next(csv.reader([text.lstrip("\ufeff")], **_dialect(options)), [])
    quote = options.get("quotechar", '"')
    while line := stream.readline():
        text += line.decode("utf-8")
        if text.count(quote) % 2 == 0 and text.strip():
            break
    return next(csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""), **_dialect(options)), [])


def _dialect(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "delimiter": options.get("sep", ","),
        "quotechar": options.get("quotechar", '"'),
        "escapechar": options.get("escapechar"),
        "skipinitialspace": True,
    }


def _wrong_row(path: Path, options: Mapping[str, Any], fields: int, *, surplus: bool) -> DataError | None:
    """Say which line has another number of fields than the first, if any, reading the file once more."""
    with opened(path) as file:
        lines = _Lines(file, options.get("encoding", "utf-8"), options.get("comment"))
        text = io.TextIOWrapper(io.BufferedReader(lines), encoding="utf-8", errors="replace", newline="")
        reader = csv.reader(text, **_dialect(options))
        heads = options.get("skiprows", 0) + (options.get("header", None if "names" in options else 0) is not None)
        for row in reader:
            if reader.line_num <= heads or not row:
                continue
            if len(row) != fields or (surplus and row[-1].strip()):
                return DataError(
                    f"{path.name}: cannot be read as csv: a row has another number of fields than the header",
                    detail=f": line {reader.line_num:,} has {len(row)}, {fields - surplus} are expected; correct it, "
                    "or check the separator and the quotation marks",
                )
    return None


class _Lines(io.RawIOBase):
    """The bytes of a file as UTF-8, without the lines that are comments.

    Parameters
    ----------
    file : binary file
        What is read.
    encoding : str
        Its encoding.
    comment : str or None
        A line that begins with it is left out.
    """

    def __init__(self, file: Any, encoding: str, comment: str | None) -> None:
        plain = encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii") and comment is None
        self._file = file if plain else None
        self._parts = iter(()) if plain else self._recoded(file, encoding, comment)
        self._rest = b""

    def readable(self) -> bool:
        """Say that bytes can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what comes next."""
        if self._file is not None:
            part: bytes = self._file.read(len(buffer))
        else:
            while not self._rest and (following := next(self._parts, None)) is not None:
                self._rest = following
            part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    @staticmethod
    def _recoded(file: Any, encoding: str, comment: str | None) -> Iterator[bytes]:
        parts = codecs.iterdecode(iter(lambda: file.read(_BLOCK), b""), encoding)
        if comment is None:
            yield from (part.encode() for part in parts)
            return
        rest = ""
        for part in itertools.chain(parts, ("\n",)):
            *lines, rest = f"{rest}{part}".split("\n")
            yield "".join(f"{line}\n" for line in lines if not line.lstrip().startswith(comment)).encode()
