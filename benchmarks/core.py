"""The core's speed: one more mask, a pod's step, the server's sum, beside rivals and limits of the same run."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from benchmarks import rivals
from benchmarks.measure import Contender, Measured, race
from fl_app.secagg.codec import Encoder, Layout, Segment
from fl_app.secagg.field import FIELD_31, FIELD_61, Field, Words
from fl_app.secagg.keystream import BLOCK, MaskStream, aligned, word_buffer
from fl_app.secagg.mask_pipeline import read_ahead, read_in_turn, span_of
from fl_app.secagg.masking import Sum, check_vector, mask
from fl_app.secagg.messages import TRAIN, ElementClass, Proof
from fl_app.secagg.tags import Tag, tag_elements
from fl_app.secagg.verified_sum import Pending, check_sum

_BOUND = 8.0
_MAX_WEIGHT = {61: 1 << 14, 31: 1 << 10}
_WEIGHT = 500
_VECTORS = 2
"""Different vectors that the sums go over again and again: the memory of more is better left to them."""
_UNTIL_FOLDED = 6
_TAG_KEY, _LABEL = bytes(range(32)), bytes(32)
_ALONE = ", one thread"
_VERIFIED = ", verified"


def core(sizes: Sequence[int], pods: Sequence[int], repeats: int) -> Iterator[Measured]:
    """Measure everything for vectors of each size, and cohorts of each number of pods."""
    for size in sizes:
        yield from race("8 bytes", 1, size, _limits(size), repeats)
        masks = [*(_one_mask(size, field) for field in (FIELD_61, FIELD_31)), _one_mask(size, FIELD_61, alone=True)]
        yield from race("one mask", 1, size, [*masks, _secaggplus_mask(size)], repeats)
        for count in pods:
            yield from _step_and_sum(size, count, repeats)


def ratios(measured: Sequence[Measured], figure: str = "median") -> dict[str, float]:
    """Return the figures that matter, as ratios within this run, at the largest size measured, for ten pods.

    ``figure`` is "median" or "cpu"; without a cohort of ten there is nothing to return.
    """
    size = max(m.elements for m in measured)
    ten = {(m.what, m.by): getattr(m, figure) for m in measured if m.elements == size and m.pods in (1, 10)}
    if ("pod step", _name(FIELD_61)) not in ten:
        return {}
    ours = {what: ten[what, _name(FIELD_61)] for what in ("one mask", "pod step", "server", "server, unmasking")}
    limit = ten["8 bytes", "AES-256-CTR"]
    return {
        "mask_over_aes256": ours["one mask"] / limit,
        "secaggplus_over_mask": ten["one mask", "SecAgg+"] / ours["one mask"],
        "secaggplus_over_pod_step": ten["pod step", "SecAgg+"] / ours["pod step"],
        "secaggplus_over_server": ten["server", "SecAgg+"] / ours["server"],
        "secaggplus_over_unmasking_server": ten["server, unmasking", "SecAgg+"] / ours["server, unmasking"],
        "verified_over_pod_step": ten["pod step", _name(FIELD_61) + _VERIFIED] / ours["pod step"],
        "pod_step_over_aes256": ours["pod step"] / (10 * limit),
        "server_over_memcpy": ours["server"] / (11 * ten["8 bytes", "memcpy"]),
        "scalar_over_pod_step": ten["pod step", "scalar shares"] / ours["pod step"],
    }


def _vector(size: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=size).astype(np.float32)


def _limits(size: int) -> list[Contender]:
    """AES into a buffer that stays in the cache; memory to memory; the digest that a vector is signed by."""
    zeros, buffer = bytes(BLOCK * 8), word_buffer(FIELD_61).data.cast("B")
    source, target = np.ones(size), np.ones(size)
    blocks = max(1, size // BLOCK)

    def ctr() -> None:
        stream = Cipher(AES256(bytes(32)), CTR(bytes(16))).encryptor()
        for _ in range(blocks):
            stream.update_into(zeros, buffer)

    def gcm() -> None:
        stream = Cipher(AES256(bytes(32)), GCM(bytes(12))).encryptor()
        for _ in range(blocks):
            stream.update_into(zeros, buffer)

    return [
        Contender("AES-256-CTR", ctr, blocks * BLOCK),
        Contender("AES-256-GCM", gcm, blocks * BLOCK),
        Contender("memcpy", lambda: np.copyto(target, source)),
        Contender("SHA-256", lambda: hashlib.sha256(source.data).digest()),
    ]


def _name(field: Field) -> str:
    return f"fl-app 2^{field.bits}-1"


def _one_mask(size: int, field: Field, alone: bool = False) -> Contender:
    """Expand and add a mask, with its share of the reductions that keep sums from overflowing.

    ``alone``: on one thread; otherwise as in a pod's step, where a second one runs the cipher.
    """
    span = span_of(size)
    total, scratch = np.zeros(span * BLOCK, np.int64), aligned(span * BLOCK, np.dtype(np.int64))
    into = word_buffer(field, span)

    def work() -> None:
        stream = MaskStream(bytes(32), field)
        with nullcontext(read_in_turn([stream], into, size)) if alone else read_ahead([stream], field, size) as words:
            for number, part in enumerate(words):
                sums = total[: len(part)]
                signed = part.view(np.int64) if part.itemsize == 8 else part
                (np.add if number % 2 else np.subtract)(sums, signed, out=sums, casting="unsafe")
                if number % _UNTIL_FOLDED == 0:
                    field.fold(sums, scratch[: len(part)])

    return Contender(_name(field) + (_ALONE if alone else ""), work)


def _secaggplus_mask(size: int) -> Contender:
    vector: rivals.Arrays = [np.zeros(size, np.int64)]
    return Contender("SecAgg+", lambda: rivals.secaggplus_mask(vector, bytes(32)))


def _step_and_sum(size: int, pods: int, repeats: int) -> Iterator[Measured]:
    vector = _vector(size)
    seeds = [i.to_bytes(32, "big") for i in range(1, pods + 1)]
    fields = [_Ours(vector, pods, field, seeds) for field in (FIELD_61, FIELD_31)]
    theirs = [rivals.secaggplus_pod_step([vector], _WEIGHT, s, seeds[1:]) for s in seeds[:_VECTORS]]
    scalar = [rivals.scalar_pod_step(vector, pods)] * pods
    many = [theirs[i % len(theirs)] for i in range(pods)]
    yield from race("pod step", pods, size, [
        *(Contender(_name(ours.field), ours.step) for ours in fields),
        *(Contender(_name(ours.field) + _VERIFIED, ours.verified_step) for ours in fields),
        Contender("SecAgg+", lambda: rivals.secaggplus_pod_step([vector], _WEIGHT, seeds[0], seeds[1:])),
        Contender("scalar shares", lambda: rivals.scalar_pod_step(vector, pods)),
    ], repeats)  # fmt: skip
    yield from race("sum checked", pods, size, [Contender(_name(o.field), o.check) for o in fields], repeats)
    yield from race("server", pods, size, [
        *(Contender(_name(ours.field), ours.server) for ours in fields),
        Contender("SecAgg+", lambda: rivals.secaggplus_server(many, [])),
        Contender("scalar shares", lambda: rivals.scalar_server(scalar)),
    ], repeats)  # fmt: skip
    yield from race("server, unmasking", pods, size, [
        *(Contender(_name(ours.field), ours.unmasking_server) for ours in fields),
        Contender("SecAgg+", lambda: rivals.secaggplus_server(many, seeds)),
    ], repeats)  # fmt: skip


class _Ours:
    """A pod's step with all its masks, and the server's with the vectors of all pods."""

    def __init__(self, vector: npt.NDArray[np.float32], pods: int, field: Field, seeds: list[bytes]) -> None:
        self.field, self._vector, self._pods, self._seeds = field, vector, pods, seeds
        self._weight = min(_WEIGHT, _MAX_WEIGHT[field.bits])
        segment = Segment("update", "update", _BOUND, len(vector))
        self._layout = Layout(field, pods, _MAX_WEIGHT[field.bits], [segment])
        self._tagged = Layout(field, pods, _MAX_WEIGHT[field.bits], [segment], tag_elements(field))
        self._names = tuple(f"pod-{number}" for number in range(pods))
        self._proved = self._proved_sum()
        self._bare = [mask(self._layout, self._encoder(), [], []) for _ in range(_VECTORS)]

    def _encoder(self, layout: Layout | None = None) -> Encoder:
        return Encoder(layout or self._layout, self._weight, {"update": self._vector})

    def step(self) -> Any:
        """Encode, and add a mask for each other pod and a self mask."""
        half = self._pods // 2
        return mask(self._layout, self._encoder(), self._seeds[:half], self._seeds[half:])

    def verified_step(self) -> Any:
        """The same, with the tag of a verified session."""
        half = self._pods // 2
        tag = Tag(self._tagged, _TAG_KEY, self._names[0])
        return mask(self._tagged, self._encoder(self._tagged), self._seeds[:half], self._seeds[half:], tag)

    def check(self) -> Any:
        """Check a sum that the server proves, and decode it, as a pod does before its next step."""
        return check_sum(*self._proved)

    def _proved_sum(self) -> tuple[Pending, Proof, Words]:
        """Return what a pod keeps of a step, and the proof of the sum of as many equal vectors as there are pods."""
        total = np.zeros(self._tagged.length, np.uint64)
        for name in self._names:
            vector = mask(self._tagged, self._encoder(self._tagged), [], [], Tag(self._tagged, _TAG_KEY, name))
            total = (total + vector) % np.uint64(self.field.prime)
        classes = (ElementClass("update", "update", _BOUND),)
        sizes = (len(self._vector),)
        step = (self.field.prime, self._tagged.max_weight, classes, sizes, TRAIN, 1, self._names, self._pods)
        return Pending(_LABEL, _TAG_KEY, *step), Proof(_LABEL, self._names), total.astype(self.field.dtype)

    def server(self) -> Any:
        """Check and sum one vector from each pod, and decode."""
        return self._sum().decoded(self._layout)

    def unmasking_server(self) -> Any:
        """The same, with a mask of each pod to be taken off. As many off as on leave a sum that decodes."""
        total, half = self._sum(), self._pods // 2
        total.remove(self._seeds[:half], self._seeds[:half])
        return total.decoded(self._layout)

    def _sum(self) -> Sum:
        total = Sum(self.field, self._layout.length)
        for i in range(self._pods):
            vector = self._bare[i % _VECTORS]
            check_vector(self._layout, vector, "")
            total.add(vector)
        return total
