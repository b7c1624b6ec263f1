"""``fl-app pod status``: whether a pod is online, and its budget, for people and for health checks."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from client.commands.options import home_option, json_option
from fl_app.host.echo import echo


@click.command(epilog="Example: fl-app pod status hospital-a")
@click.argument("name")
@click.option(
    "--pod",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The pod's file, for the privacy budget  [default: the one it was last run with]",
)
@home_option
@json_option
def status(name: str, file: Path | None, home: Path | None, as_json: bool) -> None:
    """Show whether pod NAME is online or paused, and its privacy budget; the exit code is 1 unless it is online."""
    from client.site.budget_report import budget_report
    from client.site.own_pod import existing_home
    from client.site.pausing import is_paused
    from client.site.serving import serves

    existing_home(name, home)
    online, paused = serves(name, home), is_paused(name, home)
    message = f"pod {name} is {'online' if online else 'not online'}{', and paused by its owner' if paused else ''}"
    privacy = budget_report(name, home, file)
    document = {"name": name, "online": online, "paused": paused, "privacy": asdict(privacy)}
    echo(json.dumps(document, indent=1) if as_json else f"{message}\n{privacy.text()}")
    raise SystemExit(0 if online else 1)
