"""``fl-app pod keygen``, ``approve`` and ``known``: a pod's own key, and those of others."""

import json
from pathlib import Path

import click

from client.commands.options import home_option, json_option
from fl_app.errors import UsageError
from fl_app.home import pod_home


@click.command(epilog="Example: fl-app pod keygen hospital-a > hospital-a.pub")
@click.argument("name")
@home_option
@json_option
def keygen(name: str, home: Path | None, as_json: bool) -> None:
    """Make the identity key of pod NAME, if it has none, and print its public key for other owners."""
    from fl_app.keys import keygen as make
    from fl_app.keys import public_line

    identity = make(name, home)
    document = {"name": name, "key": public_line(name, identity.public_bytes), "fingerprint": identity.fingerprint}
    click.echo(json.dumps(document, indent=1) if as_json else document["key"])
    if not as_json:
        click.echo(f"fingerprint {identity.fingerprint}; the private key stays in {pod_home(name, home)}", err=True)


@click.command(epilog="Example: fl-app pod approve hospital-b hospital-b.pub")
@click.argument("name")
@click.argument("keyfile", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@home_option
def approve(name: str, keyfile: Path, home: Path | None) -> None:
    """Enter the public key of pod NAME, as its owner has sent it in KEYFILE, in the list of known pods."""
    from fl_app.keys import Keyring, known_pods

    sent = Keyring.load(keyfile).get(name)
    if sent is None:
        raise UsageError(f"{keyfile}: holds no line `{name} ed25519 BASE64`; its owner prints it with `pod keygen`")
    Keyring.load(known_pods(home)).add(name, sent)
    from fl_app.secagg.identity import fingerprint

    click.echo(f"{name} is known by {fingerprint(sent)}; approved_pods in the pod file says who may work with it")


@click.command(epilog="Example: fl-app pod known")
@home_option
@json_option
def known(home: Path | None, as_json: bool) -> None:
    """List the pods whose public keys this owner knows."""
    from fl_app.keys import Keyring, known_pods
    from fl_app.secagg.identity import fingerprint

    found = [{"name": name, "fingerprint": fingerprint(key)} for name, key in Keyring.load(known_pods(home)).items()]
    click.echo(json.dumps(found, indent=1) if as_json else "\n".join(f"{e['name']}  {e['fingerprint']}" for e in found))
