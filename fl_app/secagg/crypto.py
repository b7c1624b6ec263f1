"""Who says what: Ed25519 signatures (RFC 8032), HPKE sealing (RFC 9180) with one pinned suite, and boxes of a pair.

Every signature, every HPKE info and every box's key covers the purpose, the session or step it belongs to, sender and
receiver, a signature also the digest of the content, so nothing made for one place can be shown in another.
"""

import base64
import hashlib
import secrets
from typing import Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fl_app.secagg.canonical import encode
from fl_app.secagg.errors import BadSignature, ShareRefused

KEY_BYTES = 32
SIGNATURE_BYTES = 64
HELLO = "fl-app/secagg/1/hello"
SHARE = "fl-app/secagg/1/share"
REPLY = "fl-app/secagg/1/masked-reply"
SURVIVORS = "fl-app/secagg/1/survivors"
UNMASK = "fl-app/secagg/1/unmask-reply"
_NONCE, _TAG = 12, 16
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Signer(Protocol):
    """A pod's long-term identity: an Ed25519 key that signs and never shows itself."""

    @property
    def public_bytes(self) -> bytes:
        """The public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``."""


def fingerprint(key: bytes) -> str:
    """Return ``SHA256:...`` of a raw Ed25519 public key, the same that ``ssh-keygen -l`` prints for it."""
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", key))
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def statement(purpose: str, scope: bytes, sender: str, receiver: str, content: bytes | memoryview) -> bytes:
    """Return the bytes that a signature covers; ``receiver`` is "" for what goes to the server."""
    return encode([purpose, scope, sender, receiver, hashlib.sha256(content).digest()])


def verify(key: bytes, signature: bytes, message: bytes, who: str) -> None:
    """Raise `BadSignature`, naming ``who``, unless ``signature`` is that of ``key`` over ``message``."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature(f"the signature of pod '{who}' does not verify") from error


def seal(secret: bytes, receiver_key: bytes, info: bytes) -> bytes:
    """Encrypt ``secret`` to the X25519 key ``receiver_key`` (HPKE base mode)."""
    try:
        return bytes(_SUITE.encrypt(secret, X25519PublicKey.from_public_bytes(receiver_key), info))
    except ValueError as error:
        raise ShareRefused("a pod's sealing key is not usable") from error


def unseal(sealed: bytes, own_key: bytes, info: bytes, who: str) -> bytes:
    """Decrypt what `seal` made; raises `ShareRefused`, naming the sender ``who``, for anything else."""
    try:
        return bytes(_SUITE.decrypt(sealed, X25519PrivateKey.from_private_bytes(own_key), info))
    except (InvalidTag, ValueError) as error:
        raise ShareRefused(f"the sealed share from pod '{who}' does not open") from error


def box_bytes(content: int) -> int:
    """Return the length of a `box` with ``content`` bytes in it."""
    return _NONCE + content + _TAG


def box(secret: bytes, key: bytes) -> bytes:
    """Encrypt ``secret`` with AES-256-GCM under a key of 32 bytes: a random nonce, then ciphertext and tag."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, secret, None)


def unbox(boxed: bytes, key: bytes, who: str) -> bytes:
    """Decrypt what `box` made; raises `ShareRefused`, naming the sender ``who``, for anything else."""
    try:
        return AESGCM(key).decrypt(boxed[:_NONCE], boxed[_NONCE:], None)
    except (InvalidTag, ValueError) as error:
        raise ShareRefused(f"the boxed share from pod '{who}' does not open") from error
