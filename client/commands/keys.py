"""``fl-app pod keygen``, ``rotate``, ``approve``, ``revoke`` and ``known``: a pod's own keys, and those of others."""

import json
from pathlib import Path

import click

from client.commands.options import home_option, json_option
from fl_app.host.card_output import output_card, output_option
from fl_app.host.echo import echo
from fl_app.system.home import pod_home


@click.command(epilog="Example: fl-app pod keygen hospital-a -o hospital-a.card")
@click.argument("name")
@output_option
@home_option
@json_option
def keygen(name: str, output: Path | None, home: Path | None, as_json: bool) -> None:
    """Create keys for pod NAME, if it has none, and print its card for the operator and the other owners."""
    from fl_app.host.party_keys import pod_card

    output_card(pod_card(name, home), output, as_json)
    if not as_json:
        echo(f"the private keys stay in {pod_home(name, home)}", err=True)


@click.command(epilog="Example: fl-app pod rotate hospital-a -o hospital-a.card")
@click.argument("name")
@output_option
@home_option
@json_option
def rotate(name: str, output: Path | None, home: Path | None, as_json: bool) -> None:
    """Replace the keys of pod NAME and print its new card, which the old key has signed too.

    The old keys stay next to the new ones, with the time in their names. Delete them once everyone has the new card.
    """
    from fl_app.host.rotation import rotate_pod

    output_card(rotate_pod(name, home), output, as_json)
    if not as_json:
        echo(
            f"send the card to the operator, and to the other owners, who approve it with `fl-app pod approve {name} "
            "FILE`; then restart the pod. Until they have it, the pod is refused",
            err=True,
        )


@click.command(epilog="Example: fl-app pod approve hospital-b hospital-b.card --pod hospital-a.yaml")
@click.argument("name")
@click.argument("keyfile", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--pod",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your pod file (YAML): also add NAME to its approved_pods.",
)
@click.option(
    "--replace", is_flag=True, help="Accept a key that the known one has not signed, for example after a loss."
)
@home_option
@json_option
def approve(name: str, keyfile: Path, pod: Path | None, replace: bool, home: Path | None, as_json: bool) -> None:
    """Add the key of pod NAME, sent by its owner in KEYFILE, to the list of known pods.

    KEYFILE is the pod's card. Compare its fingerprint with the owner by telephone. A new key signed by the known one
    is a rotation and is accepted; any other key needs --replace.
    """
    from client.site.pod_approval import approve as approve_pod
    from fl_app.secagg.crypto import fingerprint

    approval = approve_pod(name, keyfile, pod=pod, home=home, replace=replace)
    if as_json:
        before = fingerprint(approval.before) if approval.before else None
        document = {
            "name": name,
            "fingerprint": fingerprint(approval.key),
            "outcome": approval.outcome,
            "before": before,
        }
        echo(json.dumps({**document, "entered": approval.entered}, indent=1))
        return
    echo(approval.text)
    if pod is None:
        echo("approved_pods in the pod file says who may work with it")
    else:
        echo(f"{pod}: {name} {'entered in' if approval.entered else 'was in'} approved_pods")


@click.command(epilog="Example: fl-app pod revoke hospital-b")
@click.argument("name")
@home_option
@json_option
def revoke(name: str, home: Path | None, as_json: bool) -> None:
    """Remove pod NAME from the list of known pods: your pods answer no more messages in sessions with it."""
    from fl_app.errors import UsageError
    from fl_app.identity.key_file import KEY_FILE
    from fl_app.identity.known_pods import Keyring, known_pods
    from fl_app.secagg.crypto import fingerprint

    if (pod_home(name, home) / KEY_FILE).exists():
        raise UsageError(
            f"'{name}' is a pod of your own, and knows itself; to stop another of your pods from working with it, "
            f"take it out of that pod's approved_pods, and to give it new keys, `fl-app pod rotate {name}`"
        )
    gone = fingerprint(Keyring.load(known_pods(home)).remove(name))
    if as_json:
        echo(json.dumps({"name": name, "fingerprint": gone}, indent=1))
    else:
        echo(f"{name} is no longer known (it was by {gone}); `fl-app pod approve {name} FILE` takes it back")


@click.command(epilog="Example: fl-app pod known")
@home_option
@json_option
def known(home: Path | None, as_json: bool) -> None:
    """List the known pods and the fingerprints of their keys."""
    from fl_app.identity.known_pods import Keyring, known_pods
    from fl_app.secagg.crypto import fingerprint

    pods = [{"name": name, "fingerprint": fingerprint(key)} for name, key in Keyring.load(known_pods(home)).items()]
    if as_json:
        echo(json.dumps(pods, indent=1))
    for pod in () if as_json else pods:
        echo(f"{pod['name']}  {pod['fingerprint']}")
    if not pods:
        echo("no pod is known here yet: `fl-app pod approve NAME CARD` enters one", err=True)
