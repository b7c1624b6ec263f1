import hashlib
import hmac
import struct
from collections.abc import Callable
from unittest import mock

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg import keystream
from fl_app.secagg.canonical import Value, encode
from fl_app.secagg.field import FIELD_31, FIELD_61, Field
from fl_app.secagg.keystream import (
    BLOCK,
    Keystream,
    MaskStream,
    by_ctr,
    by_gcm,
    derive,
    expand,
    faster_keystream,
    word_buffer,
)

fields = pytest.mark.parametrize("field", [FIELD_61, FIELD_31], ids=["61", "31"])
ways = pytest.mark.parametrize("way", [by_gcm, by_ctr])
Way = Callable[[bytes], Keystream]
seeds = st.binary(min_size=32, max_size=32)
SEED = bytes(range(32))


def hkdf(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    """RFC 5869 for 32 bytes, written out."""
    key = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


def element(seed: bytes, field: Field, index: int, stream: int = 0) -> int:
    """One mask element, by way of AES on single counter blocks."""
    key = hkdf(seed, None, encode(["fl-app/secagg/1/mask-stream", stream]))
    size = field.dtype.itemsize
    nonce, place = divmod(index, BLOCK)
    counter, at = divmod(place * size, 16)
    block = Cipher(AES256(key), ECB()).encryptor().update((nonce << 32 | 2 + counter).to_bytes(16, "big"))  # noqa: S305
    word = int.from_bytes(block[at : at + size], "little") & field.prime
    return word if word != field.prime else element(seed, field, index, stream + 1)


@given(seeds, st.none() | st.binary(min_size=1, max_size=40), st.text(max_size=9), st.integers())
def test_derive_is_hkdf_bound_to_purpose_and_context(secret: bytes, salt: bytes | None, text: str, number: int) -> None:
    context: list[Value] = [text, number % 10**40]
    assert derive(secret, "p", *context, salt=salt) == hkdf(secret, salt, encode(["p", *context]))


@ways
@fields
@given(seed=seeds, index=st.integers(0, 3 * BLOCK))
def test_an_element_is_what_the_protocol_says(field: Field, way: Way, seed: bytes, index: int) -> None:
    block, at = divmod(index, BLOCK)
    with mock.patch.object(keystream, "faster_keystream", return_value=way):
        assert int(MaskStream(seed, field).read(block, word_buffer(field), at + 1)[-1]) == element(seed, field, index)


@fields
@given(seed=seeds, block=st.integers(0, 2**32), sizes=st.lists(st.integers(1, BLOCK), min_size=1, max_size=8))
def test_neither_order_nor_size_matters(field: Field, seed: bytes, block: int, sizes: list[int]) -> None:
    whole, stream = MaskStream(seed, field).read(block, word_buffer(field)), MaskStream(seed, field)
    for size in sizes:
        stream.read(block + 1, word_buffer(field))
        assert (stream.read(block, word_buffer(field), size) == whole[:size]).all()


@fields
def test_blocks_follow_each_other(field: Field) -> None:
    stream, elements = MaskStream(SEED, field), expand(SEED, field, 2 * BLOCK + 7)
    assert (elements[BLOCK : 2 * BLOCK] == stream.read(1, word_buffer(field))).all()
    assert (elements[2 * BLOCK :] == stream.read(2, word_buffer(field), 7)).all()
    assert len(expand(SEED, field, 0)) == 0


@given(seeds, st.integers(0, 2**95), st.integers(0, BLOCK // 2))
def test_both_ways_to_a_keystream_write_the_same(key: bytes, block: int, size: int) -> None:
    one, other = bytearray(16 * size + 16), bytearray(16 * size + 16)
    by_gcm(key)(block, 16 * size, memoryview(one))
    by_ctr(key)(block, 16 * size, memoryview(other))
    assert one[: 16 * size] == other[: 16 * size]


def test_one_of_the_two_ways_is_taken() -> None:
    assert faster_keystream() in (by_gcm, by_ctr)
    assert faster_keystream() is faster_keystream()


@fields
def test_elements_are_below_q_and_seeds_unrelated(field: Field) -> None:
    one, other = expand(SEED, field, BLOCK + 5), expand(SEED[::-1], field, BLOCK + 5)
    assert max(int(one.max()), int(other.max())) < field.prime
    assert int((one == other).sum()) < 4


class FixedStreams:
    """Stands in for AES: numbered streams of given words, so that q itself can be made to occur."""

    def __init__(self, field: Field, *streams: list[int]) -> None:
        self._raw = [struct.pack(f"<{len(s)}{'Q' if field.bits == 61 else 'I'}", *s) for s in streams]

    def __call__(self, seed: bytes, stream: int) -> Keystream:
        def write(block: int, size: int, out: memoryview) -> None:
            out[:size] = self._raw[stream][:size]

        return write


@fields
def test_a_word_that_equals_q_is_drawn_again_from_the_next_stream(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, every_bit = field.prime, (1 << (8 * field.dtype.itemsize)) - 1
    first = [5, q, 7, every_bit, 9, 10, 11, q]
    second = [0, 100, 0, q, 0, 0, 0, 107]
    third = [0, 0, 0, 203, 0, 0, 0, 0]
    monkeypatch.setattr(keystream, "keystream", FixedStreams(field, first, second, third))
    assert expand(SEED, field, 8).tolist() == [5, 100, 7, 203, 9, 10, 11, 107]
    assert expand(SEED, field, 4).tolist() == [5, 100, 7, 203]


def test_a_redraw_that_really_happens_at_31_bits() -> None:
    # Found by search among 2^32 words: the first that equals q.
    seed, block, at = hashlib.sha256(b"fl-app redraw 32").digest(), 927, 7378
    raw = word_buffer(FIELD_31)
    keystream.keystream(seed, 0)(block, 4 * BLOCK, raw.data.cast("B"))
    assert int(raw[at]) & FIELD_31.prime == FIELD_31.prime
    index = block * BLOCK + at
    redrawn = int(MaskStream(seed, FIELD_31).read(block, word_buffer(FIELD_31))[at])
    assert redrawn == element(seed, FIELD_31, index) == element(seed, FIELD_31, index, stream=1)
