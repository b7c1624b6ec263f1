"""``fl-app pod run``."""

from pathlib import Path

import click

from client.commands.options import home_option
from fl_app.errors import UsageError


@click.command(epilog="Example: fl-app pod run hospital-a.yaml --superlink 127.0.0.1:8123 --insecure")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--superlink", metavar="HOST:PORT", help="Where to connect  [default: the federation's SuperLink]")
@click.option("--insecure", is_flag=True, help="Without TLS; only to a SuperLink on this machine.")
@click.option("--root-certificates", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PEM")
@home_option
def run(file: Path, superlink: str | None, insecure: bool, root_certificates: Path | None, home: Path | None) -> None:
    """Serve the pod written in FILE until it is stopped."""
    from client.run import start
    from fl_app.federation import is_loopback

    if insecure and superlink and not is_loopback(superlink):
        raise UsageError(f"--insecure is for a SuperLink on this machine, not {superlink}: give --root-certificates")
    start(file, superlink=superlink, insecure=insecure, root_certificates=root_certificates, home=home)
