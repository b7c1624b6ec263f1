"""``fl-app superlink``: serve and look after the SuperLink that ``fl-app provision`` has made."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.commands.output import emit, json_option

if TYPE_CHECKING:
    from server.superlink.directory import SuperLinkDirectory

_directory = click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group(epilog="Example: fl-app superlink run superlink")
def superlink() -> None:
    """Serve and look after a federation's SuperLink, which `fl-app provision` makes."""


@superlink.command(epilog="Example: fl-app superlink run superlink")
@_directory
def run(directory: Path) -> None:
    """Serve the SuperLink in DIR until this is stopped."""
    from server.superlink.directory import SuperLinkDirectory

    serve(SuperLinkDirectory(directory))


def serve(directory: "SuperLinkDirectory") -> None:
    """Serve the SuperLink of ``directory`` until this process is stopped, and say who is registered.

    Raises
    ------
    RunFailed
        If it does not start, or ends by itself.
    """
    from fl_app.errors import RunFailed
    from fl_app.host.signals import until_interrupted
    from server.superlink.certificates import RENEW_DAYS
    from server.superlink.serve import LOG, serving

    for name in directory.registry.damaged():
        click.echo(f"{name}.card among the registered cards is none: nobody is registered by it", err=True)
    if (left := directory.days_left()) < RENEW_DAYS:
        click.echo(f"the certificate ends in {left} days: `fl-app superlink renew {directory.path}`", err=True)
    with until_interrupted(), serving(directory) as wait:
        for role in ("pod", "modeller"):
            names = sorted(name for name, card in directory.registry.cards.items() if card.role == role)
            click.echo(f"registered {role}s: {', '.join(names) or 'none'}")
        click.echo(f"SuperLink serves {directory.address}")
        code = wait()
        raise RunFailed(f"the SuperLink ended with exit code {code}; {directory.path / LOG} says why")


@superlink.command(epilog="Example: fl-app superlink show superlink --json")
@_directory
@json_option
def show(directory: Path, as_json: bool) -> None:
    """Show who is registered in DIR, with fingerprints, and who was served when."""
    from server.superlink.directory import SuperLinkDirectory
    from server.superlink.gate import Seen
    from server.superlink.serve import answers

    found = SuperLinkDirectory(directory)
    seen = Seen(found.path / "seen").times()
    document = {
        "superlink": found.address,
        "name": found.federation.name,
        "serves": answers(found),
        "certificate_days": found.days_left(),
        "registered": [
            {
                "name": name,
                "role": card.role,
                "fingerprint": card.fingerprint,
                "last_seen": datetime.fromtimestamp(seen[name], UTC).isoformat("T", "seconds")
                if name in seen
                else None,
            }
            for name, card in sorted(found.registry.cards.items())
        ],
        "damaged": found.registry.damaged(),
    }
    emit(document, as_json, lambda: _show(document))


@superlink.command(epilog="Example: fl-app superlink status superlink")
@_directory
def status(directory: Path) -> None:
    """Say whether the SuperLink in DIR serves on this machine; the exit code is 1 unless it does."""
    from server.superlink.directory import SuperLinkDirectory
    from server.superlink.serve import answers

    found = SuperLinkDirectory(directory)
    serves = answers(found)
    click.echo(f"SuperLink {found.address} {'serves' if serves else 'does not answer on this machine'}")
    raise SystemExit(0 if serves else 1)


@superlink.command(epilog="Example: fl-app superlink revoke superlink hospital-b")
@_directory
@click.argument("name")
@json_option
def revoke(directory: Path, name: str, as_json: bool) -> None:
    """Take NAME off the register of DIR, at once and its keys for ever; runs that a modeller has started end.

    The name is free for a card with new keys, as after a loss: `fl-app provision` registers it.
    """
    from server.superlink.directory import SuperLinkDirectory

    found = SuperLinkDirectory(directory)
    card = found.registry.revoke(name)
    found.write_join_file()
    document = {"name": name, "role": card.role, "fingerprint": card.fingerprint}
    emit(document, as_json, lambda: click.echo(f"{card.role} {name} is revoked, and so is its key {card.fingerprint}"))


@superlink.command(epilog="Example: fl-app superlink renew superlink")
@_directory
@json_option
def renew(directory: Path, as_json: bool) -> None:
    """Make a new certificate for the SuperLink of DIR, before or after the old one has expired.

    It is signed by the same authority, so nobody needs a new join file; restart the SuperLink to show it.
    """
    from server.superlink.directory import SuperLinkDirectory

    days = SuperLinkDirectory(directory).renew()
    said = f"the new certificate is good for {days} days; start the SuperLink again to show it"
    emit({"certificate_days": days}, as_json, lambda: click.echo(said))


def _show(document: dict[str, Any]) -> None:
    state = "serves" if document["serves"] else "does not answer on this machine"
    click.echo(
        f"SuperLink {document['superlink']} of federation '{document['name']}' {state}; "
        f"its certificate is good for {document['certificate_days']} days"
    )
    for party in document["registered"]:
        seen = f"last seen {party['last_seen']}" if party["last_seen"] else "not seen yet"
        click.echo(f"{party['role']:8} {party['name']}  {party['fingerprint']}  {seen}")
    for name in document["damaged"]:
        click.echo(f"{name}.card is no card: nobody is registered by it", err=True)
