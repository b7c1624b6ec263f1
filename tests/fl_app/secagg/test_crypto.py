import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg.crypto import fingerprint, seal, statement, unseal, verify
from fl_app.secagg.errors import BadSignature, ShareRefused
from tests.fl_app.secagg.cohort import Identity

OWN = X25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = OWN.public_key().public_bytes_raw()
SECRET = b"thirty-two bytes that are secret"


def test_a_statement_covers_every_one_of_its_parts() -> None:
    parts = ("purpose", b"scope", "sender", "receiver", b"content")
    seen = {statement(*parts)}
    for place, other in enumerate(("purpose2", b"scope2", "sender2", "", b"content2")):
        seen.add(statement(*(*parts[:place], other, *parts[place + 1 :])))  # type: ignore[arg-type]
    seen.add(statement("purpose", b"scope", "senderr", "eceiver", b"content"))
    assert len(seen) == 7


def test_a_good_signature_is_accepted() -> None:
    signer = Identity("a")
    verify(signer.public_bytes, signer.sign(b"said"), b"said", "a")


@given(st.integers(0, 511))
def test_a_flipped_bit_of_a_signature_is_refused(bit: int) -> None:
    signer = Identity("a")
    bad = bytearray(signer.sign(b"said"))
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature, match="pod 'a'"):
        verify(signer.public_bytes, bytes(bad), b"said", "a")


@given(st.binary(max_size=70), st.binary(max_size=40))
def test_arbitrary_keys_and_signatures_raise_our_error(signature: bytes, key: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(key, signature, b"said", "a")


def test_another_ones_signature_and_another_statement_are_refused() -> None:
    signature = Identity("a").sign(b"said")
    for key, message in ((Identity("b").public_bytes, b"said"), (Identity("a").public_bytes, b"not said")):
        with pytest.raises(BadSignature):
            verify(key, signature, message, "a")


def test_what_is_sealed_opens_for_its_receiver_and_differs_each_time() -> None:
    one, other = seal(SECRET, PUBLIC, b"info"), seal(SECRET, PUBLIC, b"info")
    assert one != other
    assert SECRET not in one
    assert unseal(one, OWN.private_bytes_raw(), b"info", "a") == SECRET


def test_what_is_sealed_opens_with_neither_another_key_nor_another_info() -> None:
    sealed, other = seal(SECRET, PUBLIC, b"info"), X25519PrivateKey.generate().private_bytes_raw()
    for key, info in ((other, b"info"), (OWN.private_bytes_raw(), b"info2"), (b"", b"info"), (b"short", b"info")):
        with pytest.raises(ShareRefused, match="from pod 'a' does not open"):
            unseal(sealed, key, info, "a")


@given(st.integers(0, 80 * 8 - 1))
def test_a_flipped_bit_of_what_is_sealed_is_refused(bit: int) -> None:
    bad = bytearray(seal(SECRET, PUBLIC, b"info"))
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ShareRefused):
        unseal(bytes(bad), OWN.private_bytes_raw(), b"info", "a")


@given(st.binary(max_size=120))
def test_arbitrary_bytes_do_not_open(data: bytes) -> None:
    with pytest.raises(ShareRefused):
        unseal(data, OWN.private_bytes_raw(), b"info", "a")


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(32), bytes([1]) + bytes(31)], ids=lambda key: str(len(key)))
def test_a_key_that_cannot_be_sealed_to_is_refused(key: bytes) -> None:
    with pytest.raises(ShareRefused, match="not usable"):
        seal(SECRET, key, b"info")


def test_a_fingerprint_is_sshs() -> None:
    key = Identity("a").public_bytes
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + key
    assert fingerprint(key) == "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
