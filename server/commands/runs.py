"""``fl-app runs``: list, show, compare, log, remove."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fl_app.host.echo import echo
from fl_app.system.printable import continued
from server.commands.output import console, emit, json_option, runs_option

if TYPE_CHECKING:
    from server.app.results import Results
    from server.app.run_directory import RunDirectory


@click.group(invoke_without_command=True, epilog="Example: fl-app runs --json")
@runs_option
@json_option
@click.pass_context
def runs(context: click.Context, runs: str, as_json: bool) -> None:
    """List the runs, the newest last; the commands below show, compare, log and remove them."""
    context.default_map = {name: {"runs": runs} for name in ("show", "compare", "log", "remove", "list")}
    if context.invoked_subcommand:
        return
    _list_all(runs, as_json)


@runs.command("list", epilog="Example: fl-app runs list --json")
@runs_option
@json_option
def list_runs(runs: str, as_json: bool) -> None:
    """List the runs, the newest last."""
    _list_all(runs, as_json)


@runs.command(epilog="Example: fl-app runs show latest")
@click.argument("run", default="latest")
@runs_option
@json_option
def show(run: str, runs: str, as_json: bool) -> None:
    """Show one run, given as its directory, its name, or `latest`."""
    from server.app.run_directory import RunDirectory

    shown = RunDirectory.find(run, Path(runs))
    results = shown.results()
    document = {**results.document(), "settings": shown.settings(), "directory": str(shown.path)}
    emit(document, as_json, lambda: _show(results))


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

    compared = [RunDirectory.find(name, Path(runs)) for name in names]
    if len({run.path for run in compared}) < max(2, len(compared)):
        raise UsageError("give two different runs or more; `fl-app runs` lists them")
    picture = output or Path(runs) / "comparison.png"
    if picture.suffix != ".png":
        raise UsageError(f"{picture}: the picture is a PNG, so its name ends in .png")
    comparison = compare.compare(compared)
    try:
        replace_file(picture, compare.draw(compared))
    except OSError as error:
        raise UsageError(f"{picture}: cannot be written: {error.strerror or error}") from error
    document = {"runs": [run.name for run in compared], **comparison, "picture": str(picture)}
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

    logged = RunDirectory.find(run, Path(runs))
    sinks: list[Sink] = []
    if tensorboard:
        sinks.append(TensorBoard(tensorboard, logged.name))
    if mlflow:
        sinks.append(Mlflow(mlflow, logged.name, logged.settings()))
    if not sinks:
        raise UsageError("say where to: --tensorboard DIR, --mlflow URI, or both")
    Tracking(*sinks).close(logged.results())
    document = {"run": logged.name, "tensorboard": tensorboard and str(tensorboard), "mlflow": mlflow}
    places = " and ".join(str(place) for place in (tensorboard, mlflow) if place)
    emit(document, as_json, lambda: echo(f"run {logged.name} logged to {places}"))


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

    removed = {run.name: run for run in (run_removal.removable(name, Path(runs)) for name in names)}
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("removing cannot be undone: say --yes where nobody can be asked")
        click.confirm(f"Remove {', '.join(removed)} with all files?", abort=True, err=True)
    latest = None
    for run in removed.values():
        latest = run_removal.remove(run)
    document = {"removed": list(removed), "latest": latest}
    emit(document, as_json, lambda: echo(f"removed {', '.join(removed)}"))


def _list_all(runs: str, as_json: bool) -> None:
    from server.app.run_directory import RunDirectory

    summaries = [_summary(run) for run in RunDirectory.all(Path(runs))]
    emit(summaries, as_json, lambda: _list(summaries, runs))


def _summary(run: "RunDirectory") -> dict[str, Any]:
    results, settings = run.results(), run.settings()
    return {
        "run": run.name,
        "status": results.status or "starting",
        "started": results.started,
        "pods": settings.get("pods", []),
        "rounds": len(results.rounds),
        "of": settings.get("rounds", 0),  # None while it follows from a table that is not known yet
        "accuracy": results.final and results.final.accuracy,
        "auc": results.final and results.final.auc,
        "describes": bool(settings.get("describes")),
        "r2": results.final and results.final.r2,
        "epsilon": results.privacy and results.privacy.epsilon,
        "error": results.error,
    }


def _list(summaries: list[dict[str, Any]], runs: str) -> None:
    from rich.table import Table

    out = console()
    if not summaries:
        out.say(f"no runs in {runs}; `fl-app demo` makes one")
        return
    table = Table()
    metrics = [
        name for name in ("accuracy", "auc", "r2") if name != "r2" or any(run["r2"] is not None for run in summaries)
    ]
    for head in ("run", "status", "pods", "rounds", *metrics, "privacy"):
        table.add_column(head)
    for run in summaries:
        figures = ["-" if run[name] is None else f"{run[name]:.4f}" for name in metrics]
        privacy = "-" if run["epsilon"] is None else f"epsilon {run['epsilon']:g}"
        most = "?" if run["of"] is None else run["of"]
        rounds = "description" if run["describes"] else f"{run['rounds']}/{most}"
        table.add_row(run["run"], run["status"], ", ".join(run["pods"]), rounds, *figures, privacy)
    out.print(table)


def _show(results: "Results") -> None:
    from server.commands.describe import show_description
    from server.display.groups import show_groups
    from server.display.importance import show_importance
    from server.display.privacy_told import privacy_line
    from server.display.progress import matrix_table, results_table

    out = console()
    if results.rounds:
        out.print(results_table(results))
    show_groups(out, results.groups)
    show_importance(out, results.importance)
    show_description(results)
    out.say(f"status   {results.status or 'starting'}")
    if told := privacy_line(results.privacy):
        out.print(f"privacy  {told}", highlight=False, soft_wrap=True)
    if results.error:
        out.print(continued(f"error    {results.error}"), highlight=False, soft_wrap=True)
    if results.approvals:
        out.print(matrix_table(results.approvals))


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
    echo(f"curves   {document['picture']}")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)
