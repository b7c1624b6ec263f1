import hashlib
import hmac
import struct

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg import prg
from fl_app.secagg.canonical import Value, encode
from fl_app.secagg.field import FIELD_31, FIELD_61, Field
from fl_app.secagg.prg import BLOCK, MaskStream, derive, expand

fields = pytest.mark.parametrize("field", [FIELD_61, FIELD_31], ids=["61", "31"])
seeds = st.binary(min_size=32, max_size=32)
SEED = bytes(range(32))


def hkdf(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    """RFC 5869 for 32 bytes, written out."""
    key = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


def element(seed: bytes, field: Field, index: int, stream: int = 0) -> int:
    """One mask element as PROTOCOL.md words it, by way of AES on single counter blocks."""
    key = hkdf(seed, None, encode(["fl-app/secagg/1/mask-stream", stream]))
    size = field.dtype.itemsize
    counter, at = divmod(index * size, 16)
    block = Cipher(AES256(key), ECB()).encryptor().update(counter.to_bytes(16, "big"))  # noqa: S305
    word = int.from_bytes(block[at : at + size], "little") & field.prime
    return word if word != field.prime else element(seed, field, index, stream + 1)


@given(seeds, st.none() | st.binary(min_size=1, max_size=40), st.text(max_size=9), st.integers())
def test_derive_is_hkdf_bound_to_purpose_and_context(secret: bytes, salt: bytes | None, text: str, number: int) -> None:
    context: list[Value] = [text, number % 10**40]
    assert derive(secret, "p", *context, salt=salt) == hkdf(secret, salt, encode(["p", *context]))


@fields
@given(seed=seeds, index=st.integers(0, 3 * BLOCK))
def test_an_element_is_what_the_protocol_says(field: Field, seed: bytes, index: int) -> None:
    start = index // 4 * 4
    out = np.empty(index - start + 1, field.dtype)
    MaskStream(seed, field, start).read(out)
    assert int(out[-1]) == element(seed, field, index)


@fields
@given(seed=seeds, sizes=st.lists(st.integers(1, 700), min_size=1, max_size=8))
def test_block_sizes_do_not_matter(field: Field, seed: bytes, sizes: list[int]) -> None:
    whole, stream, found = expand(seed, field, sum(sizes)), MaskStream(seed, field), []
    for size in sizes:
        out = np.empty(size, field.dtype)
        stream.read(out)
        found += out.tolist()
    assert found == whole.tolist()


@fields
@given(seed=seeds, start=st.integers(0, 200))
def test_a_stream_may_start_at_any_fourth_element(field: Field, seed: bytes, start: int) -> None:
    out = np.empty(7, field.dtype)
    MaskStream(seed, field, 4 * start).read(out)
    assert out.tolist() == expand(seed, field, 4 * start + 7)[-7:].tolist()


def test_a_keystream_starts_at_whole_cipher_blocks() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        prg.keystream(SEED, 0, 8)


@fields
def test_elements_are_below_q_and_seeds_unrelated(field: Field) -> None:
    one, other = expand(SEED, field, BLOCK + 5), expand(SEED[::-1], field, BLOCK + 5)
    assert max(int(one.max()), int(other.max())) < field.prime
    assert np.count_nonzero(one == other) < 4


class FixedStreams:
    """Stands in for AES: numbered streams of given words, so that q itself can be made to occur."""

    def __init__(self, field: Field, *streams: list[int]) -> None:
        self._raw = [struct.pack(f"<{len(s)}{'Q' if field.bits == 61 else 'I'}", *s) for s in streams]

    def __call__(self, seed: bytes, stream: int, byte_offset: int) -> "FixedStreams._Reader":
        return self._Reader(self._raw[stream][byte_offset:])

    class _Reader:
        def __init__(self, raw: bytes) -> None:
            self._raw = raw

        def update(self, data: bytes) -> bytes:
            taken, self._raw = self._raw[: len(data)], self._raw[len(data) :]
            return taken

        def update_into(self, data: bytes, out: memoryview) -> int:
            out[:] = self.update(data)
            return len(data)


@fields
def test_a_word_that_equals_q_is_drawn_again_from_the_next_stream(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, every_bit = field.prime, (1 << (8 * field.dtype.itemsize)) - 1
    first = [5, q, 7, every_bit, 9, 10, 11, q]
    second = [0, 100, 0, q, 0, 0, 0, 107]
    third = [0, 0, 0, 203, 0, 0, 0, 0]
    monkeypatch.setattr(prg, "keystream", FixedStreams(field, first, second, third))
    assert expand(SEED, field, 8).tolist() == [5, 100, 7, 203, 9, 10, 11, 107]
    out = np.empty(4, field.dtype)
    MaskStream(SEED, field, 4).read(out)
    assert out.tolist() == [9, 10, 11, 107]
    stream, found = MaskStream(SEED, field), []
    for _ in range(4):
        stream.read(pair := np.empty(2, field.dtype))
        found += pair.tolist()
    assert found == [5, 100, 7, 203, 9, 10, 11, 107]


def test_a_redraw_that_really_happens_at_31_bits() -> None:
    # Found by search: of the first 2^27 words of 34 seeds, the one that equals q.
    seed, index = hashlib.sha256(b"fl-app redraw 33").digest(), 25_699_547
    raw = prg.keystream(seed, 0, index // 4 * 16).update(bytes(16))
    assert int.from_bytes(raw[index % 4 * 4 :][:4], "little") & FIELD_31.prime == FIELD_31.prime
    out = np.empty(8, FIELD_31.dtype)
    MaskStream(seed, FIELD_31, index // 4 * 4).read(out)
    assert int(out[index % 4]) == element(seed, FIELD_31, index) == element(seed, FIELD_31, index, stream=1)
