"""``fl-app pod log``: what the pod has answered and refused."""

import json
from pathlib import Path
from typing import Any

import click

from client.commands.options import home_option, json_option
from fl_app.errors import UsageError
from fl_app.home import fl_app_home, is_pod_name, pod_home


@click.command(epilog="Example: fl-app pod log hospital-a --json")
@click.argument("name")
@home_option
@json_option
def log(name: str, home: Path | None, as_json: bool) -> None:
    """Show and verify the ledger of pod NAME: every session, answer and refusal."""
    from client.ledger import Ledger

    if not is_pod_name(name) or not (path := pod_home(name, home) / "ledger.db").exists():
        raise UsageError(f"{name}: no ledger in {home or fl_app_home()}; a pod has one after its first run")
    entries: list[dict[str, Any]] = [{**vars(entry), "head": entry.head.hex()} for entry in Ledger(path).entries()]
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    for entry in entries:
        step = f"{entry['kind']} {entry['round']}" if entry["event"] == "answer" else entry["kind"][:24]
        detail = entry["detail"] if entry["event"] == "refusal" else entry["detail"][:16]
        click.echo(f"{entry['seq']:>6}  {entry['time'][:19]}  run {entry['run']}  {entry['event']:<9} {step}  {detail}")
    click.echo(f"{len(entries)} entries, chain verified", err=True)
