"""``fl-app provision``."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fl_app.host.echo import echo
from server.commands.output import emit, json_option

if TYPE_CHECKING:
    from fl_app.host.card import Card, Role
    from server.superlink.registry import Registry


@dataclass(frozen=True)
class Registered:
    """A registered party; ``changed`` if this call has registered it or replaced its card."""

    name: str
    role: "Role"
    fingerprint: str
    changed: bool


@dataclass(frozen=True)
class Provisioned:
    """What the command prints, and its JSON document."""

    superlink: str
    name: str
    join_file: str
    certificate_days: int
    registered: list[Registered]


@click.command(epilog="Example: fl-app provision 192.0.2.7:8123 hospital-a.card hospital-b.card --run")
@click.argument("address", metavar="HOST:PORT")
@click.argument("cards", nargs=-1, metavar="[CARD]...", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--directory",
    default="superlink",
    show_default=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the certificates, the register and the join file are kept.",
)
@click.option("--name", help="Name of the federation in the join file.  [default: shared]")
@click.option("--run", "serve", is_flag=True, help="Serve the SuperLink afterwards, as `fl-app superlink run` does.")
@click.option("--no-modeller", is_flag=True, help="Do not register yourself as a modeller.")
@json_option
def provision(
    address: str,
    cards: tuple[Path, ...],
    directory: Path,
    name: str | None,
    serve: bool,
    no_modeller: bool,
    as_json: bool,
) -> None:
    """Set up a SuperLink at HOST:PORT, or register more parties with the one in DIR.

    Each CARD is that of a pod or a modeller. Compare its fingerprint with the owner by telephone: the register decides
    who a name belongs to. Run the command again to add cards; a card that the owner's old key has signed replaces the
    old card. Send the join file to all parties.
    """
    from fl_app.host.card import Card
    from server.superlink.directory import SuperLinkDirectory

    added = [Card.load(path) for path in cards]
    made = SuperLinkDirectory.provision(directory, address, name)
    if not no_modeller:
        added.append(_own_card(made.registry))
    changed = made.registry.add(added)
    made.write_join_file()
    provisioned = Provisioned(
        superlink=made.address,
        name=made.federation.name,
        join_file=str(made.join_file),
        certificate_days=made.days_left(),
        registered=[
            Registered(card.name, card.role, card.fingerprint, card.name in changed)
            for card in made.registry.cards.values()
        ],
    )
    emit(asdict(provisioned), as_json, lambda: _show(provisioned))
    if serve:
        from server.commands.superlink import serve as run

        run(made)


def _own_card(registry: "Registry") -> "Card":
    """Return the card of the modeller in this home; a key and a name are made if there are none."""
    import getpass
    import re

    from fl_app.host.party_keys import modeller_card
    from fl_app.identity.key_file import MissingKey

    with suppress(MissingKey):
        return modeller_card()
    try:
        user = re.sub(r"[^a-z0-9._-]", "-", getpass.getuser().lower()).strip("-._")[:40] or "modeller"
    except (KeyError, OSError):  # a user without a name
        user = "modeller"
    return modeller_card(f"{user}-modeller" if user in registry.cards else user)


def _show(provisioned: Provisioned) -> None:
    for party in provisioned.registered:
        mark = "  (new)" if party.changed else ""
        echo(f"{party.role:8} {party.name}  {party.fingerprint}{mark}")
    echo(
        f"send {provisioned.join_file} to all parties; "
        f"the SuperLink's certificate is valid for {provisioned.certificate_days} days"
    )
