"""``fl-app modeller``: the modeller's own key and card."""

from pathlib import Path

import click

from fl_app.host.card_output import output_card, output_option
from fl_app.host.echo import echo
from server.commands.output import json_option

home_option = click.option(
    "--home", type=click.Path(path_type=Path), help="Directory of your keys  [default: $FL_APP_HOME, ~/.fl-app]"
)


@click.group(epilog="Example: fl-app modeller keygen ada -o ada.card")
def modeller() -> None:
    """Make the modeller's key and print its card, by which a federation's operator registers who may start runs."""


@modeller.command(epilog="Example: fl-app modeller keygen ada -o ada.card")
@click.argument("name")
@output_option
@home_option
@json_option
def keygen(name: str, output: Path | None, home: Path | None, as_json: bool) -> None:
    """Make the key of the modeller NAME, unless there is one, and print its card for the operator."""
    from fl_app.host.party_keys import modeller_card, modeller_home

    output_card(modeller_card(name, home), output, as_json)
    if not as_json:
        echo(f"the private key stays in {modeller_home(home)}", err=True)


@modeller.command(epilog="Example: fl-app modeller card -o ada.card")
@output_option
@home_option
@json_option
def card(output: Path | None, home: Path | None, as_json: bool) -> None:
    """Print the modeller's card again."""
    from fl_app.host.party_keys import modeller_card

    output_card(modeller_card(None, home), output, as_json)


@modeller.command(epilog="Example: fl-app modeller rotate -o ada.card")
@output_option
@home_option
@json_option
def rotate(output: Path | None, home: Path | None, as_json: bool) -> None:
    """Make a new key for the modeller and print the new card, which the old key has signed too.

    The old key is kept beside the new one, with the time in its name. Delete it once the operator has registered the
    new card.
    """
    from fl_app.host.rotation import rotate_modeller

    output_card(rotate_modeller(home), output, as_json)
    if not as_json:
        echo("send the card to the operator; you cannot start runs until it is registered", err=True)
