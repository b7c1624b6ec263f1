"""``fl-app pods``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fl_app.errors import UsageError
from server.commands.output import columns_option, console, emit, federation_option, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fl_app.tabular.schema import Schema
    from server.modeller.schema_discovery import PodInfo
    from server.modeller.schema_verdicts import ColumnVerdict


@click.command(epilog="Example: fl-app pods --federation hospitals")
@federation_option
@click.option("--target", help="Column to predict: also judge whether the pods code it alike.")
@click.option("--ignore", metavar="A,B", multiple=True, help="Columns to leave out of the verdict; may be repeated.")
@columns_option
@click.option(
    "--columns-out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what the pods publish as such a file, of the columns that fit.",
)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for the pods to connect.")
@json_option
@click.pass_context
def pods(
    context: click.Context,
    federation: str | None,
    target: str | None,
    ignore: tuple[str, ...],
    columns: Path | None,
    columns_out: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Show which pods of a federation are online, what they publish, and which of them approve each other.

    Each column has a verdict: whether it fits at all pods, and if not, what its owners would have to set. With --target
    the exit code is 1 if anything keeps the pods from training together.
    """
    from importlib.metadata import version

    from fl_app.federation.kinds import find_federation
    from fl_app.host.column_file import read_columns
    from fl_app.validation import names_in
    from server.modeller.schema_discovery import discover_schemas, pod_files
    from server.modeller.schema_verdicts import judge

    requested = find_federation(federation, Path.cwd())
    with console(errors=True).status("asking the pods"):
        published = discover_schemas((), requested, timeout, read_columns(columns) if columns else None)
    missing = [name for name in requested.pod_identifiers if name not in published]
    schemas = [info.schema for info in published.values()]
    known = {name for schema in schemas for name in schema.names}
    ignored = names_in(ignore, known)
    verdicts = judge(schemas, target=target, ignore_cols=ignored, files=pod_files(requested))
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
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    emit(document, as_json, lambda: _show(published, missing, verdicts, target))
    if columns_out:
        _write_columns(columns_out, schemas, [v.name for v in verdicts if v.verdict != "does not fit"])
    if target and any(verdict.verdict == "does not fit" for verdict in verdicts):
        context.exit(1)


def _write_columns(path: Path, schemas: "Sequence[Schema]", names: list[str]) -> None:
    from fl_app.host.column_file import columns_text
    from fl_app.tabular.combining import combine

    others = {name for schema in schemas for name in schema.names if name not in names}
    text = columns_text(combine(schemas, ignore_cols=others).columns)
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _show(
    published: "dict[str, PodInfo]", missing: list[str], verdicts: "list[ColumnVerdict]", target: str | None
) -> None:
    from rich.table import Table

    from server.display.progress import matrix_table

    out = console()
    for name, info in published.items():
        since = f", since {info.online_since}" if info.online_since else ""
        versions = ", ".join(f"{package} {number}" for package, number in info.versions.items())
        out.say(f"{name}  {info.key}  online{since}, {versions}")
    for name in missing:
        out.say(f"{name}  did not answer")
    table = Table(title="columns", title_justify="left")
    for head in ("column", *published, "verdict"):
        table.add_column(head)
    for verdict in verdicts:
        what = verdict.verdict.upper() if verdict.verdict == "does not fit" else verdict.verdict
        cells = (_described(verdict.name, info) for info in published.values())
        table.add_row(f"{verdict.name} (target)" if verdict.name == target else verdict.name, *cells, what)
    out.print(table)
    if target:
        for name, info in published.items():
            classes = info.schema.column(target).values if target in info.schema.names else ()
            out.say(f"classes in {name}: {', '.join(map(repr, classes)) or 'none'}")
    for verdict in sorted(verdicts, key=lambda verdict: verdict.verdict != "does not fit"):
        for text in verdict.texts:
            out.say(f"{verdict.verdict}: {text}")
        for pod, command in verdict.commands.items():
            out.say(f"  the owner of {pod}: {command}")
    out.print(matrix_table(_matrix(published, missing)))


def _matrix(published: "dict[str, PodInfo]", missing: list[str]) -> list[list[str]]:
    from fl_app.federation.approvals import approval_matrix

    return approval_matrix([*published, *missing], {name: info.approves for name, info in published.items()})


def _described(name: str, info: "PodInfo") -> str:
    if name not in info.schema.names:
        return "-"
    return info.schema.column(name).summary
