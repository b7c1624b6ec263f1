"""``fl-app pod log``: what the pod has answered and refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.commands.options import home_option, json_option
from fl_app.errors import FlAppError, UsageError
from fl_app.host.echo import echo
from fl_app.system.home import LEDGER_FILE, fl_app_home, is_pod_name, pod_home
from fl_app.system.printable import one_line

if TYPE_CHECKING:
    from client.app.ledger_entries import Entry

_NAMED = 3


@click.command(epilog="Example: fl-app pod log hospital-a --json")
@click.argument("name")
@click.option(
    "--since", metavar="HEAD", help="Show only the entries after this head, which the ledger must still contain."
)
@click.option("--lines", "as_lines", is_flag=True, help="Print each entry as one line of JSON.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead of the terminal."
)
@home_option
@json_option
def log(name: str, since: str | None, as_lines: bool, output: Path | None, home: Path | None, as_json: bool) -> None:
    """Show and verify the ledger of pod NAME: every message answered or refused, pauses, and totals of what has left.

    The last head stands for all entries up to it. Note it down: --since HEAD shows later that none of them was changed
    or cut off. If an entry was tampered with, it is named and the exit code is 1.
    """
    from client.app.ledger import Ledger
    from fl_app.system.files import replace_file

    if as_lines and as_json:
        raise UsageError("give one of --json and --lines")
    if not is_pod_name(name) or not (path := pod_home(name, home) / LEDGER_FILE).exists():
        raise UsageError(f"{name}: no ledger in {home or fl_app_home()}; a pod has one after its first run")
    entries, broken = Ledger(path).read()
    shown = entries if since is None else _after(entries, since)
    if as_json:
        head = entries[-1].head.hex() if entries else ""
        summary: dict[str, Any] = {"pod": name, "verified": broken is None, "altered": broken, "head": head}
        text = json.dumps(
            {**summary, "left": _totals(shown), "entries": [entry.document() for entry in shown]}, indent=1
        )
    elif as_lines:
        text = "\n".join(json.dumps(entry.document()) for entry in shown)
    else:
        text = _table(shown, name)
    if output is None:
        echo(text)
    else:
        try:
            replace_file(output, f"{text}\n".encode(), mode=0o600)
        except OSError as error:
            raise UsageError(f"{output}: cannot be written: {error.strerror}") from error
    if broken is not None:
        raise FlAppError(
            f"the ledger was altered: entry {broken} does not follow from the one before. What is above from there on "
            "cannot be trusted; compare it with a copy, and with the heads you noted down"
        )
    echo(f"{len(entries)} entries, chain verified", err=True)


def _after(entries: Sequence["Entry"], head: str) -> Sequence["Entry"]:
    """Return the entries after the one with this head."""
    for place, entry in enumerate(entries, 1):
        if entry.head.hex() == head.strip().lower():
            return entries[place:]
    raise FlAppError(f"the ledger does not hold the head {head}: its end was cut off, or it is another ledger")


def _totals(entries: Sequence["Entry"]) -> dict[str, int]:
    """Return what has left, and what has not."""
    from client.site.ledger_totals import Totals

    totals = Totals()
    for entry in entries:
        totals.add(entry)
    return totals.document()


def _table(entries: Sequence["Entry"], name: str) -> str:
    """Return the entries one a line, then the keys in them, the totals and the last head."""
    titles = ("entry", "time (UTC)", "run", "app", "event", "step", "cohort", "bytes", "why or which")
    rows = [titles, *(_row(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    keys = {pair for entry in entries for pair in json.loads(entry.cohort).items()}
    if keys:
        lines += ["", "with pods, by their keys:", *(f"  {one_line(pod)}  {key}" for pod, key in sorted(keys))]
    left = _totals(entries)
    lines += [
        "",
        f"what has left: {left['messages']:,} messages, {left['bytes']:,} bytes; {left['runs']:,} runs, in them "
        f"{left['rounds']:,} training rounds and {left['other_steps']:,} other steps answered",
        f"besides: {left['looks']:,} looks, {left['refusals']:,} refusals, {left['failures']:,} failures",
    ]
    if paid := [entry for entry in entries if entry.event == "spent"]:
        lines.append(f"told of a row by private runs: {one_line(_spent(paid[-1]))}")
    if entries:
        head = entries[-1].head.hex()
        lines += [f"last head: {head}", f"note it down: `fl-app pod log {name} --since HEAD` finds it for ever"]
    return "\n".join(lines)


def _row(entry: "Entry") -> tuple[str, ...]:
    cohort = json.loads(entry.cohort)
    who = ", ".join(cohort) if len(cohort) <= _NAMED else f"{len(cohort)} pods"
    step = f"{entry.kind} {entry.round}" if entry.round else entry.kind
    cells = (str(entry.seq), entry.time[:19], entry.run, entry.app[:12], entry.event, step, who, f"{entry.size:,}")
    which = _spent(entry) if entry.event == "spent" else entry.detail[:16]
    return tuple(one_line(cell) for cell in (*cells, entry.why or which))


def _spent(entry: "Entry") -> str:
    from client.site.budget_report import entry_text

    return entry_text(entry)
