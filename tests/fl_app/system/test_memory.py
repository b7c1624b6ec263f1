"""What is freed goes back to the system, where glibc is the allocator; what is imported is left alone."""

import gc
import platform
import subprocess
import sys

import pytest

from fl_app.system.memory import uncollected

of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
_HEAD = """
from pathlib import Path
from fl_app.system.memory import free_large_blocks_at_once, give_back
def resident():
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
"""
_LARGE = """
free_large_blocks_at_once()
before = resident()
# Every second one is kept: with the threshold that glibc raises, the others would be holes in a heap.
for size in (30, 20, 10):
    del_me = bytearray(size << 20)
    del del_me
blocks = [bytearray(b"1") * (10 << 20) for _ in range(20)]
del blocks[::2]
print(resident() - before)
"""
_SMALL = """
blocks = [bytearray(b"1") * (100 << 10) for _ in range(2000)]
before = resident()
del blocks[::2]
give_back()
print(resident() - before)
"""


def printed(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", _HEAD + code], capture_output=True, text=True, check=True, timeout=120)
    return float(done.stdout)


@of_glibc
def test_large_blocks_leave_no_holes() -> None:
    assert printed(_LARGE) < 100 + 30


@of_glibc
def test_free_pages_between_others_are_given_back() -> None:
    assert printed(_SMALL) < -70


def test_what_is_imported_without_the_collector_is_left_alone_by_it_afterwards() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)
