"""``fl-app pod keygen``, ``rotate``, ``approve``, ``revoke`` and ``known``: a pod's own keys, and those of others."""

import json
from pathlib import Path

import click

from client.commands.options import home_option, json_option
from fl_app.host.card_output import hand_out, output_option
from fl_app.system.home import pod_home


@click.command(epilog="Example: fl-app pod keygen hospital-a -o hospital-a.card")
@click.argument("name")
@output_option
@home_option
@json_option
def keygen(name: str, output: Path | None, home: Path | None, as_json: bool) -> None:
    """Make the keys of pod NAME, if it has none, and print its card, which the other owners and the operator need."""
    from fl_app.identity.keys import pod_card

    hand_out(pod_card(name, home), output, as_json)
    if not as_json:
        click.echo(f"the private keys stay in {pod_home(name, home)}", err=True)


@click.command(epilog="Example: fl-app pod rotate hospital-a -o hospital-a.card")
@click.argument("name")
@output_option
@home_option
@json_option
def rotate(name: str, output: Path | None, home: Path | None, as_json: bool) -> None:
    """Give pod NAME new keys, and print its new card, which the old key has signed too.

    The old keys are kept next to the new ones, named by the time; delete them once everyone has the new card.
    """
    from fl_app.host.rotation import rotate_pod

    hand_out(rotate_pod(name, home), output, as_json)
    if not as_json:
        click.echo(
            f"send the card to the operator and to the other owners, who enter it with `fl-app pod approve {name} "
            "FILE`, and start the pod again; until then it is refused",
            err=True,
        )


@click.command(epilog="Example: fl-app pod approve hospital-b hospital-b.card --pod hospital-a.yaml")
@click.argument("name")
@click.argument("keyfile", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--pod",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your pod file, in YAML: NAME is entered in its approved_pods as well.",
)
@click.option("--replace", is_flag=True, help="Take a key that does not follow from the known one, as after a loss.")
@home_option
@json_option
def approve(name: str, keyfile: Path, pod: Path | None, replace: bool, home: Path | None, as_json: bool) -> None:
    """Enter the key of pod NAME, as its owner has sent it in KEYFILE, in the list of known pods.

    KEYFILE is the pod's card. Compare its fingerprint with the owner by telephone. A new key that the known one has
    signed is a rotation and is taken; any other needs --replace.
    """
    from client.site.pod_approval import approve as take
    from fl_app.secagg.crypto import fingerprint

    done = take(name, keyfile, pod=pod, home=home, replace=replace)
    if as_json:
        before = fingerprint(done.before) if done.before else None
        document = {"name": name, "fingerprint": fingerprint(done.key), "outcome": done.outcome, "before": before}
        click.echo(json.dumps({**document, "entered": done.entered}, indent=1))
        return
    click.echo(done.text)
    if pod is None:
        click.echo("approved_pods in the pod file says who may work with it")
    else:
        click.echo(f"{pod}: {name} {'entered in' if done.entered else 'was in'} approved_pods")


@click.command(epilog="Example: fl-app pod revoke hospital-b")
@click.argument("name")
@home_option
@json_option
def revoke(name: str, home: Path | None, as_json: bool) -> None:
    """Take the key of pod NAME out of the list of known pods: nothing more is answered in sessions with it."""
    from fl_app.errors import UsageError
    from fl_app.identity.keys import KEY_FILE, Keyring, known_pods
    from fl_app.secagg.crypto import fingerprint

    if (pod_home(name, home) / KEY_FILE).exists():
        raise UsageError(
            f"'{name}' is a pod of your own, and knows itself; to stop another of your pods from working with it, "
            f"take it out of that pod's approved_pods, and to give it new keys, `fl-app pod rotate {name}`"
        )
    gone = fingerprint(Keyring.load(known_pods(home)).remove(name))
    if as_json:
        click.echo(json.dumps({"name": name, "fingerprint": gone}, indent=1))
    else:
        click.echo(f"{name} is no longer known (it was by {gone}); `fl-app pod approve {name} FILE` takes it back")


@click.command(epilog="Example: fl-app pod known")
@home_option
@json_option
def known(home: Path | None, as_json: bool) -> None:
    """List the pods whose public keys this owner knows."""
    from fl_app.identity.keys import Keyring, known_pods
    from fl_app.secagg.crypto import fingerprint

    found = [{"name": name, "fingerprint": fingerprint(key)} for name, key in Keyring.load(known_pods(home)).items()]
    if as_json:
        click.echo(json.dumps(found, indent=1))
    for entry in () if as_json else found:
        click.echo(f"{entry['name']}  {entry['fingerprint']}")
    if not found:
        click.echo("no pod is known here yet: `fl-app pod approve NAME CARD` enters one", err=True)
