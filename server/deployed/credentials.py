"""A fresh token of the modeller for every request to a SuperLink.

Flower's own commands send the token that they find in a file in FLWR_HOME, so a new one is written before each call.
Nothing is written for a SuperLink without TLS: a token must not travel in the clear.

Names and encoding in that file are internals of Flower; tests/server/deployed/test_credentials.py reads it with
Flower's own code.
"""

import base64
import tomllib
from pathlib import Path

import yaml

from fl_app.host.party_keys import modeller_identity
from fl_app.identity.key_file import MissingKey
from fl_app.system.files import replace_file
from server.superlink.tokens import audience, make_token

GATE_CODE = 7700
"""Error code of the gate's replies. Flower's own commands show an error that has one; this is none of Flower's own."""


def token_for(root_certificates: Path | None) -> str | None:
    """Return a token for the SuperLink whose authority is in the file; None without an authority or a key.

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


def write_credentials(home: Path, connection: str) -> None:
    """Write a fresh token to where Flower's commands look for one, if `token_for` makes one.

    Parameters
    ----------
    home
        The commands' FLWR_HOME, with the ``config.toml`` that defines ``connection``.
    connection
        The SuperLink in it that the token is for.
    """
    superlink = tomllib.loads((home / "config.toml").read_text("utf-8"))["superlink"][connection]
    certificates = superlink.get("root-certificates")
    token = token_for(Path(certificates)) if certificates else None
    if token is None:
        return
    # What `flwr login` would have written (flwr.cli.constant), as flwr.supercore.credential_store writes it.
    stored = {"authn-type": "oidc", "oidc-access-token": token, "oidc-refresh-token": "none"}
    encoded = {
        f"flower.account-auth.{superlink['address']}.{key}": base64.b64encode(value.encode()).decode()
        for key, value in stored.items()
    }
    replace_file(home / "credentials.yaml", yaml.safe_dump(encoded).encode(), mode=0o600)
