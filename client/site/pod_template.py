"""A new pod file, written from the table: its columns, what the owner should decide, and every term explained."""

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from client.site.app_diff import visible
from fl_app.errors import UsageError
from fl_app.pod.datasource import CSVSource, ParquetSource
from fl_app.pod.policy import Policy
from fl_app.tabular.cells import Table
from fl_app.tabular.read_options import complete, is_parquet, number_format_of, sample
from fl_app.tabular.schema import Column, Schema, schema_of
from fl_app.tabular.table_file import read_table

_FEW_ROWS = 20
_MOSTLY, _LONG = 0.5, 25


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
    """

    source: CSVSource | ParquetSource
    rows: int
    schema: Schema
    doubtful: dict[str, str]


def describe_table(path: Path, name: str, ignored: Collection[str] = ()) -> TableDescription:
    """Read the table in the file ``path`` and describe its columns, without those to be ``ignored``.

    Raises
    ------
    UsageError
        If ``ignored`` names a column that the table lacks.
    DataError
        If the table cannot be read, or a column is neither text nor number.
    """
    source = ParquetSource(path) if is_parquet(path) else _csv(path)
    table = read_table(path, source.read_options)
    if absent := [column for column in ignored if column not in table.names]:
        raise UsageError(f"--ignore names {', '.join(absent)}, which {path.name} does not have")
    schema = schema_of(table, name=name, ignore_cols=ignored)
    doubtful = {column.name: why for column in schema.columns if (why := _doubt(table, column))}
    return TableDescription(source, len(table), schema, doubtful)


def _csv(path: Path) -> CSVSource:
    """Return the source with what can be found out of how the file is written, where it is not the default."""
    options = complete(path, {})
    records = list(csv.reader(io.StringIO(sample(path, options["encoding"])), delimiter=options["sep"]))
    numbers = number_format_of((cell for record in records[1:] for cell in record), options["sep"])
    found = {**options, "decimal": numbers.decimal, "thousands": numbers.thousands}
    usual = {"sep": ",", "encoding": "utf-8", "decimal": ".", "thousands": ""}
    return CSVSource(path, read_options={key: value for key, value in found.items() if value != usual[key]})


def _doubt(table: Table, column: Column) -> str:
    """Return why a column may be one to ignore, "" if nothing speaks for it."""
    indices, texts = table.texts(column.name)
    counts = np.bincount(indices[indices >= 0], minlength=len(texts))
    held, distinct = int(counts.sum()), int((counts > 0).sum())
    if not held:
        return "holds no value"
    if distinct == 1 and held == len(table):
        return "holds the same value everywhere"
    if held >= _FEW_ROWS and distinct == held and (column.kind == "categorical" or column.integer):
        return "has another value in each row: an identifier?"
    if column.kind == "categorical":
        if distinct > _MOSTLY * held:
            return "mostly different text in each row: free text, or an identifier?"
        if distinct > _FEW_ROWS and sum(map(len, texts)) > _LONG * len(texts):
            return "long text: free text?"
        if not column.values:
            return "no value is frequent enough to be published"
    return ""


def pod_text(
    table: TableDescription, name: str, path: str, ignored: Collection[str], minimum_cohort: int | None
) -> str:
    """Return the commented pod file, with the table at ``path`` as seen from it."""
    plain = [column for column in table.schema.columns if column.name not in table.doubtful]
    categorical = [column.name for column in plain if column.kind == "categorical"]
    continuous = [column for column in plain if column.kind == "continuous"]
    forced = [column.name for column in continuous if not column.values]
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
    lines += ["  force_stypes:", *_list("categorical", categorical), *_list("continuous", forced)]
    lines += [
        f"  # {visible(column.name)} holds few whole numbers, which are published too: it can be a number, or a target"
        for column in continuous
        if column.values
    ]
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
