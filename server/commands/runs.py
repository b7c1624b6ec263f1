"""``fl-app runs``: list, show, compare, log, remove."""

import sys
from pathlib import Path
from typing import Any

import click

from server.commands.output import console, emit, json_option, runs_option


@click.group(invoke_without_command=True, epilog="Example: fl-app runs --json")
@runs_option
@json_option
@click.pass_context
def runs(context: click.Context, runs: str, as_json: bool) -> None:
    """List the runs, the newest last; the commands below show, compare, log and remove them."""
    context.default_map = {name: {"runs": runs} for name in ("show", "compare", "log", "remove", "list")}
    if context.invoked_subcommand:
        return
    _tell_all(runs, as_json)


@runs.command("list", epilog="Example: fl-app runs list --json")
@runs_option
@json_option
def list_runs(runs: str, as_json: bool) -> None:
    """List the runs, the newest last."""
    _tell_all(runs, as_json)


@runs.command(epilog="Example: fl-app runs show latest")
@click.argument("run", default="latest")
@runs_option
@json_option
def show(run: str, runs: str, as_json: bool) -> None:
    """Show one run, given as its directory, its name, or `latest`."""
    from server.app.run_directory import RunDirectory

    found = RunDirectory.find(run, Path(runs))
    results = found.results()
    emit({**results, "settings": found.configuration(), "directory": str(found.path)}, as_json, lambda: _show(results))


@runs.command(epilog="Example: fl-app runs compare 20260102-101500-ab12 latest")
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: RUNS/comparison.png]")
@runs_option
@json_option
def compare(names: tuple[str, ...], output: Path | None, runs: str, as_json: bool) -> None:
    """Show in what settings runs differ and how good each was, and draw their curves into one picture.

    A RUN is a directory, a run's name, or `latest`.
    """
    from fl_app.errors import UsageError
    from fl_app.system.files import replace_file
    from server.app.run_directory import RunDirectory
    from server.display import compare

    found = [RunDirectory.find(name, Path(runs)) for name in names]
    if len({run.path for run in found}) < max(2, len(found)):
        raise UsageError("give two different runs or more; `fl-app runs` lists them")
    picture = output or Path(runs) / "comparison.png"
    if picture.suffix != ".png":
        raise UsageError(f"{picture}: the picture is a PNG, so its name ends in .png")
    compared = compare.compare(found)
    try:
        replace_file(picture, compare.draw(found))
    except OSError as error:
        raise UsageError(f"{picture}: cannot be written: {error.strerror or error}") from error
    document = {"runs": [run.name for run in found], **compared, "picture": str(picture)}
    emit(document, as_json, lambda: _compare(document))


@runs.command(epilog="Example: fl-app runs log latest --tensorboard logs")
@click.argument("run", default="latest")
@click.option("--tensorboard", type=click.Path(file_okay=False, path_type=Path), help="Write event files into here.")
@click.option("--mlflow", metavar="URI", help="Log to this MLflow tracking server.")
@runs_option
@json_option
def log(run: str, tensorboard: Path | None, mlflow: str | None, runs: str, as_json: bool) -> None:
    """Hand a run's figures to TensorBoard or MLflow (extras fl-app[tensorboard], fl-app[mlflow]).

    RUN is the directory, the run's name, or `latest`.
    """
    from fl_app.errors import UsageError
    from server.app.run_directory import RunDirectory
    from server.display.tracking import Mlflow, Sink, TensorBoard, Tracking

    found = RunDirectory.find(run, Path(runs))
    sinks: list[Sink] = []
    if tensorboard:
        sinks.append(TensorBoard(tensorboard, found.name))
    if mlflow:
        sinks.append(Mlflow(mlflow, found.name, found.configuration()))
    if not sinks:
        raise UsageError("say where to: --tensorboard DIR, --mlflow URI, or both")
    Tracking(*sinks).close(found.results())
    document = {"run": found.name, "tensorboard": tensorboard and str(tensorboard), "mlflow": mlflow}
    places = " and ".join(str(place) for place in (tensorboard, mlflow) if place)
    emit(document, as_json, lambda: click.echo(f"run {found.name} logged to {places}"))


@runs.command(epilog="Example: fl-app runs remove 20260102-101500-ab12")
@click.argument("names", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@runs_option
@json_option
def remove(names: tuple[str, ...], yes: bool, runs: str, as_json: bool) -> None:
    """Remove runs with all their files, models and reports; no link is followed.

    A RUN is the name of a run in the directory of the runs, or `latest`.
    """
    from fl_app.errors import UsageError
    from server.modeller import run_removal

    found = {run.name: run for run in (run_removal.removable(name, Path(runs)) for name in names)}
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("removing cannot be undone: say --yes where nobody can be asked")
        click.confirm(f"Remove {', '.join(found)} with all files?", abort=True, err=True)
    latest = None
    for run in found.values():
        latest = run_removal.remove(run)
    document = {"removed": list(found), "latest": latest}
    emit(document, as_json, lambda: click.echo(f"removed {', '.join(found)}"))


def _tell_all(runs: str, as_json: bool) -> None:
    from server.app.run_directory import RunDirectory

    found = [_summary(run) for run in RunDirectory.all(Path(runs))]
    emit(found, as_json, lambda: _list(found, runs))


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
    from server.display.progress import matrix_table, results_table

    out = console()
    if results.get("rounds"):
        out.print(results_table(results))
    out.print(f"status   {results.get('status', 'starting')}", highlight=False)
    if error := results.get("error"):
        out.print(f"error    {error}", highlight=False, soft_wrap=True)
    if approvals := results.get("approvals"):
        out.print(matrix_table(approvals))


def _compare(document: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table()
    table.add_column("")
    for name in document["runs"]:
        table.add_column(name)
    for part in ("settings", "figures"):
        for label, row in document[part].items():
            table.add_row(label, *map(_text, row))
        table.add_section()
    console().print(table)
    click.echo(f"curves   {document['picture']}")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
