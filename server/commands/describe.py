"""``fl-app describe``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.commands.output import columns_option, console, emit, federation_option, json_option, runs_option

if TYPE_CHECKING:
    from server.app.results import Results
    from server.app.run_directory import RunDirectory


@click.command(epilog="Example: fl-app describe --federation hospitals --target outcome")
@federation_option
@click.option("--pods", default="", metavar="A,B", help="Pods to describe.  [default: all of the federation]")
@click.option("--target", help="A column of classes: also count rows by class within each column.")
@click.option("--ignore", metavar="A,B", multiple=True, help="Columns to leave out; may be repeated.")
@columns_option
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for the pods to connect.")
@click.option("--step-timeout", default=600.0, show_default=True, help="Seconds to wait for the pods' sums.")
@runs_option
@json_option
def describe(
    federation: str | None,
    pods: str,
    target: str | None,
    ignore: tuple[str, ...],
    columns: Path | None,
    timeout: float,
    step_timeout: float,
    runs: str,
    as_json: bool,
) -> None:
    """Describe the pods' tables as one before anything is trained: rows, missing values, quantiles, categories.

    Every figure comes from a sum over the pods, in which noise hides single rows. It is a run like a training's: owners
    see it in their ledgers and limit how many there are in a day.
    """
    from fl_app.federation.kinds import find_federation
    from fl_app.host.column_file import read_columns
    from fl_app.validation import counted, names_in
    from server.display.progress import Progress
    from server.modeller.description import described, description_config

    over = find_federation(federation, Path.cwd())
    config = description_config(
        names_in(pods) or over.pod_identifiers,
        target=target,
        ignore_cols=names_in(ignore),
        columns=read_columns(columns) if columns else None,
        hello_timeout=timeout,
        step_timeout=step_timeout,
    )
    errors = console(errors=True)
    errors.print(f"{counted(len(config.pods), 'pod')}: {', '.join(config.pods)} ({over.kind})", highlight=False)
    with Progress(errors) as progress:
        run = described(config, over, Path(runs), progress)
    results = run.results()
    emit({**results.document(), "directory": str(run.path)}, as_json, lambda: _show(run, results))


def _show(run: "RunDirectory", results: "Results") -> None:
    show_description(results)
    out = console()
    out.say(f"results  {run.path / 'results.json'}")
    out.print(f"next     fl-app report {run.name}", soft_wrap=True, highlight=False)


def show_description(results: "Results") -> None:
    """Print the tables of a description, and what has to be said of them."""
    from server.display.description import tables, told

    out = console()
    if not results.description:
        return
    for table in tables(results.description):
        out.print(table)
    for text in (*told(results.description), *results.schema_differences):
        out.say(text)
