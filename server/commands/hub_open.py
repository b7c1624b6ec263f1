"""``fl-app hub open``: logs a browser in to a hub, on this machine or another."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fl_app.hub.command import no_browser_option, say
from server.commands.output import json_option

if TYPE_CHECKING:
    from fl_app.identity.key_file import Identity

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("open", epilog="Example: fl-app hub open")
@click.argument("origin", metavar="[https://HOST:PORT]", required=False)
@click.option("--key", type=_file, help="The operator's hub.key, copied from the SuperLink's directory.")
@click.option("--as-modeller", is_flag=True, help="Use the modeller's own key, for the modeller's hub.")
@click.option("--as-pod", metavar="NAME", help="Use the key of your pod NAME, for its owner's hub.")
@click.option(
    "--authority",
    metavar="FILE",
    type=_file,
    help="Certificate (PEM) that has signed the hub's, or a join file with it.  [default: those of your system]",
)
@click.option(
    "--home", type=click.Path(path_type=Path), help="Directory of your keys  [default: $FL_APP_HOME, ~/.fl-app]"
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The hub's port, if you serve several here.  [default: the newest]"
)
@no_browser_option
@json_option
def open_(
    origin: str | None,
    key: Path | None,
    as_modeller: bool,
    as_pod: str | None,
    authority: Path | None,
    home: Path | None,
    port: int | None,
    no_browser: bool,
    as_json: bool,
) -> None:
    """Log your browser in to a hub: one that you serve on this machine, or one at https://HOST:PORT.

    From another machine a key opens it: --key FILE an operator's hub, --as-modeller your own as a modeller, --as-pod
    NAME that of your pod. The key signs a statement that is good for this hub and a minute; it stays where it is.
    """
    from urllib.parse import urlsplit

    from fl_app.errors import UsageError
    from fl_app.hub.serve import new_link, running
    from fl_app.hub.tokens import make_token

    keys = sum((key is not None, as_modeller, as_pod is not None))
    if origin is None:
        if keys or authority:
            raise UsageError("a key opens a hub on another machine: give its address, https://HOST:PORT")
        found = [one for one in running(home) if port in (None, urlsplit(one.origin).port)]
        if not found:
            where = f" on port {port}" if port else ""
            raise UsageError(f"you serve no hub{where}; `fl-app hub` starts one")
        one = found[-1]
        address, secret, signed_by = one.origin, one.secret, Path(one.authority) if one.authority else None
    else:
        if keys != 1:
            raise UsageError("a hub on another machine is opened by a key: give --key, --as-modeller or --as-pod")
        address = _checked(origin)
        secret = make_token(_identity(key, as_pod, home), address)
        signed_by = _authority(authority) if authority else None
    say(address, new_link(address, secret, signed_by), browser=not no_browser, as_json=as_json)


def _checked(origin: str) -> str:
    """Return the origin as the hub itself writes it."""
    from urllib.parse import urlsplit

    from fl_app.errors import UsageError

    try:
        parts = urlsplit(origin)
        good = parts.scheme == "https" and parts.hostname and parts.path in ("", "/") and not parts.query
        port = parts.port or 443
    except ValueError:
        good, port = "", 0
    if not good or parts.username is not None or parts.fragment:
        raise UsageError(f"{origin}: expected https://HOST:PORT, the address that the hub has printed")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"https://{host}" + (f":{port}" if port != 443 else "")


def _identity(key: Path | None, as_pod: str | None, home: Path | None) -> "Identity":
    from fl_app.host.party_keys import modeller_identity
    from fl_app.hub.keys import load_key
    from fl_app.identity.key_file import Identity
    from fl_app.system.home import pod_home

    if key is not None:
        return load_key(key)
    return Identity.load(pod_home(as_pod, home)) if as_pod is not None else modeller_identity(home)


def _authority(path: Path) -> Path:
    """Return the file of the authority's certificate: the one given, or that of a join file."""
    from fl_app.errors import UsageError
    from fl_app.federation.kinds import DeployedFederation, read_federation

    if path.suffix != ".toml":
        return path
    federation = read_federation(path)
    if not isinstance(federation, DeployedFederation) or federation.root_certificates is None:
        raise UsageError(f"{path}: names no certificate of an authority")
    return federation.root_certificates
