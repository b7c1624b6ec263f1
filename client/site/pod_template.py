"""A new pod file, written from the table: its columns, what the owner should decide, and every term explained."""

from collections.abc import Mapping, Sequence

from client.site.app_diff import visible
from client.site.table_description import TableDescription
from fl_app.pod.policy import Policy
from fl_app.pod.yaml_lines import in_one_line
from fl_app.tabular.dates import day_in
from fl_app.tabular.schema import Column


def pod_text(table: TableDescription, name: str, path: str, given: Mapping[str, int | float]) -> str:
    """Return the commented pod file, with the table at ``path`` as seen from it, and the terms that are ``given``."""
    plain = [column for column in table.schema.columns if column.name not in table.doubtful]
    bounds = {column.name: column.bounds for column in plain if _bounded(column)}
    lines = [
        f"# The pod {name}: one table, who may work with it, and on what terms. Read it through before the pod is run;",
        "# `fl-app pod check` looks at all of it. What is written here stays here, but for what the comments say.",
        f"name: {in_one_line(name)}",
        "",
        f"datasource: {type(table.source).__name__}",
        "datasource_args:",
        f"  path: {in_one_line(path)}",
    ]
    if table.source.read_options:
        lines.append(f"  read_options: {in_one_line(dict(sorted(table.source.read_options.items())))}")
    lines += ["", "data_config:", "  # Columns that never leave this pod, not even by name."]
    lines += _list("  ignore_cols", table.ignored)
    if table.doubtful:
        lines.append(
            "  # To be considered: " + ("move those that apply up" if table.ignored else "list those that apply above")
        )
        lines += [f"  #  - {in_one_line(column)}  # {visible(why)}" for column, why in table.doubtful.items()]
    lines += [
        "  # What the columns seem to be. Frequent categories and few whole numbers are published by value, without",
        "  # counts; of other numbers the bounds are.",
        *(f"  #   {visible(column.name)}: {visible(column.text)}" for column in table.columns if not column.doubtful),
        "  # Kinds other than those: {categorical: [A], continuous: [B]}. Numbers that are forced to be continuous are",
        "  # not published by value. `fl-app pod column FILE COLUMN --kind KIND` enters one.",
        "  force_stypes: {}",
    ]
    if dates := [column for column in plain if column.date]:
        lines += [
            "  # Dates, as numbers of days, hours, minutes or seconds since 1970-01-01. Bounds are published; what is",
            "  # beyond is cut off. `parts: [month, weekday, hour]` has these learnt as categories too.",
            "  dates:",
            *(f"    {in_one_line(column.name)}: {_date(column)}" for column in dates),
        ]
    if bounds:
        lines += [
            "  # Published bounds, wider than the data's own; values beyond are cut off. Pods should agree on them.",
            "  bounds:",
            *(
                f"    {in_one_line(column)}: {in_one_line([_number(end) for end in ends])}"
                for column, ends in bounds.items()
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
    return "\n".join([*lines, *_policy(given)]) + "\n"


def _policy(given: Mapping[str, int | float]) -> list[str]:
    """Return every term as given or with its default, or its example behind a ``#`` where the default is no limit."""
    lines = []
    for term, field in Policy.model_fields.items():
        value = given.get(term, field.default)
        mark, shown = ("", value) if value is not None else ("# ", next(iter(field.examples or ())))
        lines.append(f"  {mark}{term}: {in_one_line(shown)}  # {field.description}")
    return lines


def _bounded(column: Column) -> bool:
    return column.kind == "continuous" and not column.values and not column.date


def _date(column: Column) -> str:
    unit = column.date.unit if column.date else ""
    return in_one_line({"unit": unit, "bounds": [day_in(column.written(end)) for end in column.bounds]})


def _list(key: str, names: Sequence[str]) -> list[str]:
    return [f"{key}:", *(f"    - {in_one_line(name)}" for name in names)] if names else [f"{key}: []"]


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
