"""The core's speed: masks, a pod's step and the server's sum, beside rivals and limits measured in the same run."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_app.secagg.field import Field
from fl_app.secagg.fixed_point import Encoder, Layout, Segment, decode
from fl_app.secagg.masking import Sum, mask
from fl_app.secagg.prg import BLOCK, MaskStream, keystream

REPEATS = 5
_MAX_WEIGHT = 1 << 14


@dataclass(frozen=True)
class Measured:
    """Nanoseconds per element of one thing: the median of the repeats, and the least and the most."""

    name: str
    elements: int
    median: float
    least: float
    most: float


def measure(name: str, elements: int, work: Callable[[], Any], repeats: int = REPEATS) -> Measured:
    """Run ``work`` once to warm up and ``repeats`` times against the clock."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) / elements * 1e9)
    return Measured(name, elements, statistics.median(taken), min(taken), max(taken))


def limits(elements: int) -> list[Measured]:
    """AES-256-CTR into a cache-sized buffer, 8 bytes an element; a copy of 8 bytes an element."""
    zeros, buffer = bytes(BLOCK * 8), bytearray(BLOCK * 8)
    source, target = np.zeros(elements), np.empty(elements)

    def aes() -> None:
        stream = keystream(bytes(32), 0, 0)
        for _ in range(elements // BLOCK):
            stream.update_into(zeros, buffer)

    return [
        measure("aes256ctr", elements // BLOCK * BLOCK, aes),
        measure("memcpy", elements, lambda: np.copyto(target, source)),
    ]


def ours(elements: int, pods: int, field: Field) -> list[Measured]:
    """One more mask, a pod's whole step with its self mask, the server's sum and decode."""
    vector = np.random.default_rng(1).normal(size=elements).astype(np.float32)
    layout = Layout(field, pods, _MAX_WEIGHT, [Segment("update", "update", 8.0, elements)])
    seeds = [bytes([i]) * 32 for i in range(pods)]

    def step() -> npt.NDArray[Any]:
        half = len(seeds) // 2
        return mask(layout, Encoder(layout, 100, {"update": vector}), seeds[:half], seeds[half:])

    words, total = np.empty(BLOCK, field.dtype), np.zeros(BLOCK, np.int64)
    signed = words.view(np.int64) if field.dtype.itemsize == 8 else words
    blocks = max(1, elements // BLOCK)

    def one_mask() -> None:
        stream = MaskStream(bytes(32), field)
        for _ in range(blocks):
            stream.read(words)
            np.add(total, signed, out=total, casting="unsafe")

    plain = mask(layout, Encoder(layout, 100, {"update": vector}), [], [])

    def server(removed: int) -> None:
        summed = Sum(field, layout.length)
        for _ in range(pods):
            summed.add(plain)
        if removed:
            summed.remove([], [])
        decode(layout, summed.centred())

    def unmasking_server() -> None:
        summed = Sum(field, layout.length)
        for _ in range(pods):
            summed.add(masked)
        summed.remove(seeds, [])
        decode(layout, summed.centred())

    masked_parts = [mask(layout, Encoder(layout, 100, {"update": vector}), [seed], []) for seed in seeds[:1]]
    masked = masked_parts[0]
    suffix = f"{field.bits}, {pods} pods"
    found = [
        measure(f"one mask, {field.bits}", blocks * BLOCK, one_mask),
        measure(f"pod step, {suffix}", elements, step),
    ]
    found.append(measure(f"server, {suffix}", elements, lambda: server(0)))
    return found
