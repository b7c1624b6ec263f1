"""``fl-app runs`` and ``fl-app runs show``."""

from pathlib import Path
from typing import Any

import click

from server.commands.output import console, emit, json_option, runs_option


@click.group(invoke_without_command=True, epilog="Example: fl-app runs --json")
@runs_option
@json_option
@click.pass_context
def runs(context: click.Context, runs: str, as_json: bool) -> None:
    """List the runs, the newest last; `show` tells of one."""
    context.default_map = {"show": {"runs": runs}}
    if context.invoked_subcommand:
        return
    from server.run_directory import RunDirectory

    found = [_summary(run) for run in RunDirectory.all(Path(runs))]
    emit(found, as_json, lambda: _list(found, runs))


@runs.command(epilog="Example: fl-app runs show latest")
@click.argument("run", default="latest")
@runs_option
@json_option
def show(run: str, runs: str, as_json: bool) -> None:
    """Show one run, given as its directory, its name, or `latest`."""
    from server.run_directory import RunDirectory

    found = RunDirectory.find(run, Path(runs))
    results = found.results()
    emit({**results, "settings": found.configuration(), "directory": str(found.path)}, as_json, lambda: _show(results))


def _summary(run: Any) -> dict[str, Any]:
    results, config = run.results(), run.configuration()
    return {
        "run": run.name,
        "status": results.get("status", "starting"),
        "started": results.get("started"),
        "pods": config.get("pods", []),
        "rounds": len(results.get("rounds", [])),
        "of": config.get("rounds", 0),
        "accuracy": results.get("final", {}).get("accuracy"),
        "auc": results.get("final", {}).get("auc"),
        "error": results.get("error"),
    }


def _list(found: list[dict[str, Any]], runs: str) -> None:
    from rich.table import Table

    out = console()
    if not found:
        out.print(f"no runs in {runs}; `fl-app demo` makes one", highlight=False)
        return
    table = Table()
    for head in ("run", "status", "pods", "rounds", "accuracy", "auc"):
        table.add_column(head)
    for run in found:
        figures = ["-" if run[name] is None else f"{run[name]:.4f}" for name in ("accuracy", "auc")]
        table.add_row(run["run"], run["status"], ", ".join(run["pods"]), f"{run['rounds']}/{run['of']}", *figures)
    out.print(table)


def _show(results: dict[str, Any]) -> None:
    from server.progress import matrix_table, results_table

    out = console()
    if results.get("rounds"):
        out.print(results_table(results))
    out.print(f"status   {results.get('status', 'starting')}", highlight=False)
    if error := results.get("error"):
        out.print(f"error    {error}", highlight=False, soft_wrap=True)
    if approvals := results.get("approvals"):
        out.print(matrix_table(approvals))
