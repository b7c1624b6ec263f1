"""A place in memory for what tests write: ledgers are synchronous, and on a disk they take most of a test's time."""

import os
from pathlib import Path

import psutil

_PLACE = Path("/dev/shm")  # noqa: S108  each test's own directory in it is closed to others
_ROOM = 4 * 2**30
"""Bytes: a run of all tests leaves less than a tenth of that."""


def place_in_memory() -> Path | None:
    """Return the place, if the system has one with room, in which programs may be run too."""
    try:
        system = os.statvfs(_PLACE)
    except OSError:
        return None
    room = min(system.f_bavail * system.f_frsize, psutil.virtual_memory().available)
    fit = room >= _ROOM and not system.f_flag & os.ST_NOEXEC and os.access(_PLACE, os.W_OK)
    return _PLACE if fit else None
