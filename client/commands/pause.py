"""``fl-app pod pause`` and ``resume``."""

from pathlib import Path

import click

from client.commands.options import home_option
from fl_app.errors import UsageError
from fl_app.host.echo import echo
from fl_app.system.home import PAUSED_FILE, fl_app_home, pod_home


@click.command(epilog="Example: fl-app pod pause hospital-a")
@click.argument("name")
@home_option
def pause(name: str, home: Path | None) -> None:
    """Stop pod NAME from answering until it is resumed; open sessions end."""
    file = _file(name, home)
    try:
        file.touch(mode=0o600)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from error
    echo(f"{name} is paused: it refuses every message until `fl-app pod resume {name}`")


@click.command(epilog="Example: fl-app pod resume hospital-a")
@click.argument("name")
@home_option
def resume(name: str, home: Path | None) -> None:
    """Let pod NAME answer again. Runs that started before the pause open a new session."""
    file = _file(name, home)
    if not file.exists():
        echo(f"{name} was not paused")
        return
    try:
        file.unlink()
    except OSError as error:
        raise UsageError(f"{file}: cannot be removed: {error.strerror}") from error
    echo(f"{name} answers again")


def _file(name: str, home: Path | None) -> Path:
    directory = pod_home(name, home)
    if not directory.is_dir():
        raise UsageError(f"{name}: no such pod in {home or fl_app_home()}; `fl-app pod keygen {name}` makes its key")
    return directory / PAUSED_FILE
