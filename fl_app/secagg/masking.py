"""One pass over a pod's vector: encode, add the masks, reduce, block by block, so that all stays in the cache."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fl_app.secagg import npy
from fl_app.secagg.canonical import digest, encode
from fl_app.secagg.errors import AggregateRefused
from fl_app.secagg.field import Field, Int64, Words
from fl_app.secagg.fixed_point import Aggregate, Decoder, Encoder, Layout
from fl_app.secagg.prg import BLOCK, MaskStream, aligned, room
from fl_app.secagg.threads import over_blocks

_INT64 = np.dtype(np.int64)


def mask(layout: Layout, encoder: Encoder, add: Sequence[bytes], subtract: Sequence[bytes]) -> Words:
    """Return the masked vector: encoded values plus the masks of ``add`` minus those of ``subtract``.

    Parameters
    ----------
    layout, encoder : Layout, Encoder
        The vector's layout, and the values to encode.
    add, subtract : sequences of bytes
        32-byte seeds, one mask each.

    Returns
    -------
    array of ``layout.field.dtype`` [layout.length]
        Elements in [0, q); read-only, and lying in the bytes of a .npy file (`npy.file_of`).
    """
    field = layout.field

    def fill(out: Words) -> None:
        streams = _streams(field, add, subtract)
        sums, scratch, words = aligned(BLOCK, _INT64), aligned(BLOCK, _INT64), room(field)
        for block in range(layout.blocks):
            size = layout.block_size(block)
            total, spare = sums[:size], scratch[:size]
            encoder.write(block, total)
            _apply(streams, field, block, total, spare, words)
            field.canonicalise(total, spare, out[block * BLOCK : block * BLOCK + size])

    return npy.filled(layout.length, field.dtype, fill)


def _streams(field: Field, add: Sequence[bytes], subtract: Sequence[bytes]) -> list[tuple[MaskStream, bool]]:
    """Open the masks, both kinds in turn, so that sums stay small and are folded half as often."""
    plus, minus = ([(MaskStream(seed, field), up) for seed in seeds] for seeds, up in ((add, True), (subtract, False)))
    shorter = min(len(plus), len(minus))
    pairs = [stream for pair in zip(plus, minus, strict=False) for stream in pair]
    return pairs + plus[shorter:] + minus[shorter:]


def _apply(
    streams: list[tuple[MaskStream, bool]], field: Field, block: int, total: Int64, spare: Int64, into: Words
) -> None:
    """Add every stream's elements of a block to ``total``, folding before more than three of one sign are added."""
    up = down = 0
    for stream, positive in streams:
        if max(up, down) == field.adds_between_folds:
            field.fold(total, spare)
            up = down = 0
        words = stream.read(block, into, len(total))
        signed = words.view(np.int64) if words.itemsize == 8 else words
        (np.add if positive else np.subtract)(total, signed, out=total, casting="unsafe")
        up, down = up + positive, down + (not positive)


def vector_digest(vector: Words) -> bytes:
    """Return the 32 bytes that a pod signs for a vector: the digest of its type, its length and its blocks' digests."""
    blocks = -(-len(vector) // BLOCK)
    found = [b""] * blocks

    def work(first: int, end: int) -> None:
        for block in range(first, end):
            found[block] = hashlib.sha256(vector[block * BLOCK : (block + 1) * BLOCK].data).digest()

    over_blocks(blocks, work)
    return digest("fl-app/secagg/1/vector", encode([vector.dtype.str, len(vector), *found]))


class Sum:
    """Masked vectors added up as they come in: one vector of uint64, however many pods.

    Parameters
    ----------
    field : Field
        Field of the elements.
    length : int
        Elements of every vector.
    """

    def __init__(self, field: Field, length: int) -> None:
        self._field = field
        self._total: npt.NDArray[np.uint64] = np.zeros(length, np.uint64)
        self._since_fold = 0
        self._blocks = -(-length // BLOCK)

    def add(self, vector: Words) -> None:
        """Add a vector of ``field.dtype`` [length].

        Raises
        ------
        AggregateRefused
            If one of its words is no element of the field. Then nothing has been added.
        """
        full, bad = self._full, False
        for at, part, spare in self._parts():
            if full:
                self._field.fold(part, spare)
            words = vector[at]
            bad = bad or int(np.maximum.reduce(words)) >= self._field.prime
            np.add(part, words, out=part)  # of bad words too: modulo 2^64 it can be undone
        self._since_fold = 1 if full else self._since_fold + 1
        if bad:
            np.subtract(self._total, vector, out=self._total)
            raise AggregateRefused("words that are not field elements")

    def remove(self, added: Sequence[bytes], subtracted: Sequence[bytes]) -> None:
        """Take masks off the sum: those of ``added`` had been added to it, those of ``subtracted`` subtracted."""
        field = self._field
        streams, words = _streams(field, subtracted, added), room(field)
        for at, part, spare in self._parts():
            field.canonicalise(part, spare)
            signed, signed_spare = part.view(np.int64), spare.view(np.int64)
            _apply(streams, field, at.start // BLOCK, signed, signed_spare, words)
            field.canonicalise(signed, signed_spare)
        self._since_fold = 0

    def centred(self) -> Int64:
        """Return the sum with elements in [-(q-1)/2, (q-1)/2], int64 [length]."""
        out = np.empty(len(self._total), np.int64)
        for at, block in self._centred():
            out[at] = block
        return out

    def decoded(self, layout: Layout, pods: int | None = None) -> Aggregate:
        """Return what `fixed_point.decode` makes of the centred sum, which is never held whole."""
        decoder = Decoder(layout, pods)
        for at, block in self._centred():
            decoder.read(at.start // BLOCK, block)
        return decoder.aggregate()

    @property
    def _full(self) -> bool:
        return self._since_fold == self._field.unsigned_adds_between_folds

    def _parts(self) -> Iterator[tuple[slice, npt.NDArray[np.uint64], npt.NDArray[np.uint64]]]:
        """Yield where each block lies, the block, and scratch of its size."""
        scratch = aligned(BLOCK, np.dtype(np.uint64))
        for block in range(self._blocks):
            at = slice(block * BLOCK, (block + 1) * BLOCK)
            part = self._total[at]
            yield at, part, scratch[: len(part)]

    def _centred(self) -> Iterator[tuple[slice, Int64]]:
        """Yield where each block lies and its centred elements, in an array that the next block overwrites."""
        field, moved = self._field, aligned(BLOCK, np.dtype(np.uint64))
        half = (field.prime - 1) // 2
        for at, part, spare in self._parts():
            if self._full:
                field.fold(part, spare)
            block = moved[: len(part)]
            np.add(part, half, out=block)  # moved up by half of q, reduced, and moved back
            field.canonicalise(block, spare)
            centred = block.view(np.int64)
            np.subtract(centred, half, out=centred)
            yield at, centred


def check_vector(layout: Layout, vector: Words, who: str) -> None:
    """Raise `AggregateRefused`, naming the pod, unless ``vector`` has the length and type of a step's."""
    if vector.dtype != layout.field.dtype or vector.shape != (layout.length,):
        raise AggregateRefused(f"pod '{who}' sent a vector of another length or type than the step asks for")
