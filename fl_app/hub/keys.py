"""The keys that open a hub from another machine: Ed25519 identities in files of their own, closed to all but the owner.

An operator has no identity elsewhere, so the hub makes one beside the SuperLink; modellers and pods have theirs.
"""

from pathlib import Path

from fl_app.errors import UsageError
from fl_app.hub.tokens import admits
from fl_app.identity.key_file import Identity

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
    return Identity.load(path.parent, path.name, _KIND)


def load_or_create_key(path: Path) -> Identity:
    """Read the key in a file, or make it; of several processes that do so at once, all get the same one."""
    return Identity.load_or_create(path.parent, path.name, _KIND)


def admits_key_in(path: Path, token: str, origins: tuple[str, ...]) -> bool:
    """Say whether a token is signed by the key in a file, read anew: who takes the file away takes the way in away."""
    try:
        identity = load_key(path)
    except UsageError:
        return False
    return admits(token, origins, {identity.fingerprint: identity.public_bytes})
