"""What commands print: results on standard output, everything else on standard error, JSON as one document."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fl_app.errors import RunFailed
from fl_app.host.echo import echo

if TYPE_CHECKING:
    from server.display.plain_console import PlainConsole

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
federation_option = click.option(
    "--federation",
    metavar="NAME",
    help="One in fl-app.toml, or FILE.toml#NAME.  [default: $FL_APP_FEDERATION, else fl-app.toml, else the demo]",
)
read_options_option = click.option(
    "--read-options",
    default="",
    metavar="OPTIONS",
    help='How the file is written where that cannot be seen, as in a pod file: \'sep: ";", decimal: ","\'.',
)
pods_option = click.option(
    "--pods", default="", metavar="A,B", help="Pods that train together.  [default: all of the federation]"
)
target_option = click.option("--target", help="Column to predict.  [default: the federation's test_target, or TARGET]")
ignore_option = click.option(
    "--ignore",
    metavar="A,B",
    multiple=True,
    help="Columns to leave out; may be repeated, and '\"a, b\"' names one column.",
)
columns_option = click.option(
    "--columns",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What you propose to all pods for their columns: kinds, bounds, units, spellings of missing (YAML).",
)
class_weight_option = click.option(
    "--class-weight",
    type=click.Choice(["balanced"]),
    help="Weigh rows in training so that rare classes count as much as frequent ones.",
)
threshold_option = click.option(
    "--threshold",
    default="0.5",
    show_default=True,
    type=click.Choice(["0.5", "youden", "f1"]),
    help="Score from which on a row is of the second of two classes: the best on the validation rows for balanced"
    " accuracy (youden) or F1, or 0.5.",
)
network_option = click.option(
    "--network",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The source of the model's network, where that is its modeller's own. It is run: give one that you have read.",
)
runs_option = click.option("--runs", default="runs", show_default=True, metavar="DIR", help="Directory of the runs.")


class Stopped(RunFailed):
    """What SIGINT or SIGTERM has stopped: a run, or a tuning."""

    exit_code = 130


def console(*, errors: bool = False) -> "PlainConsole":
    """Return a console that shows text as it is; off a terminal it is wide enough for a table."""
    from server.display.plain_console import PlainConsole

    made = PlainConsole(stderr=errors)
    return made if made.is_terminal else PlainConsole(stderr=errors, width=140)


def emit(document: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print ``document`` as JSON, or call ``show``."""
    if as_json:
        echo(json.dumps(document, indent=1))
    else:
        show()
