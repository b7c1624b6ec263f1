"""Whether the schema a modeller works with is still what the pods publish."""

from fl_app.errors import DataError
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.settings import DataStructure


class SchemaChanged(DataError):
    """The pods publish another schema than the modeller's; the text names each column that differs, and how."""


def check_agreement(expected: Schema, published: Schema, datastructure: DataStructure) -> None:
    """Raise unless both schemas describe the target and every feature alike.

    Raises
    ------
    SchemaChanged
        If they do not.
    DataError
        If one of them lacks a column that ``datastructure`` needs.
    """
    used = {datastructure.target, *datastructure.features(expected), *datastructure.features(published)}
    changes = []
    for name in sorted(used):
        if name not in expected.names:
            changes.append(f"{name}: the pods publish it, the schema given lacks it")
        elif name not in published.names:
            changes.append(f"{name}: the pods do not publish it")
        elif expected.column(name) != published.column(name):
            changes.append(f"{name}: {_difference(expected.column(name), published.column(name))}")
    if changes:
        raise SchemaChanged(
            f"the schema given is not what the pods publish now ({'; '.join(changes)}); "
            "make it of the pods trained on: combine_pod_schemas([...])"
        )


def _difference(given: Column, now: Column) -> str:
    if given.kind != now.kind:
        return f"{given.kind} in the schema given, {now.kind} now"
    lacking = [value for value in now.values if value not in given.values]
    gone = [value for value in given.values if value not in now.values]
    parts = [f"the pods now publish {', '.join(lacking)} too"] if lacking else []
    parts += [f"the pods no longer publish {', '.join(gone)}"] if gone else []
    if given.kind == "continuous" and given.bounds != now.bounds:
        parts.append(f"{_span(given)} in the schema given, {_span(now)} now")
    if given.date != now.date:
        parts.append("a date in one of the two, or another unit, format, time zone or other parts")
    return ", ".join(parts) or "whole numbers only, or optional, in one of the two"


def _span(column: Column) -> str:
    return "..".join(map(column.written, column.bounds))
