"""What allocator and garbage collector do: what a model took goes back at once, and imports are left alone."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE = 4 << 20
"""Bytes from which a block is one of its own: less than a piece of a message, 5 MiB, and more than most else."""
_ARENAS = 2


def free_large_blocks_at_once() -> None:
    """Have glibc map large blocks one by one, and its threads share their heaps; does nothing on other systems.

    By default the threshold rises with each large block that is freed, up to 32 MiB, and blocks below it are cut from
    heaps that shrink only at their end, of which every thread may have one. A process that receives models piece by
    piece, in threads, was measured to keep three times the memory that it used.
    """
    if mallopt := _of_glibc("mallopt"):  # advice: whether it is taken does not matter
        mallopt(ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(_LARGE))
        mallopt(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(_ARENAS))


@contextmanager
def uncollected() -> Iterator[None]:
    """Import what stays without having the garbage collector look through it, now or later.

    It would again and again, while modules are loaded: a tenth of the time that torch takes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def give_back() -> None:
    """Free what is unreachable and young, and have glibc give back free pages that lie between others.

    It takes some milliseconds, and is meant for when much memory is about to be needed.
    """
    gc.collect(1)
    if malloc_trim := _of_glibc("malloc_trim"):
        malloc_trim(ctypes.c_size_t(0))


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
