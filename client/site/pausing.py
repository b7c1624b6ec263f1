"""Pausing a pod and letting it answer again: a file that the pod looks for, and entries in its ledger.

A pause takes hold before it is entered, and its end is entered before it does, so that whatever goes wrong in between
leaves the pod silent.
"""

import os
from pathlib import Path

from client.app.ledger import Ledger
from client.site.own_pod import existing_home
from fl_app.errors import UsageError
from fl_app.secagg.errors import LedgerRefused
from fl_app.system.home import LEDGER_FILE, PAUSED_FILE, pod_home

PAUSE, RESUME = "pause", "resume"
"""The ledger's events."""
COMMAND, BUTTON = "by command", "by the hub's button"


def is_paused(name: str, home: Path | None = None) -> bool:
    """Say whether the owner of pod ``name`` has paused it."""
    return (pod_home(name, home) / PAUSED_FILE).exists()


def pause(name: str, home: Path | None = None, how: str = COMMAND) -> bool:
    """Stop pod ``name`` from answering, and return whether it was not paused before.

    Raises
    ------
    UsageError
        If there is no such pod, or the file cannot be written; or if the pod is paused now, and its ledger takes no
        entry.
    """
    file = _file(name, home)
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from error
    try:
        _enter(file, PAUSE, how)
    except LedgerRefused as error:
        raise UsageError(f"{name} is paused, but that could not be entered: {error}") from error
    return True


def resume(name: str, home: Path | None = None, how: str = COMMAND) -> bool:
    """Let pod ``name`` answer again, and return whether it was paused.

    Raises
    ------
    UsageError
        If there is no such pod, or if it stays paused: its ledger takes no entry, or the file cannot be removed.
    """
    file = _file(name, home)
    if not file.exists():
        return False
    try:
        _enter(file, RESUME, how)
        file.unlink(missing_ok=True)
    except LedgerRefused as error:
        raise UsageError(f"{name} stays paused: {error}") from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be removed: {error.strerror}") from error
    return True


def _file(name: str, home: Path | None) -> Path:
    return existing_home(name, home) / PAUSED_FILE


def _enter(file: Path, event: str, how: str) -> None:
    Ledger(file.parent / LEDGER_FILE).enter("", event, "", why=how)
