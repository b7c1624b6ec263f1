"""``fl-app superlink``: serve and administer the SuperLink that ``fl-app provision`` has made."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fl_app.host.echo import echo
from server.commands.output import emit, json_option

if TYPE_CHECKING:
    from fl_app.host.card import Role
    from server.superlink.directory import SuperLinkDirectory


@dataclass(frozen=True)
class Party:
    """A registered party, as ``show`` prints it; ``last_seen`` is in ISO 8601."""

    name: str
    role: "Role"
    fingerprint: str
    last_seen: str | None


@dataclass(frozen=True)
class Status:
    """What ``show`` prints, and its JSON document."""

    superlink: str
    name: str
    serves: bool
    certificate_days: int
    registered: list[Party]
    damaged: list[str]


_directory = click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group(epilog="Example: fl-app superlink run superlink")
def superlink() -> None:
    """Serve and administer a federation's SuperLink, which `fl-app provision` makes."""


@superlink.command(epilog="Example: fl-app superlink run superlink")
@_directory
def run(directory: Path) -> None:
    """Serve the SuperLink in DIR until you stop it (Ctrl-C or SIGTERM)."""
    from server.superlink.directory import SuperLinkDirectory

    serve(SuperLinkDirectory(directory))


def serve(directory: "SuperLinkDirectory") -> None:
    """List the registered parties and serve the SuperLink of ``directory`` until SIGINT or SIGTERM.

    Raises
    ------
    RunFailed
        If it does not start, or ends of its own accord.
    """
    from fl_app.errors import RunFailed
    from fl_app.host.signals import until_interrupted
    from server.superlink.certificates import RENEW_DAYS
    from server.superlink.serve import LOG, serving

    for name in directory.registry.damaged():
        echo(f"registered/{name}.card is not a valid card and registers nobody", err=True)
    if (left := directory.days_left()) < RENEW_DAYS:
        echo(
            f"the certificate expires in {left} days; renew it with `fl-app superlink renew {directory.path}`", err=True
        )
    with until_interrupted(), serving(directory) as wait:
        for role in ("pod", "modeller"):
            names = sorted(name for name, card in directory.registry.cards.items() if card.role == role)
            echo(f"registered {role}s: {', '.join(names) or 'none'}")
        echo(f"SuperLink serves {directory.address}")
        code = wait()
        raise RunFailed(f"the SuperLink ended with exit code {code}; see {directory.path / LOG}")


@superlink.command(epilog="Example: fl-app superlink show superlink --json")
@_directory
@json_option
def show(directory: Path, as_json: bool) -> None:
    """Show the parties registered in DIR, with their fingerprints and when each was last seen."""
    from server.superlink.directory import SuperLinkDirectory
    from server.superlink.last_seen import LastSeen
    from server.superlink.serve import answers

    operated = SuperLinkDirectory(directory)
    last_seen = LastSeen(operated.path / "seen").times()
    parties = [
        Party(
            name,
            card.role,
            card.fingerprint,
            datetime.fromtimestamp(last_seen[name], UTC).isoformat("T", "seconds") if name in last_seen else None,
        )
        for name, card in sorted(operated.registry.cards.items())
    ]
    status = Status(
        superlink=operated.address,
        name=operated.federation.name,
        serves=answers(operated),
        certificate_days=operated.days_left(),
        registered=parties,
        damaged=operated.registry.damaged(),
    )
    emit(asdict(status), as_json, lambda: _show(status))


@superlink.command(epilog="Example: fl-app superlink status superlink")
@_directory
def status(directory: Path) -> None:
    """Check whether the SuperLink in DIR serves on this machine; the exit code is 1 if it does not."""
    from server.superlink.directory import SuperLinkDirectory
    from server.superlink.serve import answers

    operated = SuperLinkDirectory(directory)
    serves = answers(operated)
    echo(f"SuperLink {operated.address} {'serves' if serves else 'does not answer on this machine'}")
    raise SystemExit(0 if serves else 1)


@superlink.command(epilog="Example: fl-app superlink revoke superlink hospital-b")
@_directory
@click.argument("name")
@json_option
def revoke(directory: Path, name: str, as_json: bool) -> None:
    """Revoke the registration of NAME in DIR. It takes effect at once, and a modeller's runs are stopped.

    The revoked keys are never accepted again. NAME itself may be registered again with new keys, after a loss for
    example: use `fl-app provision`.
    """
    from server.superlink.directory import SuperLinkDirectory
    from server.superlink.serve import answers

    operated = SuperLinkDirectory(directory)
    card = operated.registry.revoke(name)
    operated.write_join_file()
    answers(operated)  # any request makes the SuperLink look at its register, and refuse whoever waits for a message
    document = {"name": name, "role": card.role, "fingerprint": card.fingerprint}
    emit(document, as_json, lambda: echo(f"revoked {card.role} {name} and its key {card.fingerprint}"))


@superlink.command(epilog="Example: fl-app superlink renew superlink")
@_directory
@json_option
def renew(directory: Path, as_json: bool) -> None:
    """Make a new certificate for the SuperLink in DIR, before or after the old one has expired.

    The same authority signs it, so nobody needs a new join file. Restart the SuperLink to use it.
    """
    from server.superlink.directory import SuperLinkDirectory

    days = SuperLinkDirectory(directory).renew()
    message = f"the new certificate is valid for {days} days; restart the SuperLink to use it"
    emit({"certificate_days": days}, as_json, lambda: echo(message))


def _show(status: Status) -> None:
    state = "serves" if status.serves else "does not answer on this machine"
    echo(
        f"SuperLink {status.superlink} of federation '{status.name}' {state}; "
        f"its certificate is valid for {status.certificate_days} days"
    )
    for party in status.registered:
        seen = f"last seen {party.last_seen}" if party.last_seen else "not seen yet"
        echo(f"{party.role:8} {party.name}  {party.fingerprint}  {seen}")
    for name in status.damaged:
        echo(f"registered/{name}.card is not a valid card and registers nobody", err=True)
