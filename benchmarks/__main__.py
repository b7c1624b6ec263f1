"""``python -m benchmarks``, which ``make bench`` calls: secure aggregation beside its rivals and its limits."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from server.commands.output import console, emit, json_option

output_option = click.option(
    "--output", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write JSON, PNG and a page here."
)
_SOME = click.IntRange(min=1)
_PODS = click.IntRange(min=2)
Document = dict[str, Any]


@click.group(invoke_without_command=True, epilog="Example: python -m benchmarks --output benchmarks")
@output_option
@json_option
@click.pass_context
def bench(context: click.Context, output: Path | None, as_json: bool) -> None:
    """Measure secure aggregation against its rivals and its limits; without a command, all that is measured."""
    if context.invoked_subcommand is None:
        parts = {"core": core, "wire": wire, "memory": memory, "rounds": rounds}
        documents = {}
        for name, command in parts.items():
            settings = {p.name: p.get_default(context) for p in command.params if p.name not in ("output", "as_json")}
            documents[name] = MEASURES[name](**settings)
            _keep(output, name, documents[name])
        emit({name: _public(document) for name, document in documents.items()}, as_json,
             lambda: _show(documents))  # fmt: skip


@bench.command(epilog="Example: python -m benchmarks core --json > core.json")
@click.option("--elements", multiple=True, type=_SOME, default=(10**5, 10**6, 10**7), show_default=True)
@click.option("--pods", multiple=True, type=_PODS, default=(2, 10, 50), show_default=True)
@click.option("--repeats", type=_SOME, default=5, show_default=True, help="Times of each; the median counts.")
@output_option
@json_option
def core(output: Path | None, as_json: bool, **settings: Any) -> None:
    """One more mask, a pod's step, the server's sum: ours, SecAgg+, scalar shares, the processor's limits."""
    _run("core", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks wire --pods 10 --json")
@click.option("--elements", type=_SOME, default=10**6, show_default=True)
@click.option("--pods", multiple=True, type=_PODS, default=(2, 10), show_default=True)
@output_option
@json_option
def wire(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Bytes per parameter of a pod's message, and bytes beside its vector."""
    _run("wire", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks memory --elements 10000000")
@click.option("--elements", type=_SOME, default=10**8, show_default=True)
@click.option("--pods", multiple=True, type=_PODS, default=(2, 10), show_default=True)
@output_option
@json_option
def memory(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Peak memory of pod and server, bytes in to bytes out, and Flower's own share."""
    _run("memory", output, as_json, settings)


@bench.command(epilog="Example: python -m benchmarks rounds --simulation 2 --deployment 2 --rounds 3 --turns 1")
@click.option("--simulation", multiple=True, type=_PODS, default=(2, 10), show_default=True, help="Pods in simulation.")
@click.option("--deployment", multiple=True, type=_PODS, default=(2, 4), show_default=True, help="Pods as processes.")
@click.option("--only", type=click.Choice(["simulation", "deployment"]), help="Leave the other out.")
@click.option("--rounds", type=_SOME, default=10, show_default=True, help="Rounds of each run.")
@click.option("--turns", type=_SOME, default=2, show_default=True, help="How often each contender has its turn.")
@output_option
@json_option
def rounds(output: Path | None, as_json: bool, **settings: Any) -> None:
    """Whole rounds in simulation and on loopback: ours, Flower's plain averaging, plain averaging on our polling."""
    _run("rounds", output, as_json, settings)


def _run(name: str, output: Path | None, as_json: bool, settings: dict[str, Any]) -> None:
    document = MEASURES[name](**settings)
    _keep(output, name, document)
    emit(_public(document), as_json, lambda: _show({name: document}))


def _core(elements: tuple[int, ...], pods: tuple[int, ...], repeats: int) -> Document:
    from benchmarks.core import core as measure
    from benchmarks.core import ratios
    from benchmarks.measure import as_rows, machine
    from benchmarks.plot import plot_core

    errors, measured, where = console(errors=True), [], machine()
    for m in measure(sorted(elements), pods, repeats):
        measured.append(m)
        errors.print(f"{m.what}, {m.by}, {m.pods} pods, {m.elements:.0e}: {m.median:.2f} ns", highlight=False)
    rows = [[m.what, m.by, str(m.pods), f"{m.elements:.0e}", f"{m.median:.2f} ({m.least:.2f} to {m.most:.2f})",
             f"{m.cpu:.2f}"] for m in measured]  # fmt: skip
    return {
        "ratios": ratios(measured),
        "cpu_ratios": ratios(measured, "cpu"),
        "machine": where,
        "measured": as_rows(measured),
        "heads": ["what", "by", "pods", "elements", "ns: median (least to most)", "processor ns"],
        "rows": rows,
        "plot": lambda path: plot_core(measured, path),
    }


def _wire(elements: int, pods: tuple[int, ...]) -> Document:
    from dataclasses import asdict

    from benchmarks.measure import machine
    from benchmarks.wire import sizes

    found = list(sizes(elements, pods))
    return {
        "machine": machine(),
        "measured": [asdict(size) for size in found],
        "heads": ["who answers", "by", "pods", "bytes per parameter", "bytes beside the vector"],
        "rows": [[s.what, s.by, str(s.pods), f"{s.per_parameter:.4f}", str(s.beside)] for s in found],
    }


def _memory(elements: int, pods: tuple[int, ...]) -> Document:
    from dataclasses import asdict

    from benchmarks.measure import machine
    from benchmarks.memory import PARTS, peak

    where, found = machine(), [peak(part, elements, count) for count in pods for part in PARTS]
    return {
        "ratios": {f"{p.part}_{p.pods}".replace("-", "_"): p.vectors for p in found},
        "machine": where,
        "measured": [asdict(p) for p in found],
        "heads": ["part", "pods", "elements", "MB", "masked vectors"],
        "rows": [[p.part, str(p.pods), f"{p.elements:.0e}", f"{p.bytes / 1e6:.0f}", f"{p.vectors:.3f}"] for p in found],
    }


def _rounds(
    simulation: tuple[int, ...], deployment: tuple[int, ...], only: str | None, rounds: int, turns: int
) -> Document:
    from dataclasses import asdict

    from benchmarks.measure import machine
    from benchmarks.plot import plot_rounds
    from benchmarks.rounds import gather, measure, ratios

    errors, runs, where = console(errors=True), [], machine()
    simulated, deployed = (() if only == other else pods
                           for pods, other in ((simulation, "deployment"), (deployment, "simulation")))  # fmt: skip
    for run in measure(simulated, deployed, rounds, turns):
        runs.append(run)
        errors.print(f"{run[0]}, {run[1]} pods, {run[2]}: {sum(run[3]):.1f} s for {len(run[3])} rounds, "
                     f"{run[4]:.1f} s in all", highlight=False)  # fmt: skip
    found = gather(runs)
    return {
        "ratios": ratios(found),
        "machine": where,
        "measured": [asdict(m) for m in found],
        "heads": ["where", "pods", "by", "rounds", "s a round: median (least to most)", "s a run"],
        "rows": [[m.where, str(m.pods), m.by, str(len(m.seconds)),
                  f"{m.median:.2f} ({min(m.seconds):.2f} to {max(m.seconds):.2f})",
                  ", ".join(f"{whole:.1f}" for whole in m.whole)] for m in found],
        "plot": lambda path: plot_rounds(found, path),
    }  # fmt: skip


MEASURES: dict[str, Callable[..., Document]] = {"core": _core, "wire": _wire, "memory": _memory, "rounds": _rounds}


def _public(document: Document) -> Document:
    return {key: value for key, value in document.items() if key not in ("heads", "rows", "plot")}


def _keep(output: Path | None, name: str, document: Document) -> None:
    if output is None:
        return
    from benchmarks.record import write

    output.mkdir(parents=True, exist_ok=True)
    if plot := document.get("plot"):
        plot(output / f"{name}.png")
    write(output, name, {key: value for key, value in document.items() if key != "plot"})


def _show(documents: Mapping[str, Document]) -> None:
    from rich.table import Table

    out = console()
    for name, document in documents.items():
        table = Table(title=name, title_justify="left")
        for head in document["heads"]:
            table.add_column(head)
        for row in document["rows"]:
            table.add_row(*row)
        out.print(table)
        for key, value in document.get("ratios", {}).items():
            out.print(f"{key:44} {value:.2f}", highlight=False)


if __name__ == "__main__":
    bench(prog_name="python -m benchmarks")
