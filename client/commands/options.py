"""Options that several of the pod owner's commands have."""

from pathlib import Path

import click

home_option = click.option(
    "--home", type=click.Path(path_type=Path), help="Directory of keys and ledgers  [default: $FL_APP_HOME, ~/.fl-app]"
)
columns_option = click.option(
    "--columns",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A modeller's proposal for the columns of all pods: what comes of it at this one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
