"""The runs below one directory, as the hub reads them: a file again only once it has changed.

A run's directory may come from anybody. A name leads to a directory in it and nowhere else, no link is followed, and
what cannot be read is an entry that says so.
"""

import fcntl
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from fl_app.errors import FlAppError
from fl_app.hub.role import NotThere
from server.app.document import Document
from server.app.results import Results
from server.app.run_directory import LATEST, RunDirectory
from server.modeller.folds.directory import PREFIX as CROSS_VALIDATIONS
from server.modeller.tuning.directory import PREFIX as TUNINGS

_KEPT_RUNS = 64
"""Runs whose files stay in memory."""
_SILENT = 60.0
"""Seconds without news after which it is looked whether a process still carries a run out."""
UNDER_WAY, GONE = ("running", "starting"), "ended without a word"
_Kind = TypeVar("_Kind", bound=Document)
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Summary:
    """A run in the list of runs.

    Attributes
    ----------
    name
        The run's.
    status
        That of results.json, "starting", "damaged" where a file cannot be read, or `GONE` where nobody carries it out.
    pods
        Their names.
    rounds
        Completed ones and those wanted, in words.
    figures
        Headline metrics of the run's model, by name.
    privacy
        Epsilon in words; "" if nothing is promised.
    started
        ISO 8601; "" where it is not known.
    error
        Why it failed, or cannot be read.
    """

    name: str
    status: str
    pods: tuple[str, ...] = ()
    rounds: str = ""
    target: str = ""
    figures: tuple[tuple[str, float], ...] = ()
    privacy: str = ""
    started: str = ""
    seconds: float | None = None
    error: str = ""


class KeptRun(RunDirectory):
    """A run's directory whose files are read again only once they have changed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._kept: dict[str, tuple[_Stamp | None, Document]] = {}

    def _read(self, name: str, kind: type[_Kind]) -> _Kind:
        stamp = stamp_of(self.path / name)
        before, found = self._kept.get(name, (None, None))
        if stamp is not None and stamp == before and isinstance(found, kind):
            return found
        read = super()._read(name, kind)
        self._kept[name] = (stamp, read)
        return read

    def gone(self) -> bool:
        """Say whether a run that has not ended is carried out by nobody: there was no news, and no lock is held."""
        stamp = stamp_of(self.path / "results.json") or stamp_of(self.path / "config.json")
        return stamp is not None and time.time() - stamp[0] / 1e9 > _SILENT and not self.under_way()

    def under_way(self) -> bool:
        """Say whether a process carries the run out, or nothing tells."""
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False


class RunFiles:
    """The runs below a directory.

    Parameters
    ----------
    runs
        The directory; it may not be there yet.
    """

    def __init__(self, runs: Path) -> None:
        self.path = runs
        self._summaries: dict[str, tuple[Any, Summary]] = {}
        self._runs: OrderedDict[str, KeptRun] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of the runs, the newest first; a name begins with the time at which the run was made."""
        return sorted((name for name, is_run in self._entries() if is_run), reverse=True)

    def several(self) -> list[str]:
        """Return the names of tunings and cross-validations, the newest first."""
        found = (
            name for name, is_run in self._entries() if not is_run and name.startswith((TUNINGS, CROSS_VALIDATIONS))
        )
        return sorted(found, key=lambda name: name.partition("-")[2], reverse=True)

    def run(self, name: str) -> KeptRun:
        """Return a run by its name, or the newest by `LATEST`.

        Raises
        ------
        NotThere
            If there is none.
        """
        if name == LATEST:
            with suppress(OSError):
                name = os.readlink(self.path / LATEST)
        path = self.path / name
        if not _is_name(name) or path.is_symlink() or not (path / "config.json").is_file():
            raise NotThere(f"There is no run {name!r} in {self.path}.")
        with self._lock:
            found = self._runs.pop(name, None) or KeptRun(path)
            self._runs[name] = found
            while len(self._runs) > _KEPT_RUNS:
                self._runs.popitem(last=False)
        return found

    def summary(self, name: str) -> Summary:
        """Return a run's entry in the list; of one that cannot be read, that it is damaged."""
        path = self.path / name
        stamps = (stamp_of(path / "config.json"), stamp_of(path / "results.json"))
        before = self._summaries.get(name)
        if before and before[0] == stamps:
            made = before[1]
        else:
            try:
                made = _summary(RunDirectory(path))
            except (FlAppError, OSError, TypeError, ValueError, AttributeError) as error:
                made = Summary(name, "damaged", error=str(error))
            self._summaries[name] = (stamps, made)
        if made.status in UNDER_WAY and KeptRun(path).gone():
            return replace(made, status=GONE)
        return made

    def _entries(self) -> Iterator[tuple[str, bool]]:
        """Yield the name of each directory, and whether it is a run's."""
        try:
            entries = list(os.scandir(self.path))
        except OSError:
            return
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name, os.path.isfile(os.path.join(entry.path, "config.json"))


def stamp_of(path: Path) -> _Stamp | None:
    """Return what is another once a file has been replaced or written to; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _is_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not {"/", "\\", "\0"} & set(name)


def _summary(run: RunDirectory) -> Summary:
    results, settings = run.results(), dict(run.request().settings)
    if results.training:
        settings |= results.training.settings
    most = settings.get("rounds")
    rounds = f"{len(results.rounds)} of {'?' if most is None else most}"
    structure = settings.get("datastructure")
    return Summary(
        run.name,
        results.status or "starting",
        pods=tuple(pod.name for pod in results.pods) or tuple(map(str, settings.get("pods", ()))),
        rounds="description" if settings.get("describes") else rounds,
        target=str(structure.get("target") or "") if isinstance(structure, dict) else "",
        figures=tuple(_headline(results)),
        privacy=f"epsilon {results.privacy.epsilon:g}" if results.privacy and results.private else "",
        started=results.started or "",
        seconds=results.seconds,
        error=results.error or "",
    )


def _headline(results: Results) -> Iterator[tuple[str, float]]:
    metrics = results.test if results.no_figures and results.test else results.final
    for name in ("r2", "rmse") if results.regression else ("auc", "accuracy"):
        value = getattr(metrics, name, None)
        if value is not None:
            yield name, value
