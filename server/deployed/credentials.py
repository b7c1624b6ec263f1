"""The modeller's key at work: a fresh token wherever a SuperLink asks who is there.

Flower's own commands send a token that they find in a file in FLWR_HOME; so they are given one before each call.
Nothing of this is done for a SuperLink without TLS, on which no token may travel.
"""

import base64
import tomllib
from pathlib import Path

import yaml

from fl_app.identity.keys import MissingKey, modeller_identity
from fl_app.system.files import replace_file
from server.superlink.tokens import audience, make_token

GATE_CODE = 7700
"""By a number in it Flower's own commands recognise an error that they can show; this one is none of Flower's."""


def token_for(root_certificates: Path | None) -> str | None:
    """Return a token for the SuperLink of the authority in the file; None if there is no key here, or no authority.

    Raises
    ------
    UsageError
        If the modeller's key cannot be read.
    """
    if root_certificates is None:
        return None
    try:
        identity = modeller_identity()
    except MissingKey:
        return None
    return make_token(identity, audience(root_certificates.read_bytes()))


def write(home: Path, connection: str) -> None:
    """Write a fresh token where Flower's commands look for one in ``home``, their FLWR_HOME, if one is to be made.

    Parameters
    ----------
    home
        Where the ``config.toml`` with ``connection`` is.
    connection
        Which of the SuperLinks in it the token is for.
    """
    found = tomllib.loads((home / "config.toml").read_text("utf-8"))["superlink"][connection]
    certificates = found.get("root-certificates")
    token = token_for(Path(certificates)) if certificates else None
    if token is None:
        return
    # What `flwr login` would have left there (flwr.cli.constant), as flwr.supercore.credential_store writes it.
    stored = {"authn-type": "oidc", "oidc-access-token": token, "oidc-refresh-token": "none"}
    encoded = {
        f"flower.account-auth.{found['address']}.{key}": base64.b64encode(value.encode()).decode()
        for key, value in stored.items()
    }
    replace_file(home / "credentials.yaml", yaml.safe_dump(encoded).encode(), mode=0o600)
