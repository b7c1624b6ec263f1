"""Feed a target with damaged messages, and take the time and the memory it needs."""

import resource
import time
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.targets import Target

LONGEST = 2.0  # seconds for one input, on any machine
MEMORY = 300 << 20  # bytes that may come on top while fuzzing


@dataclass
class Count:
    """How many inputs a target has taken, and the slowest one in seconds."""

    inputs: int = 0
    slowest: float = 0.0


def fuzz(target: Target, inputs: int, *, shrink: bool = True) -> Count:
    """Feed at least ``inputs`` damaged messages; raises whatever the target lets out, and for time or memory."""
    count = Count()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    def one(message: Any) -> None:
        started = time.perf_counter()
        target.take(message)
        count.inputs += 1
        count.slowest = max(count.slowest, time.perf_counter() - started)

    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    while count.inputs < inputs:
        chosen = settings(
            max_examples=inputs - count.inputs,
            database=None,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        )
        chosen(given(target.inputs)(one))()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
    if count.slowest > LONGEST:
        raise AssertionError(f"{target.name}: one input took {count.slowest:.1f} seconds")
    if grown > MEMORY:
        raise AssertionError(f"{target.name}: {grown >> 20} MB more memory")
    return count
