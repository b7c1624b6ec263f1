"""``fl-app pod pause`` and ``resume``."""

from pathlib import Path

import click

from client.commands.options import home_option
from fl_app.host.echo import echo


@click.command(epilog="Example: fl-app pod pause hospital-a")
@click.argument("name")
@home_option
def pause(name: str, home: Path | None) -> None:
    """Stop pod NAME from answering until it is resumed; open sessions end. The pod's ledger has an entry of it."""
    from client.site import pausing

    pausing.pause(name, home)
    echo(f"{name} is paused: it refuses every message until `fl-app pod resume {name}`")


@click.command(epilog="Example: fl-app pod resume hospital-a")
@click.argument("name")
@home_option
def resume(name: str, home: Path | None) -> None:
    """Let pod NAME answer again. Runs that started before the pause open a new session."""
    from client.site import pausing

    if pausing.resume(name, home):
        echo(f"{name} answers again")
    else:
        echo(f"{name} was not paused")
