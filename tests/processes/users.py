"""Running commands as other Unix users, where the tests run as root and the system lets them."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The first of a hundred user numbers for each process of tests, so that those side by side share none.
FIRST_USER = 61_000 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# What the command needs may lie under a directory that is closed to others, such as root's home: in a mount namespace
# of the command's own, such a directory holds nothing but those places. $1: user; then CLOSED PLACE, ..., --, command.
_SCRIPT = """
set -e
user=$1; shift; here=$PWD; stash=/mnt; count=0
mount -t tmpfs -o mode=755 tmpfs $stash
while test "$1" != --; do
  count=$((count + 1)); mkdir $stash/$count; mount --bind "$2" $stash/$count
  eval "closed$count=\\$1 place$count=\\$2"; shift 2
done
shift
for number in $(seq $count); do
  eval "closed=\\$closed$number place=\\$place$number"
  if ! test -e "$closed/.opened"; then mount -t tmpfs -o mode=755 tmpfs "$closed"; : >"$closed/.opened"; fi
  mkdir -p "$place"; mount --bind $stash/$number "$place"
done
cd "$here"
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
"""


def as_user(user: int, places: Sequence[Path]) -> list[str]:
    """Return what goes before a command that user number ``user`` runs; all users may look into ``places`` then."""
    pairs: list[str] = []
    needed = sorted({Path(sys.base_prefix).resolve(), Path(sys.prefix).absolute(), ROOT, *places})
    for place in needed:
        if (closed := _closed_above(place)) and not any(
            place.is_relative_to(other) for other in needed if other != place
        ):
            pairs += [str(closed), str(place)]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh", str(user), *pairs, "--"]


def can_change_user(places: Sequence[Path]) -> bool:
    """Say whether commands can be run as other users here."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount", "mountpoint"))):
        return False
    command = [*as_user(FIRST_USER, places), sys.executable, "-c", "import fl_app.cli"]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, timeout=120).returncode == 0


def _closed_above(place: Path) -> Path | None:
    """Return the topmost directory above ``place`` that other users may not enter."""
    closed = [above for above in place.parents if not above.stat().st_mode & stat.S_IXOTH]
    return closed[-1] if closed else None
