"""``fl-app pod check``: a look at a pod before it goes online."""

import json
from pathlib import Path

import click

from client.commands.options import home_option, json_option
from fl_app.errors import UsageError
from fl_app.home import pod_home


@click.command(epilog="Example: fl-app pod check hospital-a.yaml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@home_option
@json_option
def check(file: Path, home: Path | None, as_json: bool) -> None:
    """Look at a pod before it goes online: file, table, schema, keys, approvals."""
    from client.table import PodTable
    from fl_app.keys import Identity, Keyring, known_pods
    from fl_app.pods import load_pod
    from fl_app.tabular.schema import Schema

    definition = load_pod(file)
    schema = Schema.from_json(PodTable.of(definition).schema())
    identity = Identity.load(pod_home(definition.name, home))
    keyring = Keyring.load(known_pods(home))
    others = [name for name in definition.approved_pods if name != definition.name]
    unknown = [name for name in others if keyring.get(name) is None]
    document = {
        "name": definition.name,
        "fingerprint": identity.fingerprint,
        "columns": {column.name: column.kind for column in schema.columns},
        "approved": [name for name in others if name not in unknown],
        "approved_without_key": unknown,
        "policy": definition.policy.model_dump(mode="json"),
    }
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo(f"pod {definition.name}, key {identity.fingerprint}")
        click.echo(f"publishes {len(schema.columns)} columns: {', '.join(schema.names)}")
        click.echo(f"approves {', '.join(document['approved']) or 'nobody'}")
    if unknown:
        raise UsageError(
            f"approved, but without a known key: {', '.join(unknown)};"
            " enter each with `fl-app pod approve NAME KEYFILE`"
        )
