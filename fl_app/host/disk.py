"""Which disk is full: whoever must make room is told where."""

import shutil
from pathlib import Path

from fl_app.errors import RunFailed

_LITTLE = 1 << 20
"""Bytes left at which a disk counts as full: some systems keep a few blocks back."""


class DiskFull(RunFailed):
    """A run that ended because nothing more could be written."""


def full_disks(*places: Path) -> str:
    """Return in a sentence which of the disks that hold ``places`` are full, and what to do."""
    full: dict[Path, Path] = {}
    for place in places:
        disk = mount_point(place)
        if shutil.disk_usage(disk).free < _LITTLE:
            full.setdefault(disk, place)
    if not full:
        # A quota, or somebody has made room in the meantime.
        listed = " or ".join(map(str, places))
        return f"the disk is full, or a quota is used up: make room in {listed}"
    listed = " and ".join(f"{disk}, which holds {place}" for disk, place in full.items())
    return f"the disk is full: make room on {listed}"


def mount_point(path: Path) -> Path:
    """Return the directory at which the file system that holds ``path`` is mounted."""
    path = path.resolve()
    while not path.is_mount() and path != path.parent:
        path = path.parent
    return path
