"""The core's speed: masks, a pod's step and the server's sum, beside rivals and limits measured in the same run.

The rivals are Flower's SecAgg+ (its own functions, with its default ranges) and scalar shares: one random field element
for a whole vector, as older systems add, which is fast and hides next to nothing.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_app.secagg.field import FIELD_31, FIELD_61, Field
from fl_app.secagg.fixed_point import Encoder, Layout, Segment, decode
from fl_app.secagg.masking import Sum, aligned, mask
from fl_app.secagg.prg import BLOCK, MaskStream, keystream

_MAX_WEIGHT = 1 << 14
_CLIP, _LEVELS, _MODULUS = 8.0, 1 << 22, 1 << 32  # SecAgg+'s defaults


@dataclass(frozen=True)
class Measured:
    """Nanoseconds per element of one thing: the median of the repeats, and the least and the most."""

    what: str
    by: str
    pods: int
    elements: int
    median: float
    least: float
    most: float


def measure(
    what: str, by: str, pods: int, elements: int, work: Callable[[], Any], repeats: int, done: int | None = None
) -> Measured:
    """Run ``work``, which handles ``done`` elements (default all), once to warm up and then against the clock."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) / (done or elements) * 1e9)
    return Measured(what, by, pods, elements, statistics.median(taken), min(taken), max(taken))


def core(sizes: tuple[int, ...], pods: tuple[int, ...], repeats: int) -> Iterator[Measured]:
    """Measure everything for vectors of each size, and cohorts of each number of pods."""
    for size in sizes:
        yield from _limits(size, repeats)
        for field in (FIELD_61, FIELD_31):
            yield from _one_mask(size, field, repeats)
        yield from _secaggplus_mask(size, repeats)
        for count in pods:
            for field in (FIELD_61, FIELD_31):
                yield from _ours(size, count, field, repeats)
            if count <= 10:
                yield from _secaggplus(size, count, repeats)
                yield from _scalar(size, count, repeats)


def ratios(measured: list[Measured]) -> dict[str, float]:
    """Return the figures that matter, as ratios within this run, at the largest size measured."""
    size = max(m.elements for m in measured if m.by == "fl-app 2^61-1")
    ten = {(m.what, m.by): m.median for m in measured if m.elements == size and m.pods in (1, 10)}
    ours = {what: ten[what, "fl-app 2^61-1"] for what in ("one mask", "pod step", "server", "server, unmasking")}
    limit = ten["8 bytes", "AES-256-CTR"]
    return {
        "mask_over_aes256": ours["one mask"] / limit,
        "secaggplus_over_mask": ten["one mask", "SecAgg+"] / ours["one mask"],
        "secaggplus_over_pod_step": ten["pod step", "SecAgg+"] / ours["pod step"],
        "secaggplus_over_server": ten["server", "SecAgg+"] / ours["server"],
        "secaggplus_over_unmasking_server": ten["server, unmasking", "SecAgg+"] / ours["server, unmasking"],
        "pod_step_over_aes256": ours["pod step"] / (10 * limit),
        "scalar_over_pod_step": ten["pod step", "scalar shares"] / ours["pod step"],
    }


def as_rows(measured: list[Measured]) -> list[dict[str, Any]]:
    """Return the measurements as plain dictionaries."""
    return [asdict(m) for m in measured]


def _vector(size: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=size).astype(np.float32)


def _limits(size: int, repeats: int) -> Iterator[Measured]:
    zeros, buffer = bytes(BLOCK * 8), bytearray(BLOCK * 8)
    source, target = np.zeros(size), np.empty(size)
    blocks = max(1, size // BLOCK)

    def aes() -> None:
        stream = keystream(bytes(32), 0, 0)
        for _ in range(blocks):
            stream.update_into(zeros, buffer)

    yield measure("8 bytes", "AES-256-CTR", 1, size, aes, repeats, done=blocks * BLOCK)
    yield measure("8 bytes", "memcpy", 1, size, lambda: np.copyto(target, source), repeats)


def _name(field: Field) -> str:
    return f"fl-app 2^{field.bits}-1"


def _one_mask(size: int, field: Field, repeats: int) -> Iterator[Measured]:
    words, total = aligned(BLOCK, field.dtype), aligned(BLOCK, np.dtype(np.int64))
    signed = words.view(np.int64) if field.dtype.itemsize == 8 else words
    blocks = max(1, size // BLOCK)

    def work() -> None:
        stream = MaskStream(bytes(32), field)
        for _ in range(blocks):
            stream.read(words)
            np.add(total, signed, out=total, casting="unsafe")

    yield measure("one mask", _name(field), 1, size, work, repeats, done=blocks * BLOCK)


def _ours(size: int, pods: int, field: Field, repeats: int) -> Iterator[Measured]:
    vector = _vector(size)
    layout = Layout(field, pods, _MAX_WEIGHT, [Segment("update", "update", _CLIP, size)])
    seeds = [i.to_bytes(32, "big") for i in range(pods)]  # pods - 1 pair masks and a self mask
    half = pods // 2

    def step() -> Any:
        return mask(layout, Encoder(layout, 100, {"update": vector}), seeds[:half], seeds[half:])

    yield measure("pod step", _name(field), pods, size, step, repeats)
    if pods > 10:
        return
    plain = mask(layout, Encoder(layout, 100, {"update": vector}), [], [])

    def server(self_masked: bool) -> Any:
        total = Sum(field, layout.length)
        for _ in range(pods):
            total.add(plain)
        if self_masked:  # as many masks off as on leaves a sum that decodes
            total.remove(seeds[:half], seeds[:half])
        return decode(layout, total.centred())

    yield measure("server", _name(field), pods, size, lambda: server(False), repeats)
    yield measure("server, unmasking", _name(field), pods, size, lambda: server(True), repeats)


def _secaggplus_mask(size: int, repeats: int) -> Iterator[Measured]:
    from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    vector: Any = [np.zeros(size, np.int64)]

    def work() -> Any:
        return parameters_addition(vector, pseudo_rand_gen(bytes(32), _MODULUS, [(size,)]))

    yield measure("one mask", "SecAgg+", 1, size, work, repeats)


def _secaggplus(size: int, pods: int, repeats: int) -> Iterator[Measured]:
    """Measure SecAgg+ as its client and its workflow compute: quantise, weight, add masks; sum, unmask, dequantise."""
    from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
    from flwr.common.secure_aggregation.quantization import dequantize, quantize
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    vector: Any = [_vector(size)]
    seeds = [i.to_bytes(32, "big") for i in range(1, pods + 1)]

    def step() -> Any:
        quantized: Any = arithmetic.parameters_multiply(quantize(vector, _CLIP, _LEVELS), 1)
        for i, seed in enumerate(seeds):
            noise = pseudo_rand_gen(seed, _MODULUS, [(size,)])
            combine = arithmetic.parameters_addition if i % 2 else arithmetic.parameters_subtraction
            quantized = combine(quantized, noise)
        return arithmetic.parameters_mod(quantized, _MODULUS)

    yield measure("pod step", "SecAgg+", pods, size, step, repeats)
    masked: Any = step()

    def server(removed: list[bytes]) -> Any:
        total: Any = masked
        for _ in range(pods - 1):
            total = arithmetic.parameters_addition(total, masked)
        for seed in removed:
            total = arithmetic.parameters_subtraction(total, pseudo_rand_gen(seed, _MODULUS, [(size,)]))
        total = arithmetic.parameters_mod(total, _MODULUS)
        return dequantize(total, _CLIP, _LEVELS)

    yield measure("server", "SecAgg+", pods, size, lambda: server([]), repeats)
    yield measure("server, unmasking", "SecAgg+", pods, size, lambda: server(seeds), repeats)


def _scalar(size: int, pods: int, repeats: int) -> Iterator[Measured]:
    """Measure scalar shares: encode into Z_q, then add and take away one number a pod, each reduced at once."""
    vector, prime, scale = _vector(size), FIELD_61.prime, 2.0**30

    def step() -> Any:
        field = np.rint(vector.astype(np.float64) * scale).astype(np.int64) % prime
        for i in range(1, pods):
            field = (field + i) % prime
        return field

    yield measure("pod step", "scalar shares", pods, size, step, repeats)
