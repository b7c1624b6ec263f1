"""The keys that open a hub from another machine: Ed25519 identities in files of their own, closed to all but the owner.

An operator has no identity elsewhere, so the hub makes one beside the SuperLink; modellers and pods have theirs.
"""

from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_app.errors import UsageError
from fl_app.hub.tokens import admits
from fl_app.identity.key_file import Identity, KeyExists, MissingKey, create_private, read_private

KEY_FILE = "hub.key"
_KIND = "hub key"


def load_key(path: Path) -> Identity:
    """Read the key in a file.

    Raises
    ------
    MissingKey
        If there is none.
    UsageError
        If it is not an Ed25519 private key, or if anyone but its owner may read it.
    """
    content = read_private(path, _KIND)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None  # nothing of the parser's own error goes on: it was looking at a secret
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path}: not a {_KIND} (expected an Ed25519 private key, PKCS8 PEM, no password)")
    return Identity(key)


def load_or_create_key(path: Path) -> Identity:
    """Read the key in a file, or make it; of several processes that do so at once, all get the same one."""
    with suppress(MissingKey):
        return load_key(path)
    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with suppress(KeyExists):
        create_private(path, content, _KIND)
    return load_key(path)


def admits_key_in(path: Path, token: str, origins: tuple[str, ...]) -> bool:
    """Say whether a token is signed by the key in a file, read anew: who takes the file away takes the way in away."""
    try:
        identity = load_key(path)
    except UsageError:
        return False
    return admits(token, origins, {identity.fingerprint: identity.public_bytes})
