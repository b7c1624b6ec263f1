"""``fl-app pod check``: checks of a pod before it goes online."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.commands.options import columns_option, home_option, json_option
from fl_app.errors import UsageError
from fl_app.host.echo import echo

if TYPE_CHECKING:
    from fl_app.federation.kinds import DeployedFederation
    from fl_app.pod.definition import Pod


@click.command(epilog="Example: fl-app pod check hospital-a.yaml --federation federation.toml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--federation",
    metavar="FILE",
    help="The operator's join file, or a federation in fl-app.toml: also check its SuperLink.",
)
@columns_option
@home_option
@json_option
@click.pass_context
def check(
    context: click.Context, file: Path, federation: str | None, columns: Path | None, home: Path | None, as_json: bool
) -> None:
    """Check a pod before it goes online: file, table, schema, keys, approvals, app, SuperLink.

    The exit code is 1 if anything is wrong.
    """
    from client.site.checks import examine
    from fl_app.host.column_file import read_columns
    from fl_app.host.findings import Finding
    from fl_app.pod.pod_file import load_pod

    document: dict[str, Any] = {}
    spec = read_columns(columns) if columns else None
    try:
        pod = load_pod(file)
    except UsageError as error:
        findings = [Finding("pod file", False, str(error))]
    else:
        findings = [
            Finding("pod file", True, f"{file}: pod {pod.name}"),
            *examine(pod, home, _deployed(federation), spec),
        ]
        document = _document(pod, home)
    if as_json:
        echo(json.dumps({**document, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        echo("\n".join(map(str, findings)))
    if not all(finding.ok for finding in findings):
        context.exit(1)


def _deployed(federation: str | None) -> "DeployedFederation | None":
    from fl_app.federation.kinds import DeployedFederation, find_federation

    if federation is None:
        return None
    chosen = find_federation(federation, Path.cwd())
    if not isinstance(chosen, DeployedFederation):
        raise UsageError(f"the federation '{chosen.name}' is a simulation: it has no SuperLink")
    return chosen


def _document(pod: "Pod", home: Path | None) -> dict[str, Any]:
    """Return the facts about the pod that go with the findings; None where a finding explains why one is unknown."""
    from contextlib import suppress

    from client.app.pod_table import PodTable
    from fl_app.errors import FlAppError
    from fl_app.identity.key_file import Identity
    from fl_app.identity.known_pods import Keyring, known_pods
    from fl_app.system.home import ENCODED_DIRECTORY, pod_home
    from fl_app.tabular.schema import Schema

    document: dict[str, Any] = {"name": pod.name, "fingerprint": None, "columns": None}
    with suppress(FlAppError):
        document["fingerprint"] = Identity.load(pod_home(pod.name, home)).fingerprint
    with suppress(FlAppError, OSError):
        home_of_pod = pod_home(pod.name, home)
        # With keys it has a home, where the pod's first hello then finds what it publishes.
        kept = home_of_pod / ENCODED_DIRECTORY if home_of_pod.is_dir() else None
        schema = Schema.from_json(PodTable.of(pod).schema("", kept))
        document["columns"] = {column.name: column.kind for column in schema.columns}
    with suppress(FlAppError):
        keyring = Keyring.load(known_pods(home))
        others = [name for name in pod.approved_pods if name != pod.name]
        document["approved"] = [name for name in others if keyring.get(name) is not None]
        document["approved_without_key"] = [name for name in others if keyring.get(name) is None]
    return {**document, "policy": pod.policy.model_dump(mode="json")}
