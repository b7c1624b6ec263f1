"""How every command prints: what other parties have written is shown, and does nothing."""

import click

from fl_app.system.printable import printable


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print ``text`` on standard output or standard error, whatever is in it."""
    click.echo(printable(text), err=err, nl=nl)
