"""``fl-app pods``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.commands.output import console, emit, federation_option, json_option

if TYPE_CHECKING:
    from fl_app.tabular.schema import Column
    from server.modeller.schema_discovery import PodInfo


@click.command(epilog="Example: fl-app pods --federation hospitals")
@federation_option
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for the pods to connect.")
@json_option
def pods(federation: str | None, timeout: float, as_json: bool) -> None:
    """Show which pods of a federation are online, what they publish, and which of them approve each other."""
    from importlib.metadata import version

    from fl_app.federation.kinds import find_federation
    from server.modeller.schema_discovery import discover_schemas

    requested = find_federation(federation, Path.cwd())
    with console(errors=True).status("asking the pods"):
        published = discover_schemas((), requested, timeout)
    missing = [name for name in requested.pod_identifiers if name not in published]
    document: dict[str, Any] = {
        "federation": requested.name,
        "versions": {package: version(package) for package in ("fl-app", "flwr")},
        "pods": {
            name: {
                "key": info.key,
                "versions": info.versions,
                "online_since": info.online_since,
                "last_seen": info.last_seen,
                "approves": info.approves,
                "columns": [column.model_dump(mode="json", exclude_defaults=True) for column in info.schema.columns],
            }
            for name, info in published.items()
        },
        "missing": missing,
        "approvals": _matrix(published, missing),
    }
    emit(document, as_json, lambda: _show(published, missing))


def _show(published: "dict[str, PodInfo]", missing: list[str]) -> None:
    from rich.table import Table

    from server.display.progress import matrix_table

    out = console()
    for name, info in published.items():
        since = f", since {info.online_since}" if info.online_since else ""
        versions = ", ".join(f"{package} {number}" for package, number in info.versions.items())
        out.print(f"{name}  {info.key}  online{since}, {versions}", highlight=False, soft_wrap=True)
    for name in missing:
        out.print(f"{name}  did not answer", highlight=False)
    table = Table(title="columns", title_justify="left")
    for head in ("column", *published):
        table.add_column(head)
    for column in dict.fromkeys(name for info in published.values() for name in info.schema.names):
        table.add_row(column, *(_described(column, info) for info in published.values()))
    out.print(table)
    out.print(matrix_table(_matrix(published, missing)))


def _matrix(published: "dict[str, PodInfo]", missing: list[str]) -> list[list[str]]:
    from strategies.cohort import approval_matrix

    return approval_matrix([*published, *missing], {name: info.approves for name, info in published.items()})


def _described(name: str, info: "PodInfo") -> str:
    if name not in info.schema.names:
        return "-"
    column: Column = info.schema.column(name)
    if column.kind == "categorical":
        text = f"{len(column.values)} categories"
    else:
        text = f"{column.low:g} to {column.high:g}" + (", whole" if column.integer else "")
    return text + (", optional" if column.optional else "")
