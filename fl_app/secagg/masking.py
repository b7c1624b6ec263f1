"""One pass over a pod's vector: encode, add the masks, reduce, block by block, so that all stays in the cache."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_app.secagg.errors import AggregateRefused
from fl_app.secagg.field import Field, Int64, Words
from fl_app.secagg.fixed_point import Encoder, Layout
from fl_app.secagg.prg import BLOCK, MaskStream

_LINE = 64
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
        Elements in [0, q).
    """
    field = layout.field
    out = np.empty(layout.length, dtype=field.dtype)
    streams = _alternate([(MaskStream(s, field), True) for s in add], [(MaskStream(s, field), False) for s in subtract])
    sums, scratch = aligned(BLOCK, _INT64), aligned(BLOCK, _INT64)
    words = aligned(BLOCK, field.dtype)
    for block in range(layout.blocks):
        size = layout.block_size(block)
        total, spare, word = sums[:size], scratch[:size], words[:size]
        encoder.write(block, total)
        _apply(streams, field, total, spare, word)
        field.canonicalise(total, spare)
        out[block * BLOCK : block * BLOCK + size] = total
    return out


def aligned(length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return an uninitialised array whose first byte lies on a cache line, as the cipher writes fastest to."""
    raw = np.empty(length * dtype.itemsize + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + length * dtype.itemsize].view(dtype)


def _alternate(
    add: list[tuple[MaskStream, bool]], subtract: list[tuple[MaskStream, bool]]
) -> list[tuple[MaskStream, bool]]:
    """Interleave both kinds, so that sums stay small and are folded half as often."""
    shorter = min(len(add), len(subtract))
    pairs = [stream for pair in zip(add, subtract, strict=False) for stream in pair]
    return pairs + add[shorter:] + subtract[shorter:]


def _apply(streams: list[tuple[MaskStream, bool]], field: Field, total: Int64, spare: Int64, word: Words) -> None:
    """Add every stream's next elements to ``total``, folding before three of one sign have been added."""
    up = down = 0
    for stream, positive in streams:
        if max(up, down) == field.adds_between_folds:
            field.fold(total, spare)
            up = down = 0
        stream.read(word)
        signed = word.view(np.int64) if word.itemsize == 8 else word
        (np.add if positive else np.subtract)(total, signed, out=total, casting="unsafe")
        up, down = up + positive, down + (not positive)


class Sum:
    """Masked vectors added up as they come in: one int64 vector, however many pods.

    Parameters
    ----------
    field : Field
        Field of the elements.
    length : int
        Elements of every vector.
    """

    def __init__(self, field: Field, length: int) -> None:
        self._field = field
        self._total: Int64 = np.zeros(length, np.int64)
        self._since_fold = 0

    def add(self, vector: Words) -> None:
        """Add a vector of ``field.dtype`` [length]; its elements are less than q (`check_vector`)."""
        if self._since_fold == self._field.adds_between_folds:
            self._blockwise(self._field.fold)
            self._since_fold = 0
        signed = vector.view(np.int64) if vector.itemsize == 8 else vector
        np.add(self._total, signed, out=self._total, casting="unsafe")
        self._since_fold += 1

    def remove(self, added: Sequence[bytes], subtracted: Sequence[bytes]) -> None:
        """Take masks off the sum: those of ``added`` had been added to it, those of ``subtracted`` subtracted."""
        field = self._field
        streams = _alternate(
            [(MaskStream(s, field), True) for s in subtracted], [(MaskStream(s, field), False) for s in added]
        )
        words, scratch = aligned(BLOCK, field.dtype), aligned(BLOCK, _INT64)
        for at in range(0, len(self._total), BLOCK):
            part = self._total[at : at + BLOCK]
            spare = scratch[: len(part)]
            field.fold(part, spare)
            _apply(streams, field, part, spare, words[: len(part)])
        self._since_fold = field.adds_between_folds

    def centred(self) -> Int64:
        """Return the sum with elements in [-(q-1)/2, (q-1)/2], int64 [length]; the last call on this object."""
        self._blockwise(self._field.centre)
        return self._total

    def _blockwise(self, reduce: Callable[[Int64, Int64], None]) -> None:
        scratch = aligned(BLOCK, _INT64)
        for at in range(0, len(self._total), BLOCK):
            part = self._total[at : at + BLOCK]
            reduce(part, scratch[: len(part)])


def check_vector(layout: Layout, vector: Words, who: str) -> None:
    """Raise `AggregateRefused`, naming the pod, unless ``vector`` is one that `mask` could have made."""
    if vector.dtype != layout.field.dtype or vector.shape != (layout.length,):
        raise AggregateRefused(f"pod '{who}' sent a vector of another length or type than the step asks for")
    if len(vector) and int(vector.max()) >= layout.field.prime:
        raise AggregateRefused(f"pod '{who}' sent words that are not field elements")
