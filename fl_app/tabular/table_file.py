"""Reading a table's file, CSV or Parquet, into cells of text: the one reader of pods, scoring and test files."""

import codecs
import csv
import io
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fl_app.errors import DataError, FlAppError, UsageError
from fl_app.tabular.cell_text import NumberFormat
from fl_app.tabular.cells import Cells, Table, cells_of, column_names, is_readable
from fl_app.tabular.dictionaries import Dictionaries
from fl_app.tabular.read_options import complete, is_parquet, missing_of, numbers_of, opened

if TYPE_CHECKING:
    from fl_app.tabular.encoding import Encoding

_BLOCK = 2 << 20
_NOT_TEXT = "invalid UTF8"
_SURPLUS = "\0surplus"
_QUOTED_AFTER_SPACE = r'^\s+"(.*)"\s*$'


def read_table(
    path: Path,
    options: Mapping[str, Any] | None = None,
    *,
    parquet: bool | None = None,
    without: Collection[str] = (),
) -> Table:
    """Read a table; every cell as it is written, whatever the others hold.

    Parameters
    ----------
    path : Path
        A CSV file, plain or compressed, or a Parquet file.
    options : mapping
        How it is written, see `read_options`; a CSV file's separator is the comma and its encoding UTF-8 unless they
        say otherwise.
    parquet : bool or None
        Whether it is Parquet; None: as its name says.
    without : names of columns
        Those that are left out, as an owner's ignore_cols; of a Parquet file they are not even read.

    Raises
    ------
    UsageError
        ``without`` names a column that the table lacks.
    UnreadableColumns
        Columns of a Parquet file hold lists, structures or bytes.
    DataError
        It cannot be read as what it is said to be, its header is wrong, a row has too many or too few fields, or there
        is no row. The text names the file without its directory and quotes none of its cells, as it may leave a pod;
        `DataError.full_text` adds the line.
    """
    given = dict(options or {})
    as_parquet = is_parquet(path) if parquet is None else parquet
    name, kind = path.name, "parquet" if as_parquet else "csv"
    try:
        names, columns = _parquet(path, given, without) if as_parquet else _csv(path, given, without)
    except FlAppError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file; check its path") from error
    except PermissionError as error:
        raise DataError(f"{name}: this user may not read the file") from error
    except OSError as error:
        if error.strerror is None or type(error) is not OSError:  # a decompressor's, which may quote the file
            raise DataError(f"{name}: cannot be read as {kind}; check the file") from error
        raise DataError(f"{name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _not_in(given, name) from error
    except Exception as error:
        # Parsers and decompressors raise errors of their own kinds, and their texts quote the data.
        if _NOT_TEXT in str(error):
            raise _not_in(given, name) from error
        raise DataError(f"{name}: cannot be read as {kind}; check the file, its encoding and read_options") from error
    pa.default_memory_pool().release_unused()
    size = len(columns[0].codes) if columns else 0
    if not size:
        raise DataError(f"{name}: the table has no rows")
    return Table(dict(zip(names, columns, strict=True)), size, missing_of(given), numbers_of(given))


def read_rows(path: str | Path, encoding: "Encoding | None" = None, options: Mapping[str, Any] | None = None) -> Table:
    """Read rows to be scored, as the model's pods read theirs; what ``options`` say goes before it.

    The separator and the encoding are found out from the file's header and bytes.

    Parameters
    ----------
    encoding : Encoding or None
        The model's: its columns, and how its pods' files write numbers.

    Raises
    ------
    DataError
        As for `read_table`.
    """
    names = [column.name for column in (*encoding.features, encoding.target)] if encoding else ()
    return read_like(path, names, encoding.numbers if encoding else None, options)


def read_like(
    path: str | Path, names: Sequence[str], numbers: NumberFormat | None, options: Mapping[str, Any] | None = None
) -> Table:
    """Read rows as `read_rows` does, where there is no encoding yet.

    Parameters
    ----------
    names : sequence of str
        Columns that are expected in it.
    numbers : NumberFormat or None
        How numbers are written unless ``options`` say otherwise; None: as the file shows.

    Raises
    ------
    DataError
        As for `read_table`.
    """
    path, given = Path(path), dict(options or {})
    if numbers is not None:
        for mark, default in (("decimal", numbers.decimal), ("thousands", numbers.thousands)):
            if mark not in given and default and not is_parquet(path):
                given[mark] = default
    return read_table(path, complete(path, given, names))


def _not_in(options: Mapping[str, Any], name: str) -> DataError:
    encoding = options.get("encoding", "utf-8")
    return DataError(
        f"{name}: cannot be read as {encoding} text; say which encoding the file has in read_options, for example "
        "encoding: latin-1"
    )


class UnreadableColumns(DataError):
    """Columns that hold lists, structures or bytes, neither text nor numbers.

    Attributes
    ----------
    names : tuple of str
        All such columns.
    """

    def __init__(self, file: str, kinds: Mapping[str, str]) -> None:
        listed = ", ".join(f"{name!r} ({kind:.40})" for name, kind in kinds.items())
        what = "columns hold" if len(kinds) > 1 else "a column holds"
        super().__init__(
            f"{file}: {what} neither text nor numbers: {listed}; convert them, or leave them out with ignore_cols"
        )
        self.names = tuple(kinds)


def _parquet(path: Path, options: Mapping[str, Any], without: Collection[str] = ()) -> tuple[list[str], list[Cells]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        wanted = options.get("columns")
        schema = file.schema_arrow
        if wanted and (absent := [column for column in wanted if column not in schema.names]):
            raise DataError(f"{path.name}: has no column {', '.join(map(repr, absent))}, which read_options names")
        given = wanted or [column for column in schema.names if not column.startswith("__index_level_")]
        pairs = [(raw, name) for raw, name in zip(given, column_names(given, path.name), strict=True)]
        kept = _without([name for _, name in pairs], without, path.name)
        pairs = [(raw, name) for raw, name in pairs if name in kept]
        if unreadable := {
            name: str(schema.field(raw).type) for raw, name in pairs if not is_readable(schema.field(raw).type)
        }:
            raise UnreadableColumns(path.name, unreadable)
        # One column after the other: all of them as text would take several times the file's size.
        columns = [cells_of(file.read(columns=[raw]).column(raw), name) for raw, name in pairs]
    return [name for _, name in pairs], columns


def _without(names: Sequence[str], without: Collection[str], file: str) -> list[str]:
    if absent := [name for name in without if name not in names]:
        raise UsageError(f"{file}: has no column {', '.join(map(repr, absent))}, which is to be ignored")
    return [name for name in names if name not in without]


def _csv(path: Path, options: Mapping[str, Any], without: Collection[str] = ()) -> tuple[list[str], list[Cells]]:
    with opened(path) as file:
        lines = _Lines(file, options.get("encoding", "utf-8"), options.get("comment"))
        stream: io.BufferedReader[Any] = io.BufferedReader(lines, _BLOCK)
        for _ in range(options.get("skiprows", 0)):
            stream.readline()
        header = _header(stream, options, path.name)
        first = _record(stream, options, peek=True)
        names = column_names(header or options.get("names") or map(str, range(len(first))), path.name)
        kept, width = _without(names, without, path.name), len(names)
        # Each row ends in a separator and the header does not: one more field, which has to be empty everywhere.
        surplus = len(first) == width + 1 and not first[-1].strip()
        fields = [str(place) for place in range(width)] + [_SURPLUS] * surplus
        wanted = [str(place) for place, name in enumerate(names) if name in kept] + [_SURPLUS] * surplus
        try:
            columns = _columns(stream, fields, wanted, options)
        except pa.ArrowInvalid as error:
            if _NOT_TEXT in str(error):
                raise
            raise _wrong_row(path, options, len(fields), surplus=surplus) from error
    if surplus and any(text.strip() for text in columns.pop().distinct.to_pylist()):
        raise _wrong_row(path, options, len(fields), surplus=surplus)
    return kept, columns


def _columns(
    stream: "io.BufferedReader[Any]", fields: Sequence[str], wanted: Sequence[str], options: Mapping[str, Any]
) -> list[Cells]:
    """Read some fields of the rows that are left, block by block: only a block is ever held as the text it is."""
    parts = [Dictionaries() for _ in wanted]
    if stream.peek(1):
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
            for part, column in zip(parts, batch.columns, strict=True):
                part.add(column)
    columns = []
    for part in parts:
        codes, distinct = part.joined(pa.string())
        columns.append(Cells(codes, pc.replace_substring_regex(distinct, _QUOTED_AFTER_SPACE, r"\1")))
    return columns


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


def _wrong_row(path: Path, options: Mapping[str, Any], fields: int, *, surplus: bool) -> DataError:
    """Say which line has another number of fields than the first, reading the file once more."""
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
    return DataError(f"{path.name}: cannot be read as csv; check the file, its encoding and read_options")


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
