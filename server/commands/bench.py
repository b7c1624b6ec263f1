"""``fl-app bench``."""

import click

from server.commands.output import console, emit, json_option


@click.group(invoke_without_command=True, epilog="Example: fl-app bench core --elements 1000000 --json")
@click.pass_context
def bench(context: click.Context) -> None:
    """Measure secure aggregation against its rivals and its limits."""
    if context.invoked_subcommand is None:
        context.invoke(core)


@bench.command(epilog="Example: fl-app bench core --json > core.json")
@click.option("--elements", multiple=True, type=int, default=(10**5, 10**6, 10**7), show_default=True)
@click.option("--pods", multiple=True, type=int, default=(2, 10, 50), show_default=True)
@click.option("--repeats", default=5, show_default=True, help="How often each thing is timed; the median counts.")
@json_option
def core(elements: tuple[int, ...], pods: tuple[int, ...], repeats: int, as_json: bool) -> None:
    """One more mask, a pod's step, the server's sum: ours, SecAgg+, scalar shares, the processor's limits."""
    from rich.table import Table

    from server.bench_core import as_rows, ratios
    from server.bench_core import core as measure_core

    measured = []
    errors = console(errors=True)
    for found in measure_core(tuple(sorted(elements)), pods, repeats):
        measured.append(found)
        errors.print(f"{found.what}, {found.by}, {found.pods} pods, {found.elements:.0e}: {found.median:.2f} ns")
    found_ratios = ratios(measured) if 10 in pods else {}

    def show() -> None:
        table = Table(title="nanoseconds an element: median (least to most)", title_justify="left")
        for head in ("what", "by", "pods", "elements", "ns"):
            table.add_column(head)
        for m in measured:
            spread = f"{m.median:.2f} ({m.least:.2f} to {m.most:.2f})"
            table.add_row(m.what, m.by, str(m.pods), f"{m.elements:.0e}", spread)
        out = console()
        out.print(table)
        for name, value in found_ratios.items():
            out.print(f"{name:34} {value:.2f}", highlight=False)

    emit({"ratios": found_ratios, "measured": as_rows(measured)}, as_json, show)
