"""Options that several of the pod owner's commands have."""

from pathlib import Path

import click

home_option = click.option(
    "--home", type=click.Path(path_type=Path), help="Directory of keys and ledgers  [default: $FL_APP_HOME, ~/.fl-app]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
