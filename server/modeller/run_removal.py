"""Removing a run: its own directory and nothing that it, or a link, points at."""

import os
import shutil
from pathlib import Path

from fl_app.errors import UsageError
from server.app.run_directory import LATEST, RunDirectory


def removable(given: str, runs: Path) -> RunDirectory:
    """Return the run ``given``, a name or `latest`, if it is a directory of its own right under ``runs``.

    Raises
    ------
    UsageError
        There is no such run under ``runs``, or what bears its name is a link to somewhere else.
    """
    home = runs.resolve()
    entry = home / (os.path.basename(given.rstrip("/")) if Path(given).parent.resolve() == home else given)
    if entry.name == LATEST and entry.is_symlink():
        entry = home / os.readlink(entry)
    # Compared as text, not resolved: a link or a `..` on the way must not lead out.
    if Path(os.path.abspath(entry)).parent != home or entry.is_symlink():
        raise UsageError(f"{given}: not a run's own directory in {runs}, and links are not followed")
    if not (entry / "config.json").is_file():
        raise UsageError(f"{given}: no run directory in {runs}; `fl-app runs` lists the runs")
    return RunDirectory(entry)


def remove(run: RunDirectory) -> str | None:
    """Remove the run's directory; where `latest` led there, it leads to the newest that is left.

    Returns
    -------
    str or None
        Where `latest` leads now; None where no run is left, or `latest` was not there.

    Raises
    ------
    UsageError
        The run is under way, or a file of it cannot be removed.
    """
    runs = run.path.parent
    with run.carried_out():
        try:
            shutil.rmtree(run.path)  # removes links in it as links
            return _mend(runs)
        except OSError as error:
            raise UsageError(f"{error.filename or run.path}: cannot be removed: {error.strerror}") from error


def _mend(runs: Path) -> str | None:
    link = runs / LATEST
    if not link.is_symlink():
        return None
    if not link.exists():
        left = RunDirectory.all(runs)
        if not left:
            link.unlink()
            return None
        new = runs / f".{LATEST}-{left[-1].name}"
        new.symlink_to(left[-1].name)
        new.replace(link)
    return os.readlink(link)
