"""A specification of columns in a file: YAML as a modeller writes it, and an owner tries it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fl_app.errors import UsageError
from fl_app.pod.yaml_lines import content_of, in_one_line, parse_yaml
from fl_app.tabular.column_spec import MAX_SPEC, ColumnSpec
from fl_app.tabular.dates import day_in
from fl_app.tabular.schema import Column
from fl_app.validation import Problem, dotted, explain, refusal


def read_columns(path: Path) -> ColumnSpec:
    """Read a specification: ``columns:`` with, for each name, any of kind, bounds, unit and missing.

    Raises
    ------
    UsageError
        The file is no such specification, with every problem found, its key and its line.
    """
    document = parse_yaml(path, content_of(path))
    if not isinstance(document.value, dict):
        raise UsageError(f"{path}: a specification is written as columns: {{age: {{kind: continuous}}}}")
    try:
        spec = ColumnSpec.model_validate(document.value)
    except ValidationError as error:
        found = explain(error, ColumnSpec.model_json_schema())
        problems = [Problem(document.line(where), dotted(where), text) for where, text in found]
        raise refusal(path, problems) from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    if len(spec.to_json()) > MAX_SPEC:
        raise UsageError(f"{path}: a specification may have {MAX_SPEC:,} characters as JSON")
    return spec


def columns_text(columns: Iterable[Column]) -> str:
    """Return the YAML of a specification that proposes columns as they are."""

    def proposed(column: Column) -> dict[str, Any]:
        bounds = None if column.kind == "categorical" or column.values else list(column.bounds)
        if column.date:
            days = [day_in(column.written(end)) for end in column.bounds]
            told = {"kind": "date", "unit": column.date.unit, "bounds": days, "parts": list(column.date.parts)}
            return {key: value for key, value in told.items() if value}
        facts = {"kind": None if column.values and bounds is None and column.kind == "continuous" else column.kind}
        return {key: value for key, value in {**facts, "bounds": bounds, "unit": column.unit or None}.items() if value}

    lines = [
        f"  {in_one_line(column.name)}: {in_one_line(proposed(column))}\n" for column in columns if not column.empty
    ]
    return "columns:\n" + "".join(lines) if lines else "columns: {}\n"
