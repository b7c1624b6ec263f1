"""Masks: field elements expanded from 32-byte seeds with AES-256 in counter mode.

Elements come in blocks of 32,768. Element k of block b is word k of the keystream that AES-256-GCM (NIST SP 800-38D)
has under the nonce b, keyed by HKDF-SHA256(seed, stream 0): of AES on the counter blocks b || 2, b || 3, ... (12 and 4
bytes, big-endian), as a little-endian word of 8 (or 4) bytes cut to 61 (or 31) bits. The one value out of 2^61 (2^31)
that equals q is replaced by the same word of stream 1, then 2, and so on, so an element depends on its seed and its
index alone, not on who computes which block.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fl_app.secagg.canonical import Value, encode
from fl_app.secagg.field import Field, Words

SEED_BYTES = 32
BLOCK = 32_768
_STREAM = "fl-app/secagg/1/mask-stream"
_ZEROS = memoryview(bytes(BLOCK * 8))
_LINE = 64
_TAG = 16

Keystream = Callable[[int, int, memoryview], object]
"""``write(block, size, out)`` writes the first ``size`` bytes of a block's keystream to ``out``.

``out`` has 16 bytes more, which are overwritten with something meaningless.
"""


def derive(secret: bytes, purpose: str, *context: Value, salt: bytes | None = None) -> bytes:
    """HKDF-SHA256 (RFC 5869) of ``secret``: 32 bytes bound to the purpose and the context."""
    info = encode([purpose, *context])
    return HKDF(algorithm=SHA256(), length=SEED_BYTES, salt=salt, info=info).derive(secret)


def aligned(length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return an uninitialised array that begins on a cache line, where the cipher writes fastest."""
    raw = np.empty(length * dtype.itemsize + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + length * dtype.itemsize].view(dtype)


def word_buffer(field: Field, blocks: int = 1) -> Words:
    """Return memory for this many blocks of mask words, and for the cipher's 16 bytes behind the last."""
    return aligned(blocks * BLOCK + _TAG // field.dtype.itemsize, field.dtype)


# GCM and CTR give the same bytes. Which call is faster depends on the processor: with vector AES instructions CTR
# takes 1.85 times as long as GCM; without them GCM pays for a tag that nobody needs, and CTR takes .78 of its time
# (medians of seven runs on one processor, the instructions hidden from OpenSSL for the second figure). So neither call
# is right for all pods, and `faster_keystream` races them, once a process.
def by_gcm(key: bytes) -> Keystream:
    """Return the keystream under a 32-byte key as AES-256-GCM of zeros, whose tag is not used."""
    cipher = AESGCM(key)

    def write(block: int, size: int, out: memoryview) -> None:
        cipher.encrypt_into(block.to_bytes(12, "big"), _ZEROS[:size], None, out[: size + _TAG])

    return write


def by_ctr(key: bytes) -> Keystream:
    """Return the same keystream as AES-256-CTR of zeros."""
    stream = Cipher(AES256(key), CTR(bytes(16))).encryptor()

    def write(block: int, size: int, out: memoryview) -> None:
        stream.reset_nonce(block.to_bytes(12, "big") + (2).to_bytes(4, "big"))
        stream.update_into(_ZEROS[:size], out[:size])

    return write


@cache
def faster_keystream() -> Callable[[bytes], Keystream]:
    """Return `by_gcm` or `by_ctr`, whichever this processor is faster at."""
    out = memoryview(bytearray(len(_ZEROS) + _TAG))

    def seconds(way: Callable[[bytes], Keystream]) -> float:
        write, times = way(bytes(SEED_BYTES)), []
        for _ in range(4):
            started = time.perf_counter()
            write(0, len(_ZEROS), out)
            times.append(time.perf_counter() - started)
        return min(times)

    return min(by_gcm, by_ctr, key=seconds)


def keystream(seed: bytes, stream: int) -> Keystream:
    """Return one numbered stream of ``seed``: 0 for its mask, from 1 on for redrawn elements."""
    return faster_keystream()(derive(seed, _STREAM, stream))


class MaskStream:
    """The mask of one seed.

    Parameters
    ----------
    seed : bytes
        32 secret bytes.
    field : Field
        Field of the elements.
    """

    def __init__(self, seed: bytes, field: Field) -> None:
        self._seed, self._field, self._write = seed, field, keystream(seed, 0)
        self._prime = field.dtype.type(field.prime)

    def read(self, block: int, out: Words, size: int = BLOCK) -> Words:
        """Return ``size`` elements from the start of the numbered block on, each in [0, q).

        They lie in ``out``, a `word_buffer` for as many blocks.
        """
        self.write_words(block, out, size)
        return self.to_elements(block, out[:size], out)

    def write_words(self, block: int, out: Words, size: int) -> None:
        """Write the words for `to_elements` to ``out``: all of the cipher's work, in calls without Python's lock."""
        _write(self._write, block, out, size)

    def to_elements(self, block: int, words: Words, out: Words) -> Words:
        """Return, in ``out``, the elements that ``words``, from the start of the numbered block on, stand for.

        Words cut to 61 (31) bits are uniform over [0, q]; with q redrawn, elements are uniform over the field, as a
        mask must be.
        """
        elements = out[: len(words)]
        np.bitwise_and(words, self._prime, out=elements)
        if len(elements) and np.maximum.reduce(elements) == self._prime:
            self._redraw(block, elements)
        return elements

    def _redraw(self, block: int, words: Words) -> None:
        """Replace the elements that are q: one block in 2^46 at 61 bits, one in 2^16 at 31."""
        stream, spare = 0, word_buffer(self._field, -(-len(words) // BLOCK))
        while len(places := np.flatnonzero(words == self._prime)):
            stream += 1
            _write(keystream(self._seed, stream), block, spare, len(words))
            words[places] = spare[places] & self._prime


def _write(write: Keystream, block: int, out: Words, size: int) -> None:
    raw, width = out.data.cast("B"), out.itemsize
    for at in range(0, size, BLOCK):  # in order: the 16 bytes behind one block are the next one's first
        write(block + at // BLOCK, min(BLOCK, size - at) * width, raw[at * width :])


def expand(seed: bytes, field: Field, length: int) -> npt.NDArray[np.uint64]:
    """Return the first ``length`` mask elements of ``seed`` as uint64 [length]; for tests and vectors."""
    stream, spare = MaskStream(seed, field), word_buffer(field)
    sizes = [min(BLOCK, length - at) for at in range(0, length, BLOCK)]
    blocks = [stream.read(block, spare, size).astype(np.uint64) for block, size in enumerate(sizes)]
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint64)
