"""The owner's own pod, as commands name it: its home, and its file."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fl_app.errors import UsageError
from fl_app.system.home import fl_app_home, pod_home

if TYPE_CHECKING:
    from fl_app.pod.definition import Pod


def existing_home(name: str, home: Path | None = None) -> Path:
    """Return the directory of pod ``name``; raises `UsageError` if there is no such pod."""
    directory = pod_home(name, home)
    if not directory.is_dir():
        raise UsageError(f"{name}: no such pod in {home or fl_app_home()}; `fl-app pod keygen {name}` makes its key")
    return directory


def pod_in(file: Path, name: str) -> "Pod":
    """Return the pod that a file defines; raises `UsageError` if it is not pod ``name``, or as `load_pod`."""
    from fl_app.pod.pod_file import load_pod  # and pydantic, which asking for a home does without

    pod = load_pod(file)
    if pod.name != name:
        raise UsageError(f"{file}: is the file of pod {pod.name}, not of {name}")
    return pod


def last_file(name: str, home: Path | None = None) -> Path | None:
    """Return the file with which pod ``name`` was last run, wherever that is by now; None if it never was."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        return Path(json.loads((pod_home(name, home) / "flower" / "node.json").read_text("utf-8"))["file"])
    return None
