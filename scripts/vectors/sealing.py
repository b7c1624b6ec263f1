"""HPKE in the opening direction."""

import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fl_app.secagg.crypto import HELLO, SHARE, statement
from scripts.vectors.material import ROSTER, SEALERS, Vectors, constant


def sealed_with(ephemeral: X25519PrivateKey, receiver: bytes, info: bytes, secret: bytes) -> bytes:
    """RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: one message, ephemeral key given."""
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"

    def extract(salt: bytes, suite_id: bytes, what: bytes, keying: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite_id + what + keying, "sha256")

    def expand(key: bytes, suite_id: bytes, what: bytes, context: bytes, size: int) -> bytes:
        labelled = struct.pack(">H", size) + b"HPKE-v1" + suite_id + what + context
        return hmac.digest(key, labelled + b"\x01", "sha256")[:size]

    encapsulated = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(receiver))
    secret_key = extract(b"", kem, b"eae_prk", shared)
    shared = expand(secret_key, kem, b"shared_secret", encapsulated + receiver, 32)
    context = b"\x00" + extract(b"", suite, b"psk_id_hash", b"") + extract(b"", suite, b"info_hash", info)
    scheduled = extract(shared, suite, b"secret", b"")
    key, nonce = expand(scheduled, suite, b"key", context, 32), expand(scheduled, suite, b"base_nonce", context, 12)
    return encapsulated + AESGCM(key).encrypt(nonce, secret, b"")


def hpke_vectors() -> Vectors:
    """Return sealed bytes that open, and such as do not."""
    receiver, secret = SEALERS["b"], constant("share seed")
    info = statement(SHARE, ROSTER.digest, "a", "b", b"")
    public = receiver.public_key().public_bytes_raw()
    ephemeral = X25519PrivateKey.from_private_bytes(constant("ephemeral key"))
    box = sealed_with(ephemeral, public, info, secret)
    own = receiver.private_bytes_raw().hex()
    swapped = statement(SHARE, ROSTER.digest, "b", "a", b"")
    good = [(box, info, secret), (sealed_with(ephemeral, public, b"", b""), b"", b"")]
    bad = {
        "a bit of the encapsulated key flipped": (own, info, bytes([box[0] ^ 1]) + box[1:]),
        "a bit of the content flipped": (own, info, box[:40] + bytes([box[40] ^ 1]) + box[41:]),
        "a bit of the tag flipped": (own, info, box[:-1] + bytes([box[-1] ^ 1])),
        "cut short": (own, info, box[:-1]),
        "the encapsulated key alone": (own, info, box[:32]),
        "nothing": (own, info, b""),
        "sender and receiver swapped": (own, swapped, box),
        "another roster": (own, statement(SHARE, bytes(32), "a", "b", b""), box),
        "another purpose": (own, statement(HELLO, ROSTER.digest, "a", "b", b""), box),
        "another receiver's key": (SEALERS["c"].private_bytes_raw().hex(), info, box),
    }
    return {
        "good": [
            {"private_key": own, "info": i.hex(), "sealed": sealed.hex(), "opened": opened.hex()}
            for sealed, i, opened in good
        ],
        "bad": [
            {"what": what, "private_key": key, "info": i.hex(), "sealed": sealed.hex(), "error": "ShareRefused"}
            for what, (key, i, sealed) in bad.items()
        ],
    }
