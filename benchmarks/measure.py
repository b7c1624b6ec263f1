"""Timing rivals in turn, so that whatever else the machine does meets them alike; and what machine it was."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "cryptography", "flwr", "torch")


@dataclass(frozen=True)
class Contender:
    """A way to do something: ``work`` does it for ``done`` of the elements that are asked for (None: for all)."""

    by: str
    work: Callable[[], Any]
    done: int | None = None


@dataclass(frozen=True)
class Measured:
    """Nanoseconds per element of one thing: the median of the repeats, the least and the most.

    ``cpu`` is the median of the processors' time, all threads together: less disturbed by what else the machine does.
    """

    what: str
    by: str
    pods: int
    elements: int
    median: float
    least: float
    most: float
    cpu: float


def race(
    what: str, pods: int, elements: int, contenders: Sequence[Contender], repeats: int, patience: float = 30.0
) -> Iterator[Measured]:
    """Run each contender once to warm up, then all in turn against the clock.

    Parameters
    ----------
    repeats : int
        How often; at least 3 times, but no more once ``patience`` seconds are over.
    """
    for contender in contenders:
        contender.work()
    taken: dict[str, list[tuple[float, float]]] = {contender.by: [] for contender in contenders}
    began = time.perf_counter()
    for turn in range(repeats):
        if turn >= 3 and time.perf_counter() - began > patience:
            break
        for contender in contenders:
            started, used = time.perf_counter(), time.process_time()
            contender.work()
            took, used = time.perf_counter() - started, time.process_time() - used
            each = 1e9 / (contender.done or elements)
            taken[contender.by].append((took * each, used * each))
    for by, pairs in taken.items():
        times, cpu = zip(*pairs, strict=True)
        median = statistics.median(times)
        yield Measured(what, by, pods, elements, median, min(times), max(times), statistics.median(cpu))


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, memory, versions, how busy it was, and the date."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
