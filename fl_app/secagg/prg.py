"""Masks: field elements expanded from 32-byte seeds with AES-256 in counter mode.

Element k is word k of the AES-256-CTR stream (zero nonce) keyed by HKDF-SHA256(seed, stream 0): a little-endian word
of 8 (or 4) bytes cut to 61 (or 31) bits. The one value out of 2^61 (2^31) that equals q is replaced by word k of
stream 1, then 2, and so on, so an element depends on its seed and its index alone, not on blocks or threads.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fl_app.secagg.canonical import Value, encode
from fl_app.secagg.field import Field, Words

SEED_BYTES = 32
BLOCK = 32_768
_STREAM = "fl-app/secagg/1/mask-stream"
_ZEROS = bytes(BLOCK * 8)


def derive(secret: bytes, purpose: str, *context: Value, salt: bytes | None = None) -> bytes:
    """HKDF-SHA256 (RFC 5869) of ``secret``: 32 bytes bound to the purpose and the context."""
    info = encode([purpose, *context])
    return HKDF(algorithm=SHA256(), length=SEED_BYTES, salt=salt, info=info).derive(secret)


def keystream(seed: bytes, stream: int, byte_offset: int) -> CipherContext:
    """AES-256-CTR of one numbered stream of ``seed``, positioned at ``byte_offset`` (a multiple of 16)."""
    counter, odd = divmod(byte_offset, 16)
    if odd:
        raise ValueError("a keystream starts at a multiple of 16 bytes")
    key = derive(seed, _STREAM, stream)
    return Cipher(AES256(key), CTR(counter.to_bytes(16, "big"))).encryptor()


class MaskStream:
    """The mask of one seed, read forward in blocks.

    Parameters
    ----------
    seed : bytes
        32 secret bytes.
    field : Field
        Field of the elements.
    start : int
        Index of the first element read, a multiple of 4.
    """

    def __init__(self, seed: bytes, field: Field, start: int = 0) -> None:
        self._seed, self._field, self._next = seed, field, start
        self._stream = keystream(seed, 0, start * field.dtype.itemsize)

    def read(self, out: Words) -> None:
        """Fill ``out`` (field.dtype, contiguous, at most BLOCK elements) with the next elements, each in [0, q)."""
        self._stream.update_into(memoryview(_ZEROS)[: out.nbytes], out.data.cast("B"))
        np.bitwise_and(out, out.dtype.type(self._field.prime), out=out)
        if int(out.max(initial=0)) == self._field.prime:
            self._redraw(out)
        self._next += len(out)

    def _redraw(self, out: Words) -> None:
        for position in np.flatnonzero(out == self._field.prime):
            out[position] = next(
                word for word in self._spare_words(self._next + int(position)) if word != self._field.prime
            )

    def _spare_words(self, index: int) -> Iterator[int]:
        size = self._field.dtype.itemsize
        start, skip = divmod(index * size, 16)
        stream = 0
        while True:
            stream += 1
            block = keystream(self._seed, stream, start * 16).update(bytes(16))
            yield int.from_bytes(block[skip : skip + size], "little") & self._field.prime


def expand(seed: bytes, field: Field, length: int) -> npt.NDArray[np.uint64]:
    """Return the first ``length`` mask elements of ``seed`` as uint64 [length]; for tests and vectors."""
    stream, out = MaskStream(seed, field), np.empty(length, dtype=np.uint64)
    for at in range(0, length, BLOCK):
        block = np.empty(min(BLOCK, length - at), dtype=field.dtype)
        stream.read(block)
        out[at : at + len(block)] = block
    return out
