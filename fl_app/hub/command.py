"""What all commands that serve a hub have: where it listens, the secret for monitoring, and what they say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fl_app.errors import UsageError
from fl_app.host.echo import echo

if TYPE_CHECKING:
    from fl_app.hub.serve import Address

Command = TypeVar("Command", bound=Callable[..., Any])
_file = click.Path(exists=True, dir_okay=False, path_type=Path)
LEAST_TOKEN = 16

port_option = click.option(
    "--port",
    default=8050,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the hub; 0 takes a free one.",
)
no_browser_option = click.option(
    "--no-browser", is_flag=True, help="Print the link that logs in to the hub, and open no browser."
)


def listening_options(command: Command) -> Command:
    """Give a command --host, --name, --port, --certificate, --key, --metrics-token and --no-browser."""
    options = (
        click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on."),
        click.option("--name", "public_name", metavar="HOST", help="The name by which browsers reach it."),
        port_option,
        click.option(
            "--certificate",
            type=_file,
            metavar="PEM",
            help="Certificate of its TLS; without one it listens on this machine only.",
        ),
        click.option("--key", type=_file, metavar="PEM", help="The certificate's key."),
        click.option(
            "--metrics-token",
            "metrics_token_",
            type=_file,
            metavar="FILE",
            help="A secret that opens /metrics and nothing else, for Prometheus.",
        ),
        no_browser_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def listening_address(
    host: str, port: int, public_name: str | None, certificate: Path | None, key: Path | None
) -> "Address":
    """Return where a hub listens by these options; `UsageError` if one of the last two is missing."""
    from fl_app.hub.serve import Address

    if bool(certificate) != bool(key):
        raise UsageError("--certificate and --key go together")
    return Address(host, port, public_name, certificate, key)


def metrics_token(path: Path | None) -> str | None:
    """Return the secret in a file.

    Raises
    ------
    UsageError
        If it cannot be read, is shorter than `LEAST_TOKEN` characters, or more than one word of ASCII.
    """
    if path is None:
        return None
    try:
        token = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--metrics-token {path}: cannot be read: {error}") from error
    if len(token) < LEAST_TOKEN or len(token.split()) != 1:
        raise UsageError(
            f"--metrics-token {path}: expected one line of at least {LEAST_TOKEN} characters without spaces, "
            "as `openssl rand -hex 32` makes"
        )
    return token


def say(origin: str, link: str, *, browser: bool, as_json: bool = False) -> None:
    """Open the browser, and say where the hub is; print the link where no browser was opened."""
    from urllib.parse import urlsplit

    from fl_app.hub.serve import open_browser

    opened = browser and open_browser(link, urlsplit(origin).port or 0)
    if as_json:
        echo(json.dumps({"hub": origin, "link": link, "browser": opened}))
        return
    echo(f"hub      {origin}")
    if not opened:
        echo(f"open     {link}  (good once, for 5 minutes)")
