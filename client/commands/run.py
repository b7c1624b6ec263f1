"""``fl-app pod run``."""

from pathlib import Path

import click

from client.commands.options import home_option
from fl_app.errors import UsageError
from fl_app.host.echo import echo

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog="Example: fl-app pod run hospital-a.yaml --federation federation.toml --approve hospital-b.card")
@click.argument("file", type=_file)
@click.option(
    "--federation",
    metavar="FILE",
    help="The operator's join file, or a federation in fl-app.toml  [default: $FL_APP_FEDERATION, fl-app.toml]",
)
@click.option(
    "--approve",
    "cards",
    multiple=True,
    type=_file,
    metavar="CARD",
    help="Approve the pod of this card first; repeatable.",
)
@click.option("--superlink", metavar="HOST:PORT", help="Connect to this SuperLink instead of the federation's.")
@click.option("--insecure", is_flag=True, help="Connect without TLS; only to a SuperLink on this machine.")
@click.option(
    "--root-certificates",
    type=_file,
    metavar="PEM",
    help="Certificates that --superlink's certificate is checked against.",
)
@home_option
def run(
    file: Path,
    federation: str | None,
    cards: tuple[Path, ...],
    superlink: str | None,
    insecure: bool,
    root_certificates: Path | None,
    home: Path | None,
) -> None:
    """Serve the pod in FILE until it is stopped.

    --approve is `fl-app pod approve NAME CARD --pod FILE`: compare the fingerprint with the other owner first.
    """
    from client.site.pod_approval import approve
    from client.site.serve_pod import start
    from fl_app.federation.address import checked_address, is_loopback
    from fl_app.host.card import Card

    if superlink is None and (insecure or root_certificates):
        raise UsageError("--insecure and --root-certificates go with --superlink; a federation says it by itself")
    if superlink is not None and federation is not None:
        raise UsageError("--federation and --superlink exclude each other")
    try:
        if superlink is not None:
            checked_address(superlink)
    except ValueError as error:
        raise UsageError(f"--superlink {superlink}: {error}") from None
    if insecure and superlink and not is_loopback(superlink):
        raise UsageError(f"--insecure is for a SuperLink on this machine, not {superlink}: give --root-certificates")
    for card in cards:
        echo(approve(Card.load(card).name, card, pod=file, home=home).text, err=True)
    start(
        file,
        superlink=superlink,
        insecure=insecure,
        root_certificates=root_certificates,
        federation=federation,
        home=home,
    )
