"""A pod's vector masked, and masked vectors summed: one pass each, span by span, so that all stays in the cache.

The way of a mask is short. `keystream` makes words of a 32-byte seed and field elements of these; `mask_pipeline` reads
them, span after span, a thread ahead; `mask` below adds them to the encoded values and leaves the result in the bytes
that are sent.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_app.secagg import npy
from fl_app.secagg.canonical import digest, encode
from fl_app.secagg.codec import Aggregate, Decoder, Encoder, Layout
from fl_app.secagg.errors import AggregateRefused
from fl_app.secagg.field import Field, Int64, Words
from fl_app.secagg.keystream import BLOCK, MaskStream, aligned
from fl_app.secagg.mask_pipeline import over_blocks, read_ahead, span_of, spans
from fl_app.secagg.tags import Tag

_INT64, _UINT64 = np.dtype(np.int64), np.dtype(np.uint64)


def mask(
    layout: Layout, encoder: Encoder, add: Sequence[bytes], subtract: Sequence[bytes], tag: Tag | None = None
) -> Words:
    """Return the masked vector: encoded values, and their tag, plus the masks of ``add`` minus those of ``subtract``.

    Parameters
    ----------
    layout, encoder : Layout, Encoder
        The vector's layout, and the values to encode.
    add, subtract : sequences of bytes
        32-byte seeds, one mask each.
    tag : Tag or None
        What computes the tag, where the layout has elements for it.

    Returns
    -------
    array of ``layout.field.dtype`` [layout.length]
        Elements in [0, q); read-only, and lying in the bytes of a .npy file (`npy.file_of`).
    """
    field = layout.field
    seeds, signs = _alternating(add, subtract)

    def fill(out: Words) -> None:
        sums, scratch = (_scratch(len(out), _INT64) for _ in range(2))
        with read_ahead([MaskStream(seed, field) for seed in seeds], field, len(out)) as elements:
            for block, at in spans(len(out)):
                part = out[at]
                total, spare = sums[: len(part)], scratch[: len(part)]
                encoder.write(block, total)
                if tag is not None:  # here, where the values are in the cache
                    tag.read(block, total)
                _add_masks(field, total, spare, elements, signs)
                field.canonicalise(total, spare, part)
        for place, element in zip(layout.tag_places, tag.elements() if tag is not None else (), strict=True):
            out[place] = (int(out[place]) + element) % field.prime

    return npy.filled((layout.length,), field.dtype, fill)


def _scratch(length: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return uninitialised memory for one span of a vector of ``length`` elements."""
    return aligned(span_of(length) * BLOCK, dtype)


def _alternating(add: Sequence[bytes], subtract: Sequence[bytes]) -> tuple[list[bytes], list[bool]]:
    """Return all seeds, and for each whether its mask is added; both kinds in turn, as long as there are both.

    So the running sums stay small, and are folded half as often.
    """
    shorter = min(len(add), len(subtract))
    turns = [turn for pair in zip(add, subtract, strict=False) for turn in ((pair[0], True), (pair[1], False))]
    turns += [(seed, True) for seed in add[shorter:]] + [(seed, False) for seed in subtract[shorter:]]
    return [seed for seed, _ in turns], [positive for _, positive in turns]


def _add_masks(field: Field, total: Int64, spare: Int64, elements: Iterator[Words], signs: Sequence[bool]) -> None:
    """Add to one span of sums the next elements of every mask, or subtract them where its sign is False."""
    added = subtracted = 0
    for positive in signs:
        # int64 overflows silently. What was added and what was subtracted are counted apart, because a sum may lie
        # anywhere between all of the one and all of the other.
        if max(added, subtracted) == field.adds_between_folds:
            field.fold(total, spare)
            added = subtracted = 0
        part = next(elements)
        signed = part.view(np.int64) if part.itemsize == 8 else part
        (np.add if positive else np.subtract)(total, signed, out=total, casting="unsafe")
        added, subtracted = added + positive, subtracted + (not positive)


def vector_digest(vector: Words) -> bytes:
    """Return the 32 bytes that a pod signs for a vector: the digest of its type, its length and its blocks' digests."""
    blocks = -(-len(vector) // BLOCK)
    digests = [b""] * blocks

    def work(first: int, end: int) -> None:
        for block in range(first, end):
            digests[block] = hashlib.sha256(vector[block * BLOCK : (block + 1) * BLOCK].data).digest()

    over_blocks(blocks, work)
    return digest("fl-app/secagg/1/vector", encode([vector.dtype.str, len(vector), *digests]))


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

    def add(self, vector: Words) -> None:
        """Add a vector of ``field.dtype`` [length].

        Raises
        ------
        AggregateRefused
            If one of its words is no element of the field. Then nothing has been added.
        """
        full, bad = self._full, False
        for _, at, part, spare in self._parts():
            if full:
                self._field.fold(part, spare)
            words = vector[at]
            bad = bad or int(np.maximum.reduce(words)) >= self._field.prime
            np.add(part, words, out=part)  # before the verdict, in one pass; modulo 2^64 it can be undone
        self._since_fold = 1 if full else self._since_fold + 1
        if bad:
            np.subtract(self._total, vector, out=self._total)
            raise AggregateRefused("words that are not field elements")

    def remove(self, added: Sequence[bytes], subtracted: Sequence[bytes]) -> None:
        """Take masks off the sum: those of ``added`` had been added to it, those of ``subtracted`` subtracted."""
        field = self._field
        seeds, signs = _alternating(add=subtracted, subtract=added)
        with read_ahead([MaskStream(seed, field) for seed in seeds], field, len(self._total)) as elements:
            for _, _, part, spare in self._parts():
                field.canonicalise(part, spare)  # to below q, which as int64 leaves room for the masks
                signed, signed_spare = part.view(np.int64), spare.view(np.int64)
                _add_masks(field, signed, signed_spare, elements, signs)
                field.canonicalise(signed, signed_spare)
        self._since_fold = 0

    def words(self) -> Words:
        """Return the sum with elements in [0, q), as ``field.dtype``: read-only, and lying in a .npy file's bytes."""

        def fill(out: Words) -> None:
            for _, at, part, spare in self._parts():
                self._field.canonicalise(part, spare)
                out[at] = part

        words = npy.filled((len(self._total),), self._field.dtype, fill)
        self._since_fold = 1
        return words

    def centred(self) -> Int64:
        """Return the sum with elements in [-(q-1)/2, (q-1)/2], int64 [length]."""
        out = np.empty(len(self._total), np.int64)
        for _, at, part in self._centred():
            out[at] = part
        return out

    def decoded(self, layout: Layout, pods: int | None = None) -> Aggregate:
        """Return the decoded sum. Its values lie where the sum lay, which is used up: call nothing after this.

        Raises
        ------
        AggregateRefused
            For what `Decoder` refuses.
        """
        decoder = Decoder(layout, pods, self._total)
        for block, _, part in self._centred():
            decoder.read(block, part)
        return decoder.aggregate()

    @property
    def _full(self) -> bool:
        return self._since_fold == self._field.unsigned_adds_between_folds

    def _parts(self) -> Iterator[tuple[int, slice, npt.NDArray[np.uint64], npt.NDArray[np.uint64]]]:
        """Yield for each span: its first block, its place in the vector, its elements, and scratch of their size."""
        scratch = _scratch(len(self._total), _UINT64)
        for block, at in spans(len(self._total)):
            part = self._total[at]
            yield block, at, part, scratch[: len(part)]

    def _centred(self) -> Iterator[tuple[int, slice, Int64]]:
        """Yield for each span: its first block, its place, and its centred elements, which the next overwrites."""
        moved = _scratch(len(self._total), _UINT64)
        for block, at, part, spare in self._parts():
            if self._full:
                self._field.fold(part, spare)
            yield block, at, self._field.centre(part, spare, moved[: len(part)])


def check_vector(layout: Layout, vector: Words, who: str) -> None:
    """Raise `AggregateRefused`, naming the pod, unless ``vector`` has the length and type of a step's."""
    if vector.dtype != layout.field.dtype or vector.shape != (layout.length,):
        raise AggregateRefused(f"pod '{who}' sent a vector of another length or type than the step asks for")
