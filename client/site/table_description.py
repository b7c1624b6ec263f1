"""What a new pod file says of a table: how the file is written, and what each column seems to be."""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.site.column_description import ColumnDescription, describe_column
from client.site.date_columns import date_settings
from fl_app.errors import DataError, UsageError
from fl_app.pod.datasource import CSVSource, ParquetSource
from fl_app.pod.policy import Policy
from fl_app.tabular.cell_text import STANDARD
from fl_app.tabular.read_options import complete, is_parquet, number_format_of, sample
from fl_app.tabular.schema import Schema, schema_of
from fl_app.tabular.table_file import UnreadableColumns, read_table
from fl_app.validation import listed_names, names_in

_HEADER = """is there a header? If not: --read-options 'header: null', which numbers the columns, or 'names: [A, B]'"""


@dataclass(frozen=True)
class TableDescription:
    """What a new pod file says of a table.

    Attributes
    ----------
    source : CSVSource or ParquetSource
        How the file is read.
    rows : int
        How many it has.
    schema : Schema
        Its columns, without those to be ignored.
    columns : tuple of ColumnDescription
        What each of them seems to be.
    ignored : tuple of str
        Columns that are left out.
    remarks : tuple of str
        What seems odd in the table as a whole.
    """

    source: CSVSource | ParquetSource
    rows: int
    schema: Schema
    columns: tuple[ColumnDescription, ...] = ()
    ignored: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def doubtful(self) -> dict[str, str]:
        """Columns that the owner may want to ignore, each with the reason."""
        return {column.name: column.text for column in self.columns if column.doubtful}


def describe_table(
    path: Path, name: str, ignore: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> TableDescription:
    """Read the table in the file ``path`` and describe its columns.

    Parameters
    ----------
    name : str
        The pod's.
    ignore : sequence of str
        Columns that are left out, as `names_in` reads them.
    options : mapping or None
        How the file is written, as far as it is not to be found out.

    Raises
    ------
    UsageError
        If ``ignore`` names a column that the table lacks.
    DataError
        If the table cannot be read, or has one column only.
    """
    given = dict(options or {})
    header: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    source: CSVSource | ParquetSource
    if is_parquet(path):
        source, header = ParquetSource(path, read_options=given), _parquet_names(path)
    else:
        source, records = _csv(path, given)
        if records and given.get("header", 0) is not None:
            header = tuple(field.strip() for field in records[0])
            remarks = _header_remarks(header)
    ignored = names_in(ignore, header)
    if absent := [column for column in ignored if header and column not in header]:
        raise UsageError(f"--ignore names {', '.join(absent)}, which {path.name} does not have")
    try:
        table = read_table(path, source.read_options, without=ignored)
    except UnreadableColumns as error:
        raise DataError(f"{error}: --ignore {_shell(listed_names((*ignored, *error.names)))}") from error
    except DataError as error:
        raise DataError(str(error), detail=error.detail + "".join(f"; {remark}" for remark in remarks)) from error
    if len(table.names) + len(ignored) == 1:
        raise DataError(
            f"{path.name}: one column only: is the separator right? is there a header? {_spaced(path, source)}"
        )
    least = Policy().minimum_category_count
    schema = schema_of(table, name=name, min_count=least, dates=date_settings(table))
    columns = tuple(describe_column(table, column, least) for column in schema.columns)
    return TableDescription(source, len(table), schema, columns, ignored, remarks)


def _parquet_names(path: Path) -> tuple[str, ...]:
    from pyarrow import parquet

    try:
        return tuple(parquet.read_schema(path).names)
    except Exception:  # of any kind; whoever reads the table says what is wrong with the file
        return ()


def _csv(path: Path, given: Mapping[str, Any]) -> tuple[CSVSource, list[list[str]]]:
    """Return the source with what can be found out of how the file is written, where it is not the default.

    Also returns the first records, the header among them.
    """
    options = complete(path, given)
    text = sample(path, options["encoding"])
    lines = itertools.islice(io.StringIO(text), options.get("skiprows", 0) + (options.get("header") or 0), None)
    dialect = {"delimiter": options["sep"], "quotechar": options.get("quotechar", '"'), "skipinitialspace": True}
    try:
        records = [record for record in csv.reader(lines, **dialect) if record]
    except csv.Error:  # whoever reads the table says what is wrong with the file
        records = []
    found = dict(options)
    if not {"decimal", "thousands"} & given.keys():
        width = len(records[0]) if records else 0
        body = [record for record in records[1:-1] or records[1:] if len(record) == width]
        numbers = number_format_of([list(column) for column in zip(*body, strict=True)], options["sep"])
        found |= {"decimal": numbers.decimal, "thousands": numbers.thousands}
    usual = {"sep": ",", "encoding": "utf-8", "decimal": STANDARD.decimal, "thousands": STANDARD.thousands}
    return CSVSource(path, read_options={key: value for key, value in found.items() if value != usual.get(key, ())}), (
        records
    )


def _header_remarks(header: Collection[str]) -> tuple[str, ...]:
    """Say that a header looks like a row of data: numbers, and texts that occur twice."""
    numbers = [field for field in header if _is_number(field)]
    twice = [field for field, times in Counter(header).items() if times > 1]
    numbered = sorted(numbers) == sorted(map(str, range(len(numbers))))
    if (len(numbers) > len(header) / 2 and not numbered) or (numbers and twice):
        return (f"the header looks like data ({', '.join(list(header)[:4])!s:.60}): {_HEADER}",)
    return ()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _spaced(path: Path, source: CSVSource | ParquetSource) -> str:
    """Say how to read a file of one column, if spaces seem to separate its fields."""
    if isinstance(source, CSVSource):
        lines = sample(path, source.read_options.get("encoding", "utf-8")).splitlines()[:100]
        widths = {len(line.split(" ")) for line in lines[:-1]}
        if len(widths) == 1 and max(widths) > 1 and all(lines[0].split(" ")):
            like_data = any(map(_is_number, lines[0].split(" ")))
            header = ", header: null" if like_data else ""
            return f"Spaces separate {max(widths)} fields: --read-options 'sep: \" \"{header}'" + (
                "; the first line looks like data, so that there is no header" if like_data else ""
            )
        if {len(line.split()) for line in lines[:-1]} == {len(lines[0].split())} and len(lines[0].split()) > 1:
            return "Fields stand apart by several spaces: write the file with commas"
    return "--read-options 'sep: \"|\"' says how the file is written"


def _shell(text: str) -> str:
    import shlex

    return shlex.quote(text)
