"""``python -m benchmarks``, which ``make bench`` calls: secure aggregation beside its rivals and its limits."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks import results
from benchmarks.record import write
from benchmarks.results import Result
from fl_app.cli import main
from server.commands.output import console, emit, json_option

PROGRAM = "python -m benchmarks"
output_option = click.option(
    "--output", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write JSON, PNG and a page here."
)
_POSITIVE = click.IntRange(min=1)
_COHORT = click.IntRange(min=2)


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: python -m benchmarks --output benchmarks",
)
@output_option
@json_option
@click.pass_context
def bench(context: click.Context, output: Path | None, as_json: bool) -> None:
    """Measure secure aggregation against its rivals and its limits; without a command, all that is measured."""
    if context.invoked_subcommand is not None:
        return
    measured = {}
    for name, command in bench.commands.items():
        settings = {p.name: p.get_default(context) for p in command.params if p.name not in ("output", "as_json")}
        measured[name] = _measure(name, output, settings)
    emit({name: result.document() for name, result in measured.items()}, as_json, lambda: _show(measured))


@bench.command(epilog="Example: python -m benchmarks core --json > core.json")
@click.option("--elements", multiple=True, type=_POSITIVE, default=(10**5, 10**6, 10**7), show_default=True)
@click.option("--pods", multiple=True, type=_COHORT, default=(2, 10, 50), show_default=True)
@click.option("--repeats", type=_POSITIVE, default=5, show_default=True, help="Times of each; the median counts.")
@output_option
@json_option
def core(output: Path | None, as_json: bool, **settings: Any) -> None:
    """One more mask, a pod's step, the server's sum: ours, SecAgg+, scalar shares, the processor's limits."""
    _run("core", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks wire --pods 10 --json")
@click.option("--elements", type=_POSITIVE, default=10**6, show_default=True)
@click.option("--pods", multiple=True, type=_COHORT, default=(2, 10), show_default=True)
@output_option
@json_option
def wire(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Bytes per parameter of a pod's message, and bytes beside its vector."""
    _run("wire", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks memory --elements 10000000")
@click.option("--elements", type=_POSITIVE, default=10**8, show_default=True)
@click.option("--pods", multiple=True, type=_COHORT, default=(2, 10), show_default=True)
@output_option
@json_option
def memory(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Peak memory of pod and server, bytes in to bytes out, and Flower's own share."""
    _run("memory", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks serverapp --parameters 50000000")
@click.option("--parameters", type=_POSITIVE, default=10**7, show_default=True, help="Of the model, about.")
@click.option("--pods", type=_COHORT, default=2, show_default=True)
@output_option
@json_option
def serverapp(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Peak memory of the ServerApp in a real deployment: bytes for each parameter of the model."""
    _run("serverapp", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks rounds --simulation 2 --deployment 2 --rounds 3 --turns 1")
@click.option(
    "--simulation", multiple=True, type=_COHORT, default=(2, 4), show_default=True, help="Pods in simulation."
)
@click.option("--deployment", multiple=True, type=_COHORT, default=(2, 4), show_default=True, help="Pods as processes.")
@click.option("--only", type=click.Choice(["simulation", "deployment"]), help="Leave the other out.")
@click.option("--rounds", type=_POSITIVE, default=10, show_default=True, help="Rounds of each run.")
@click.option("--turns", type=_POSITIVE, default=2, show_default=True, help="How often each contender has its turn.")
@output_option
@json_option
def rounds(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Whole rounds in simulation and on loopback: ours, Flower's plain averaging, plain averaging on our polling."""
    _run("rounds", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks cohorts --pods 10 --json")
@click.option("--elements", type=_POSITIVE, default=1000, show_default=True)
@click.option("--pods", multiple=True, type=click.IntRange(min=4), default=(10, 50, 100), show_default=True)
@click.option("--rounds", type=click.IntRange(min=2), default=6, show_default=True, help="Rounds of each cohort.")
@output_option
@json_option
def cohorts(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Processor time of server and pods in whole rounds of cohorts of many pods, all in one process."""
    _run("cohorts", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks hub --runs 50 --json")
@click.option("--pods", type=_COHORT, default=100, show_default=True)
@click.option("--runs", type=_POSITIVE, default=1000, show_default=True)
@click.option("--repeats", type=_POSITIVE, default=15, show_default=True, help="Times of each; the median counts.")
@output_option
@json_option
def hub(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Pages of the hub with many pods and runs: the first time, and later ones; and the SuperLink's own part."""
    _run("hub", output, as_json, settings)


MEASURES: Mapping[str, Callable[..., Result]] = {
    "core": results.core,
    "wire": results.wire,
    "memory": results.memory,
    "serverapp": results.serverapp,
    "rounds": results.rounds,
    "cohorts": results.cohorts,
    "hub": results.hub,
}


def _run(name: str, output: Path | None, as_json: bool, settings: dict[str, Any]) -> None:
    result = _measure(name, output, settings)
    emit(result.document(), as_json, lambda: _show({name: result}))


def _measure(name: str, output: Path | None, settings: dict[str, Any]) -> Result:
    result = MEASURES[name](**settings)
    if output is not None:
        write(output, name, result)
    return result


def _show(measured: Mapping[str, Result]) -> None:
    from rich.table import Table

    out = console()
    for name, result in measured.items():
        table = Table(title=name, title_justify="left")
        for head in result.heads:
            table.add_column(head)
        for row in result.rows:
            table.add_row(*row)
        out.print(table)
        for key, value in (result.ratios or {}).items():
            out.print(f"{key:44} {value:.2f}", highlight=False)


if __name__ == "__main__":
    main(command=bench, name=PROGRAM)
