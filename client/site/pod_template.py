"""A new pod file, written from the table: its columns, what the owner should decide, and every term explained."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from client.app.table_reader import read_table
from client.site.app_diff import visible
from fl_app.errors import UsageError
from fl_app.pod.datasource import CSVSource, ParquetSource
from fl_app.pod.policy import Policy
from fl_app.tabular.schema import Column, Schema, schema_of

_SEPARATORS = ",;\t|"
_FEW_ROWS = 20
_MOSTLY, _LONG, _CODES = 0.5, 25, 10


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
        Its columns.
    doubtful : dict of str to str
        Columns that the owner may want to ignore, each with the reason.
    codes : tuple of str
        Whole-numbered columns with so few values that they may be codes.
    """

    source: CSVSource | ParquetSource
    rows: int
    schema: Schema
    doubtful: dict[str, str]
    codes: tuple[str, ...]


def describe_table(path: Path, name: str, ignored: Collection[str] = ()) -> TableDescription:
    """Read the table in the file ``path`` and describe its columns, without those to be ``ignored``.

    Raises
    ------
    UsageError
        If ``ignored`` names a column that the table lacks.
    DataError
        If the table cannot be read, or a column is neither text nor number.
    """
    source = ParquetSource(path) if path.suffix in (".parquet", ".pq") else _csv(path)
    frame = read_table(source)
    if absent := [column for column in ignored if column not in frame.columns]:
        raise UsageError(f"--ignore names {', '.join(absent)}, which {path.name} does not have")
    two = [str(c) for c in frame.columns if c not in ignored and frame[c].nunique() == 2]  # 0 and 1: perhaps a target
    schema = schema_of(frame, name=name, ignore_cols=ignored, force_stypes={"categorical": two})
    doubtful = {column.name: why for column in schema.columns if (why := _doubt(frame[column.name], column))}
    codes = tuple(c.name for c in schema.columns if c.name not in doubtful and _may_be_codes(frame[c.name], c))
    return TableDescription(source, len(frame), schema, doubtful, codes)


def _csv(path: Path) -> CSVSource:
    """Return the source with the separator that gives the most columns, and a decimal comma where there are any."""
    width = {separator: _columns(path, separator) for separator in _SEPARATORS}
    separator = max(width, key=lambda one: width[one])  # the first of them, the comma, where nothing speaks for another
    if separator == ",":
        return CSVSource(path)
    source = CSVSource(path, read_options={"sep": separator})
    texts = read_table(source).select_dtypes(exclude="number")
    if any(column.astype(str).str.fullmatch(r"-?\d+,\d+").any() for _, column in texts.items()):
        return CSVSource(path, read_options={"sep": separator, "decimal": ","})
    return source


def _columns(path: Path, separator: str) -> int:
    """Return how many columns the first rows have, 0 where they cannot be read so."""
    try:
        return pd.read_csv(path, sep=separator, nrows=50).shape[1]
    except Exception:  # of any kind, from parsers and decompressors; `read_table` says what is wrong with the file
        return 0


def _doubt(series: "pd.Series[Any]", column: Column) -> str:
    """Return why a column may be one to ignore, "" if nothing speaks for it."""
    held = series.dropna()
    if held.empty:
        return "holds no value"
    distinct = held.nunique()
    if distinct == 1 and len(held) == len(series):
        return "holds the same value everywhere"
    whole = column.kind == "categorical" or column.integer
    if len(held) >= _FEW_ROWS and distinct == len(held) and whole and not is_bool_dtype(held):
        return "has another value in each row: an identifier?"
    if column.kind == "categorical" and not is_numeric_dtype(held):
        lengths = held.astype(str).str.len()
        if distinct > _MOSTLY * len(held):
            return "mostly different text in each row: free text, or an identifier?"
        if lengths.mean() > _LONG and distinct > _FEW_ROWS:
            return "long text: free text?"
        if not column.values:
            return "no value is frequent enough to be published"
    return ""


def _may_be_codes(series: "pd.Series[Any]", column: Column) -> bool:
    return column.kind == "continuous" and column.integer and 2 < series.nunique() <= _CODES


def pod_text(
    table: TableDescription, name: str, path: str, ignored: Collection[str], minimum_cohort: int | None
) -> str:
    """Return the commented pod file, with the table at ``path`` as seen from it."""
    plain = [column for column in table.schema.columns if column.name not in table.doubtful]
    categorical = [column.name for column in plain if column.kind == "categorical"]
    continuous = [column for column in plain if column.kind == "continuous"]
    lines = [
        f"# The pod {name}: one table, who may work with it, and on what terms. Read it through before the pod is run;",
        "# `fl-app pod check` looks at all of it. What is written here stays here, but for what the comments say.",
        f"name: {_yaml(name)}",
        "",
        f"datasource: {type(table.source).__name__}",
        "datasource_args:",
        f"  path: {_yaml(path)}",
    ]
    if table.source.read_options:
        lines.append(f"  read_options: {_yaml(dict(table.source.read_options))}")
    lines += ["", "data_config:", "  # Columns that never leave this pod, not even by name."]
    lines += ["  ignore_cols:", *(f"    - {_yaml(column)}" for column in ignored)] if ignored else ["  ignore_cols: []"]
    if table.doubtful:
        lines.append(
            "  # To be considered: " + ("move those that apply up" if ignored else "list those that apply above")
        )
        lines += [f"  #  - {_yaml(column)}  # {why}" for column, why in table.doubtful.items()]
    lines += [
        "  # As the values suggest. Frequent values of a categorical column are published by name, without counts."
    ]
    lines += ["  force_stypes:", *_list("categorical", categorical), *_list("continuous", [c.name for c in continuous])]
    lines += [f"  # {visible(column)} has few values: if they are codes, make it categorical" for column in table.codes]
    if continuous:
        lines += [
            "  # Published bounds, wider than the data's own; values beyond are cut off. Pods should agree on them.",
            "  bounds:",
            *(
                f"    {_yaml(column.name)}: {_yaml([_number(bound) for bound in column.bounds])}"
                for column in continuous
            ),
        ]
    lines += [
        "  # Columns that other pods may lack.",
        "  optional: []",
        "",
        "# Who may take part with this pod; `fl-app pod approve NAME CARD --pod FILE` enters a name and pins its key.",
        "approved_pods: []",
        "",
        "# A run that breaks one of these terms is refused, whoever starts it. Those marked # have no limit.",
        "policy:",
    ]
    return "\n".join([*lines, *_policy(minimum_cohort)]) + "\n"


def _policy(minimum_cohort: int | None) -> list[str]:
    """Return every term with its default, or its example behind a ``#`` where the default is no limit."""
    lines = []
    for term, field in Policy.model_fields.items():
        value = minimum_cohort if minimum_cohort and term == "minimum_cohort" else field.default
        mark, shown = ("", value) if value is not None else ("# ", next(iter(field.examples or ())))
        lines.append(f"  {mark}{term}: {_yaml(shown)}  # {field.description}")
    return lines


def _list(key: str, names: list[str]) -> list[str]:
    return [f"    {key}:", *(f"      - {_yaml(name)}" for name in names)] if names else [f"    {key}: []"]


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _yaml(value: object) -> str:
    """Return ``value`` as YAML in one line."""
    style = '"' if isinstance(value, str) and not value.isprintable() else None  # a line end stays an escape then
    text: str = yaml.safe_dump(
        value, default_flow_style=True, default_style=style, allow_unicode=style is None, width=float("inf")
    )
    return text.removesuffix("...\n").strip()
