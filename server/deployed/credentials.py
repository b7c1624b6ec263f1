"""A fresh token of the modeller for every request to a SuperLink with an authority of its own.

For a SuperLink without TLS there is none: a token must not travel in the clear.
"""

from pathlib import Path

from fl_app.host.party_keys import modeller_identity
from fl_app.identity.key_file import MissingKey
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
