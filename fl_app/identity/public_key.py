"""A public identity key as one line of text: in ``known_pods``, and at the head of a card."""

import base64
import binascii

from fl_app.secagg.crypto import KEY_BYTES
from fl_app.system.home import is_pod_name


def public_line(name: str, key: bytes) -> str:
    """Return the line ``name ed25519 BASE64`` of ``name``'s 32-byte public ``key``."""
    return f"{name} ed25519 {to_base64(key)}"


def key_in(words: list[str]) -> bytes | None:
    """Return the key in ``[name, "ed25519", base64]``, or None if these are not that."""
    if len(words) != 3 or words[1] != "ed25519" or not is_pod_name(words[0]):
        return None
    return from_base64(words[2], KEY_BYTES)


def to_base64(content: bytes) -> str:
    """Return ``content`` in standard base64 with padding."""
    return base64.b64encode(content).decode()


def from_base64(text: str, size: int) -> bytes | None:
    """Return the ``size`` bytes that ``text`` stands for, or None if it is not their one form in base64."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if len(content) == size and to_base64(content) == text else None
