"""``fl-app provision``."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.commands.output import emit, json_option

if TYPE_CHECKING:
    from fl_app.identity.card import Card
    from server.superlink.registry import Registry


@click.command(epilog="Example: fl-app provision 192.0.2.7:8123 hospital-a.card hospital-b.card --run")
@click.argument("address", metavar="HOST:PORT")
@click.argument("cards", nargs=-1, metavar="[CARD]...", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--directory",
    default="superlink",
    show_default=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where certificates, register and join file are kept.",
)
@click.option("--name", help="Name of the federation in the join file  [default: shared]")
@click.option("--run", "serve", is_flag=True, help="Then serve the SuperLink, as `fl-app superlink run` does.")
@click.option("--no-modeller", is_flag=True, help="Do not register whoever runs this as a modeller.")
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
    """Make ready a SuperLink at HOST:PORT, or register more parties with the one that DIR holds.

    Each CARD is a pod's or a modeller's. Compare its fingerprint with the owner by telephone: the register says who a
    name is. Called again, it adds cards; a card that an owner's old key has signed replaces the old one. Hand the join
    file out to all of them.
    """
    from fl_app.identity.card import Card
    from server.superlink.directory import SuperLinkDirectory

    read = [Card.load(path) for path in cards]
    made = SuperLinkDirectory.provision(directory, address, name)
    if not no_modeller:
        read.append(_own_card(made.registry))
    changed = made.registry.add(read)
    made.write_join_file()
    registered = [_described(card, card.name in changed) for card in made.registry.cards.values()]
    document = {
        "superlink": made.address,
        "name": made.federation.name,
        "join_file": str(made.join_file),
        "certificate_days": made.days_left(),
        "registered": registered,
    }
    emit(document, as_json, lambda: _show(document))
    if serve:
        from server.commands.superlink import serve as run

        run(made)


def _own_card(registry: "Registry") -> "Card":
    """Return the card of the modeller in this home, with a key and a name made for him if he has none."""
    import getpass
    import re

    from fl_app.identity.keys import MissingKey, modeller_card

    with suppress(MissingKey):
        return modeller_card()
    try:
        user = re.sub(r"[^a-z0-9._-]", "-", getpass.getuser().lower()).strip("-._")[:40] or "modeller"
    except (KeyError, OSError):  # a user without a name
        user = "modeller"
    return modeller_card(f"{user}-modeller" if user in registry.cards else user)


def _described(card: "Card", changed: bool) -> dict[str, Any]:
    return {"name": card.name, "role": card.role, "fingerprint": card.fingerprint, "changed": changed}


def _show(document: dict[str, Any]) -> None:
    for party in document["registered"]:
        mark = "  (new)" if party["changed"] else ""
        click.echo(f"{party['role']:8} {party['name']}  {party['fingerprint']}{mark}")
    click.echo(
        f"hand out {document['join_file']}; the SuperLink's certificate is good for {document['certificate_days']} days"
    )
