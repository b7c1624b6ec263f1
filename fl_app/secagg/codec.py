"""The codec: named arrays of numbers to one vector of small integers and back.

A vector is made of segments. Real numbers are scaled by a power of two and rounded to the nearest integer; counts
stay as they are. For every segment the pods' sum must fit the centred field with bits to spare, or `CapacityError`.
In front of every block of 32,767 payload elements stands one roll-call element, always 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fl_app.secagg.errors import AggregateRefused, CapacityError, ValueRefused
from fl_app.secagg.field import Field, Int64, Words
from fl_app.secagg.keystream import BLOCK

Kind = Literal["update", "mean", "sum", "count"]
PAYLOAD = BLOCK - 1
CLIPPED = "clipped"
WEIGHT = "weight"
_ROUNDER = 1.5 * 2.0**52
_ROUNDER_BITS = int(np.float64(_ROUNDER).view(np.int64))


@dataclass(frozen=True)
class Segment:
    """A named run of elements of one class.

    Attributes
    ----------
    name : str
        Its key among the values.
    kind : "update", "mean", "sum" or "count"
        ``update``: real, multiplied by the pod's weight; elements past the bound are clipped, and counted.
        ``mean``: real, multiplied by the weight; ``sum``: real, as it is; ``count``: a non-negative integer.
        In these three an element past the bound is refused.
    bound : float
        Largest magnitude of one pod's element, before the weight.
    size : int
        Number of elements.
    """

    name: str
    kind: Kind
    bound: float
    size: int = 1

    @property
    def weighted(self) -> bool:
        """Whether elements are multiplied by the pod's weight before they are summed."""
        return self.kind in ("update", "mean")


class Layout:
    """Where each segment lies in the vector, and the scale of each.

    Parameters
    ----------
    field : Field
        Field of the sum.
    pods : int
        Number of pods summed.
    max_weight : int
        Largest weight one pod may have.
    segments : sequence of Segment
        In order. A ``weight`` segment is added in front, and, if there are updates, a ``clipped`` count at the end,
        which in the small field stops at the most that fits.
    tags : int
        Elements behind the last segment that are nobody's values: 0 when encoded, and not decoded. See `tags`.
    """

    def __init__(self, field: Field, pods: int, max_weight: int, segments: Sequence[Segment], tags: int = 0) -> None:
        if max_weight < 1:
            raise ValueRefused("the declared maximum weight is not positive")
        self.field, self.pods, self.max_weight = field, pods, max_weight
        updates = sum(segment.size for segment in segments if segment.kind == "update")
        countable = min(updates, ((1 << (field.bits - 1 - field.headroom)) - 1) // pods)
        last = [Segment(CLIPPED, "count", countable)] if updates else []
        self.segments = (Segment(WEIGHT, "count", max_weight), *segments, *last)
        names = [segment.name for segment in self.segments]
        if len(set(names)) != len(names):
            raise ValueRefused("two segments of the vector share a name")
        self.scales = {segment.name: self._scale(segment) for segment in self.segments}
        self.payload = sum(segment.size for segment in self.segments) + tags
        self.blocks = -(-self.payload // PAYLOAD)
        self.length = self.payload + self.blocks
        # Behind element k of the payload's order lie k others and the roll calls of its own block and those before.
        self.tag_places = tuple(k + k // PAYLOAD + 1 for k in range(self.payload - tags, self.payload))
        """Where in the vector the tag's elements lie."""

    def _scale(self, segment: Segment) -> float:
        """Largest power of two (1 for counts) by which the segment's sum still fits, with the field's headroom."""
        bound = segment.bound * (self.max_weight if segment.weighted else 1)
        # q/2 > pods * bound * scale * 2^headroom, where q/2 is just under 2^(bits-1)
        room = 2.0 ** (self.field.bits - 1 - self.field.headroom) / (self.pods * bound)
        mantissa, exponent = np.frexp(room)
        exponent = int(exponent) - (2 if mantissa == 0.5 else 1)  # the largest 2^exponent strictly below room
        if exponent < 0:
            raise CapacityError(self._no_room(segment, bound))
        return 1.0 if segment.kind == "count" else 2.0 ** min(exponent, 52)

    def _no_room(self, segment: Segment, bound: float) -> str:
        return (
            f"the sum of '{segment.name}' does not fit: {self.pods} pods x bound {bound:g} needs more than the"
            f" {self.field.bits - 1 - self.field.headroom} bits that 2**{self.field.bits}-1 leaves;"
            " lower the bound or the maximum weight, or use prime_q 2**61-1"
        )

    def capacity(self, segment: Segment) -> float:
        """Largest magnitude of the decoded integer sum of one element: every pod at its bound, rounded as it rounds."""
        bound = segment.bound * (self.max_weight if segment.weighted else 1)
        return self.pods * float(np.rint(bound * self.scales[segment.name]))

    def pieces(self, block: int, vector: Int64) -> Iterator[tuple[Segment, slice, Int64]]:
        """Yield (segment, slice of the segment, where in ``vector`` it lies) for blocks from the numbered one on.

        ``vector`` holds these blocks, all but the layout's last whole. What lies in it is an array [n], or, where one
        segment fills several blocks, all that it fills at once: [blocks, PAYLOAD].
        """
        rows = len(vector) // BLOCK
        if rows > 1 and rows * BLOCK == len(vector):
            start, end = block * PAYLOAD, (block + rows) * PAYLOAD
            inside = self._within(start, end)
            if len(inside) == 1 and inside[0][2] == slice(0, end - start):
                segment, source, _ = inside[0]
                yield segment, source, vector.reshape(rows, BLOCK)[:, 1:]
                return
        for at in range(0, len(vector), BLOCK):
            part = vector[at + 1 : at + BLOCK]
            start = (block + at // BLOCK) * PAYLOAD
            for segment, source, target in self._within(start, start + len(part)):
                yield segment, source, part[target]

    def _within(self, start: int, end: int) -> list[tuple[Segment, slice, slice]]:
        """Return (segment, slice of the segment, slice from ``start`` on) for what lies in a range of the payload."""
        pieces, at = [], 0
        for segment in self.segments:
            low, high = max(start, at), min(end, at + segment.size)
            if low < high:
                pieces.append((segment, slice(low - at, high - at), slice(low - start, high - start)))
            at += segment.size
        return pieces


class Encoder:
    """One pod's values, encoded block by block, so that nothing of the vector's size is made but the vector.

    Parameters
    ----------
    layout : Layout
        The vector's layout.
    weight : int
        The pod's weight, 0 to ``layout.max_weight``.
    values : mapping of name to array
        One flat array per declared segment: float32 or float64 for reals, integers for counts.

    Raises
    ------
    ValueRefused
        For names, sizes, types or values that the layout does not allow.
    """

    def __init__(self, layout: Layout, weight: int, values: Mapping[str, npt.NDArray[Any]]) -> None:
        if not 0 <= weight <= layout.max_weight:
            raise ValueRefused(f"the weight is not within the declared 0 to {layout.max_weight}")
        declared = [segment.name for segment in layout.segments if segment.name not in (WEIGHT, CLIPPED)]
        if set(values) != set(declared):
            raise ValueRefused(f"the values are not the declared ones: {', '.join(declared)}")
        self._layout, self._weight = layout, weight
        self._values = {WEIGHT: np.array([weight], dtype=np.int64), **values}
        self.clipped = 0
        for segment in layout.segments:
            if segment.name != CLIPPED:
                self._check(segment, self._values[segment.name])

    @staticmethod
    def _check(segment: Segment, array: npt.NDArray[Any]) -> None:
        wanted = "iu" if segment.kind == "count" else "f"
        if array.shape != (segment.size,) or array.dtype.kind not in wanted:
            raise ValueRefused(
                f"'{segment.name}' must be a flat array of {segment.size}"
                f" {'integers' if wanted == 'iu' else 'floating-point numbers'}"
            )

    def write(self, block: int, out: Int64) -> None:
        """Write the centred integers of the numbered block, and those after it that fit in ``out``, int64 [n].

        Blocks are to be written in order: the last one holds the count of the clipped.
        """
        out[::BLOCK] = 1
        start = block * BLOCK
        for place in self._layout.tag_places:
            if start <= place < start + len(out):
                out[place - start] = 0
        for segment, source, target in self._layout.pieces(block, out):
            if segment.name == CLIPPED:
                target[:] = min(self.clipped, int(segment.bound))
                continue
            part = self._values[segment.name][source].reshape(target.shape)
            if segment.kind == "count":
                target[:] = self._counts(segment, part)
            else:
                self._reals(segment, part, target)

    @staticmethod
    def _counts(segment: Segment, part: npt.NDArray[Any]) -> Int64:
        if int(part.min()) < 0 or int(part.max()) > segment.bound:
            raise ValueRefused(f"a count in '{segment.name}' is not within its declared bound {segment.bound:g}")
        return part.astype(np.int64)

    def _reals(self, segment: Segment, part: npt.NDArray[Any], out: Int64) -> None:
        bound = segment.bound
        # Compared as Python's floats, or float32's rounding of the bound would pass for it.
        if not (float(part.min()) >= -bound and float(part.max()) <= bound):
            part = np.asarray(part, dtype=np.float64)
            if not np.isfinite(part).all():
                raise ValueRefused(f"'{segment.name}' holds a value that is not finite")
            if segment.kind != "update":
                raise ValueRefused(f"a value in '{segment.name}' is past its declared bound {bound:g}")
            self.clipped += int(np.count_nonzero(np.abs(part) > bound))
            part = np.clip(part, -bound, bound)
        factor = self._layout.scales[segment.name] * (self._weight if segment.weighted else 1)
        scaled = out.view(np.float64)
        np.multiply(part, factor, out=scaled, dtype=np.float64)
        if self._layout.pods == 1:  # one pod's element may be past 2^51
            np.copyto(out, np.rint(scaled), casting="unsafe")
            return
        # Adding 1.5 * 2^52 rounds to the nearest integer, half to even, as rint does, and leaves it in the low bits.
        np.add(scaled, _ROUNDER, out=scaled)
        np.subtract(out, _ROUNDER_BITS, out=out)


@dataclass(frozen=True)
class Aggregate:
    """A decoded sum over ``pods`` pods: total weight, clipped elements, and per segment the mean or the sum.

    ``values[name]`` is float64 [size] for reals (divided by the total weight where weighted) and int64 for counts.
    """

    pods: int
    weight: int
    clipped: int
    values: dict[str, npt.NDArray[Any]]


class Decoder:
    """A sum of encoded vectors, decoded a few blocks at a time, in order.

    Parameters
    ----------
    layout : Layout
        The vectors' layout.
    pods : int or None
        How many were summed; None for the whole cohort.
    memory : array or None
        Words of 8 bytes, ``layout.payload`` or more, in which the values are to lie: new ones, or those that the sum
        itself lies in, where no value is written before what lay there has been read.
    """

    def __init__(self, layout: Layout, pods: int | None = None, memory: Words | None = None) -> None:
        self._layout, self._pods = layout, layout.pods if pods is None else pods
        self._weight = 0
        room = np.empty(layout.payload, np.uint64) if memory is None else memory
        self._values: dict[str, npt.NDArray[Any]] = {}
        at = 0
        for segment in layout.segments:
            kind = np.int64 if segment.kind == "count" else np.float64
            self._values[segment.name] = room[at : at + segment.size].view(kind)
            at += segment.size

    def read(self, block: int, total: Int64) -> None:
        """Decode the numbered block, and those after it that ``total`` holds, centred: int64 [n].

        Raises
        ------
        AggregateRefused
            If a roll call does not count every pod, or a sum is beyond what the pods could have sent.
        """
        if (total[::BLOCK] != self._pods).any():
            raise AggregateRefused("a roll call failed: the vectors summed are not one masked vector from each pod")
        for segment, source, part in self._layout.pieces(block, total):
            values = self._values[segment.name][source].reshape(part.shape)
            low, high = int(part.min()), int(part.max())
            least = 0 if segment.kind == "count" else -self._layout.capacity(segment)
            if low < least or high > self._layout.capacity(segment):
                raise AggregateRefused(f"the sum of '{segment.name}' is beyond what the pods may send")
            if segment.name == WEIGHT:
                self._weight = int(part[0])
            if segment.kind == "count":
                values[:] = part
            else:
                _to_reals(part, values, max(-low, high))
                values /= self._layout.scales[segment.name] * (self._weight or 1 if segment.weighted else 1)

    def aggregate(self) -> Aggregate:
        """Return what all blocks hold; raises `AggregateRefused` if weighted values have no weight."""
        if not self._weight and any(segment.weighted for segment in self._layout.segments):
            raise AggregateRefused("the pods' total weight is zero: there is nothing to average")
        values = dict(self._values)
        del values[WEIGHT]
        clipped = values.pop(CLIPPED, np.zeros(1))
        # Copies, so that they do not keep the whole sum's memory once the update has been used.
        values |= {
            s.name: values[s.name].copy() for s in self._layout.segments if s.kind != "update" and s.name in values
        }
        return Aggregate(self._pods, self._weight, int(clipped[0]), values)


def _to_reals(part: Int64, out: npt.NDArray[np.float64], largest: int) -> None:
    """Write the integers of ``part`` to ``out``; the way back of the encoder's rounding, where it reaches that far."""
    if largest > 1 << 51:
        out[:] = part
        return
    np.add(part, _ROUNDER_BITS, out=out.view(np.int64))
    np.subtract(out, _ROUNDER, out=out)


def decode(layout: Layout, total: Int64, pods: int | None = None) -> Aggregate:
    """Decode the centred sum ``total`` (int64 [layout.length]) of ``pods`` vectors (None: of the whole cohort).

    Raises
    ------
    AggregateRefused
        If the length is another's, or for what `Decoder` refuses.
    """
    if total.shape != (layout.length,):
        raise AggregateRefused("the summed vector has the wrong length")
    decoder = Decoder(layout, pods)
    for block in range(layout.blocks):
        decoder.read(block, total[block * BLOCK : (block + 1) * BLOCK])
    return decoder.aggregate()
