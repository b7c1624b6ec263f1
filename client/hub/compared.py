"""A refused version of the app against the last approved one, compared by a process that is given some seconds.

A bundle that was refused came from anybody, and lines can be made that take hours to compare: in a process of its own
that ends with its time, not with the hub.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from client.site.app_diff import FileChange, difference
from client.site.approved_apps import Apps
from fl_app.errors import FlAppError, UsageError
from fl_app.host.processes import same_path

SECONDS = 10.0
MOST_LINES = 400
"""Lines that are shown of one file's difference."""
MOST_FILES = 60
"""Files whose difference is shown; the others are listed."""


@dataclass(frozen=True)
class Compared:
    """What changed, or why that cannot be told; ``since`` is the hash of the version compared with, "" for none."""

    since: str
    changes: tuple[FileChange, ...] = ()
    why_not: str = ""


def compared(directory: Path, version: str) -> Compared:
    """Return what changed from the last approved version to a refused one, by the pod's home and the whole hash."""
    apps = Apps(directory)
    since = next((name for name in apps.names() if apps.approved(name)), "")
    return _compared(directory, since, version)


@lru_cache(maxsize=16)
def _compared(directory: Path, since: str, version: str) -> Compared:
    command = [sys.executable, "-P", "-m", "client.hub.compared", str(directory), version]
    try:
        done = subprocess.run(  # noqa: S603 - this file, by this interpreter
            command, capture_output=True, timeout=SECONDS, env={**os.environ, "PYTHONPATH": same_path({})}, check=False
        )
        document = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return Compared(since, why_not=f"comparing takes more than {SECONDS:.0f} seconds, which source code does not")
    except (OSError, ValueError):
        return Compared(since, why_not="the bundle cannot be compared")
    changes = tuple(FileChange(**{**one, "lines": tuple(one["lines"])}) for one in document["changes"])
    return Compared(since, changes, document["why_not"])


def main(directory: str, version: str) -> None:
    """Print what changed as JSON."""
    apps = Apps(Path(directory))
    changes: list[FileChange] = []
    why_not = ""
    try:
        changes = difference(apps.last(), apps.find_refused(version))
    except (UsageError, FlAppError) as error:
        why_not = str(error)
    shown = [asdict(one) | {"lines": one.lines[: MOST_LINES + 1]} for one in changes]
    print(json.dumps({"changes": shown, "why_not": why_not}))


if __name__ == "__main__":
    main(*sys.argv[1:])
