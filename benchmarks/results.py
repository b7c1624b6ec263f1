"""One benchmark's figures, as data and as a table: each of them is measured here with its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from server.commands.output import console


@dataclass(frozen=True)
class Result:
    """What one benchmark gave.

    Attributes
    ----------
    measured : list of dict
        Every figure under its name, one entry a contender.
    heads, rows : sequences of str
        The same as a table.
    machine : dict
        See `benchmarks.measure.machine`; taken before the measurement, so that its load is not the benchmark's own.
    ratios, cpu_ratios : dict or None
        Ours against rivals or limits, within this run; None where the benchmark has none.
    plot : callable or None
        Draws the figures into a PNG file.
    """

    measured: list[dict[str, Any]]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    machine: Mapping[str, Any]
    ratios: Mapping[str, float] | None = None
    cpu_ratios: Mapping[str, float] | None = None
    plot: Callable[[Path], None] | None = None

    def document(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        ratios = {"ratios": self.ratios, "cpu_ratios": self.cpu_ratios}
        given = {key: value for key, value in ratios.items() if value is not None}
        return {**given, "machine": self.machine, "measured": self.measured}


def core(elements: Sequence[int], pods: Sequence[int], repeats: int) -> Result:
    """Time the core, see `benchmarks.core`; each figure goes to standard error as soon as it is there."""
    from benchmarks.core import core as measure
    from benchmarks.core import ratios
    from benchmarks.plot import plot_core

    before, errors, measured = machine(), console(errors=True), []
    for m in measure(sorted(elements), pods, repeats):
        measured.append(m)
        errors.print(f"{m.what}, {m.by}, {m.pods} pods, {m.elements:.0e}: {m.median:.2f} ns", highlight=False)
    rows = [[m.what, m.by, str(m.pods), f"{m.elements:.0e}", f"{m.median:.2f} ({m.least:.2f} to {m.most:.2f})",
             f"{m.cpu:.2f}"] for m in measured]  # fmt: skip
    return Result(
        [asdict(m) for m in measured],
        ["what", "by", "pods", "elements", "ns: median (least to most)", "processor ns"],
        rows,
        before,
        ratios(measured),
        ratios(measured, "cpu"),
        lambda path: plot_core(measured, path),
    )


def wire(elements: int, pods: Sequence[int]) -> Result:
    """Count the bytes of messages, see `benchmarks.wire`."""
    from benchmarks.wire import sizes

    before, measured = machine(), list(sizes(elements, pods))
    return Result(
        [asdict(size) for size in measured],
        ["who answers", "by", "pods", "bytes per parameter", "bytes beside the vector"],
        [[s.what, s.by, str(s.pods), f"{s.per_parameter:.4f}", str(s.beside)] for s in measured],
        before,
    )


def memory(elements: int, pods: Sequence[int]) -> Result:
    """Take peaks of memory, see `benchmarks.memory`."""
    from benchmarks.memory import PARTS, peak

    before, peaks = machine(), [peak(part, elements, count) for count in pods for part in PARTS]
    return Result(
        [asdict(p) for p in peaks],
        ["part", "pods", "elements", "MB", "masked vectors"],
        [[p.part, str(p.pods), f"{p.elements:.0e}", f"{p.bytes / 1e6:.0f}", f"{p.vectors:.3f}"] for p in peaks],
        before,
        {f"{p.part}_{p.pods}".replace("-", "_"): p.vectors for p in peaks},
    )


def serverapp(parameters: int, pods: int) -> Result:
    """Take the peak of a real ServerApp, see `benchmarks.serverapp`."""
    from benchmarks.serverapp import serverapp_peak

    before, peak = machine(), serverapp_peak(parameters, pods)
    return Result(
        [asdict(peak)],
        ["pods", "parameters", "MB", "MB with a tiny model", "bytes a parameter"],
        [[str(peak.pods), f"{peak.parameters:,}", f"{peak.bytes / 1e6:.0f}", f"{peak.tiny_bytes / 1e6:.0f}",
          f"{peak.per_parameter:.1f}"]],
        before,
        {"bytes_a_parameter": peak.per_parameter},
    )  # fmt: skip


def cohorts(elements: int, pods: Sequence[int], rounds: int) -> Result:
    """Time server and pods in cohorts of many pods, see `benchmarks.cohorts`."""
    from benchmarks.cohorts import work

    before, errors, measured = machine(), console(errors=True), []
    for w in work(pods, elements, rounds):
        measured.append(w)
        errors.print(f"{w.pods} pods, {w.who}, {w.what}: {w.median:.1f} ms", highlight=False)
    return Result(
        [asdict(w) for w in measured],
        ["who", "what", "pods", "elements", "processor ms: median (least to most)"],
        [[w.who, w.what, str(w.pods), f"{w.elements:.0e}", f"{w.median:.1f} ({w.least:.1f} to {w.most:.1f})"]
         for w in measured],
        before,
    )  # fmt: skip


def rounds(
    simulation: Sequence[int], deployment: Sequence[int], only: str | None, rounds: int, turns: int
) -> Result:  # fmt: skip
    """Time whole rounds, see `benchmarks.rounds`; ``only`` leaves out the other of simulation and deployment."""
    from benchmarks.plot import plot_rounds
    from benchmarks.rounds import by_contender, measure, ratios

    before, errors, runs = machine(), console(errors=True), []
    simulated, deployed = (() if only == other else pods
                           for pods, other in ((simulation, "deployment"), (deployment, "simulation")))  # fmt: skip
    for run in measure(simulated, deployed, rounds, turns):
        runs.append(run)
        errors.print(f"{run.where}, {run.pods} pods, {run.by}: {sum(run.seconds):.1f} s for {len(run.seconds)} rounds, "
                     f"{run.whole:.1f} s in all", highlight=False)  # fmt: skip
    measured = by_contender(runs)
    return Result(
        [asdict(m) for m in measured],
        ["where", "pods", "by", "rounds", "s a round: median (least to most)", "s a run"],
        [[m.where, str(m.pods), m.by, str(len(m.seconds)),
          f"{m.median:.2f} ({min(m.seconds):.2f} to {max(m.seconds):.2f})",
          ", ".join(f"{whole:.1f}" for whole in m.whole)] for m in measured],
        before,
        ratios(measured),
        plot=lambda path: plot_rounds(measured, path),
    )  # fmt: skip


def hub(pods: int, runs: int, repeats: int) -> Result:
    """Time pages of the hub with many pods and runs, see `benchmarks.hub`."""
    from benchmarks.hub import pages

    before, measured = machine(), pages(pods, runs, repeats)
    rows = [
        [m.page, str(m.pods), str(m.runs), f"{m.first:.0f}", f"{m.median:.0f} ({m.least:.0f} to {m.most:.0f})"]
        for m in measured
    ]
    heads = ["page", "pods", "runs", "ms: the first time", "later: median (least to most)"]
    return Result([asdict(m) for m in measured], heads, rows, before)
