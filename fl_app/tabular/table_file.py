"""Reading a table's file, CSV or Parquet, into cells of text: the one reader of pods, scoring and test files."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv

from fl_app.errors import DataError, FlAppError
from fl_app.tabular.cell_text import NumberFormat
from fl_app.tabular.cells import Cells, Table, cells_of, column_names, is_readable
from fl_app.tabular.csv_file import NOT_TEXT, kept_of, read_csv
from fl_app.tabular.read_options import complete, is_parquet, missing_of, numbers_of

if TYPE_CHECKING:
    from fl_app.tabular.encoding import Encoding


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
        names, columns = _parquet(path, given, without) if as_parquet else read_csv(path, given, without)
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
        if NOT_TEXT in str(error):
            raise _not_in(given, name) from error
        raise DataError(f"{name}: cannot be read as {kind}; check the file, its encoding and read_options") from error
    pa.default_memory_pool().release_unused()
    size = len(columns[0].codes) if columns else 0
    if not size:
        raise DataError(f"{name}: the table has no rows")
    return Table(
        dict(zip(names, columns, strict=True)), size, missing_of(given), numbers_of(given), given.get("date_format", "")
    )


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
        kept = kept_of([name for _, name in pairs], without, path.name)
        pairs = [(raw, name) for raw, name in pairs if name in kept]
        if unreadable := {
            name: str(schema.field(raw).type) for raw, name in pairs if not is_readable(schema.field(raw).type)
        }:
            raise UnreadableColumns(path.name, unreadable)
        # One column after the other: all of them as text would take several times the file's size.
        columns = [cells_of(file.read(columns=[raw]).column(raw), name) for raw, name in pairs]
    return [name for _, name in pairs], columns
