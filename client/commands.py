"""``fl-app pod``: the pod owner's commands."""

import json
from pathlib import Path
from typing import Any

import click

from fl_app.errors import UsageError
from fl_app.home import fl_app_home, is_pod_name, pod_home

home_option = click.option(
    "--home", type=click.Path(path_type=Path), help="Directory of keys and ledgers  [default: $FL_APP_HOME, ~/.fl-app]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")


@click.group()
def pod() -> None:
    """Run and look after a pod of your own."""


@pod.command(epilog="Example: fl-app pod run hospital-a.yaml --superlink 127.0.0.1:8123 --insecure")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--superlink", metavar="HOST:PORT", help="Where to connect  [default: the federation's SuperLink]")
@click.option("--insecure", is_flag=True, help="Without TLS; only to a SuperLink on this machine.")
@click.option("--root-certificates", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PEM")
@home_option
def run(file: Path, superlink: str | None, insecure: bool, root_certificates: Path | None, home: Path | None) -> None:
    """Serve the pod written in FILE until it is stopped."""
    from client.run import start
    from fl_app.federation import is_loopback

    if insecure and superlink and not is_loopback(superlink):
        raise UsageError(f"--insecure is for a SuperLink on this machine, not {superlink}: give --root-certificates")
    start(file, superlink=superlink, insecure=insecure, root_certificates=root_certificates, home=home)


@pod.command(epilog="Example: fl-app pod keygen hospital-a > hospital-a.pub")
@click.argument("name")
@home_option
@json_option
def keygen(name: str, home: Path | None, as_json: bool) -> None:
    """Make the identity key of pod NAME, if it has none, and print its public key for other owners."""
    from client.keys import keygen as make
    from client.keys import public_line

    identity = make(name, home)
    document = {"name": name, "key": public_line(name, identity.public_bytes), "fingerprint": identity.fingerprint}
    click.echo(json.dumps(document, indent=1) if as_json else document["key"])
    if not as_json:
        click.echo(f"fingerprint {identity.fingerprint}; the private key stays in {pod_home(name, home)}", err=True)


@pod.command(epilog="Example: fl-app pod approve hospital-b hospital-b.pub")
@click.argument("name")
@click.argument("keyfile", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@home_option
def approve(name: str, keyfile: Path, home: Path | None) -> None:
    """Enter the public key of pod NAME, as its owner has sent it in KEYFILE, in the list of known pods."""
    from client.keys import Keyring, known_pods

    sent = Keyring.load(keyfile).get(name)
    if sent is None:
        raise UsageError(f"{keyfile}: holds no line `{name} ed25519 BASE64`; its owner prints it with `pod keygen`")
    Keyring.load(known_pods(home)).add(name, sent)
    from fl_app.secagg.identity import fingerprint

    click.echo(f"{name} is known by {fingerprint(sent)}; approved_pods in the pod file says who may work with it")


@pod.command(epilog="Example: fl-app pod known")
@home_option
@json_option
def known(home: Path | None, as_json: bool) -> None:
    """List the pods whose public keys this owner knows."""
    from client.keys import Keyring, known_pods
    from fl_app.secagg.identity import fingerprint

    found = [{"name": name, "fingerprint": fingerprint(key)} for name, key in Keyring.load(known_pods(home)).items()]
    click.echo(json.dumps(found, indent=1) if as_json else "\n".join(f"{e['name']}  {e['fingerprint']}" for e in found))


@pod.command(epilog="Example: fl-app pod log hospital-a --json")
@click.argument("name")
@home_option
@json_option
def log(name: str, home: Path | None, as_json: bool) -> None:
    """Show and verify the ledger of pod NAME: every session, answer and refusal."""
    from client.ledger import Ledger

    if not is_pod_name(name) or not (path := pod_home(name, home) / "ledger.db").exists():
        raise UsageError(f"{name}: no ledger in {home or fl_app_home()}; a pod has one after its first run")
    entries: list[dict[str, Any]] = [{**vars(entry), "head": entry.head.hex()} for entry in Ledger(path).entries()]
    if as_json:
        click.echo(json.dumps(entries, indent=1))
        return
    for entry in entries:
        step = f"{entry['kind']} {entry['round']}" if entry["event"] == "answer" else entry["kind"][:24]
        detail = entry["detail"] if entry["event"] == "refusal" else entry["detail"][:16]
        click.echo(f"{entry['seq']:>6}  {entry['time'][:19]}  run {entry['run']}  {entry['event']:<9} {step}  {detail}")
    click.echo(f"{len(entries)} entries, chain verified", err=True)


@pod.command(epilog="Example: fl-app pod check hospital-a.yaml")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@home_option
@json_option
def check(file: Path, home: Path | None, as_json: bool) -> None:
    """Look at a pod before it goes online: file, table, schema, keys, approvals."""
    from client.keys import Identity, Keyring, known_pods
    from client.table import PodTable
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
