"""``fl-app pod hub``: the owner's view of a pod in a browser."""

from pathlib import Path

import click

from client.commands.options import home_option, json_option
from fl_app.hub.command import listening_address, listening_options, metrics_token, say


@click.command(epilog="Example: fl-app pod hub hospital-a")
@click.argument("name")
@click.option(
    "--pod",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The pod's file  [default: the one it was last run with]",
)
@listening_options
@home_option
@json_option
def hub(
    name: str,
    file: Path | None,
    host: str,
    public_name: str | None,
    port: int,
    certificate: Path | None,
    key: Path | None,
    metrics_token_: Path | None,
    no_browser: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """Show in your browser what has left pod NAME, and who and what may work with it, live, until Ctrl-C.

    It listens on this machine, and opens by a link that is good once; `fl-app hub open` makes another. Beyond this
    machine it needs --certificate and --key, the pod's identity key opens it, and it has no buttons.
    """
    from client.hub.owner import owner_role
    from client.site.own_pod import existing_home, pod_in
    from fl_app.federation.address import is_loopback
    from fl_app.host.signals import until_interrupted
    from fl_app.hub.serve import serve
    from fl_app.hub.tokens import admits
    from fl_app.identity.key_file import Identity

    address = listening_address(host, port, public_name, certificate, key)
    scraper = metrics_token(metrics_token_)
    directory = existing_home(name, home)
    if file is not None:
        pod_in(file, name)

    def opens(token: str, origins: tuple[str, ...]) -> bool:
        identity = Identity.load(directory)  # as it is now: it may have been rotated
        return admits(token, origins, {identity.fingerprint: identity.public_bytes})

    role = owner_role(name, home, file, buttons=is_loopback(f"{host}:{port}"))
    with until_interrupted():
        serve(
            [role],
            address,
            admits=opens,
            metrics_token=scraper,
            said=lambda origin, link: say(origin, link, browser=not no_browser, as_json=as_json),
        )
