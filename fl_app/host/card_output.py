"""How a command outputs a card: to standard output or a file, with the fingerprint on standard error."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fl_app.host.echo import echo

if TYPE_CHECKING:
    from fl_app.host.card import Card


def _checked(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that must not be overwritten, before the command makes or changes anything."""
    from fl_app.host.card import check_writable

    if path:
        check_writable(path)
    return path


output_option = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_checked,
    help="Write the card to this file instead of standard output.",
)


def output_card(card: "Card", output: Path | None, as_json: bool) -> None:
    """Write the card to ``output``, if given, or print it; with ``as_json``, print its document as JSON."""
    if output:
        card.write(output)
    if as_json:
        echo(json.dumps(card.document(), indent=1))
        return
    if output:
        echo(f"wrote {output}", err=True)
    else:
        echo(card.to_text(), nl=False)
    echo(f"fingerprint {card.fingerprint}", err=True)
