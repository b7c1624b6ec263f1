"""Why a run failed, in a sentence: from what Flower, Ray and the ServerApp have printed, and from simulated pods' logs.

In a simulation the pods are the modeller's own, and so are their logs. Of a deployment's pods only what the protocol
tells is known here.
"""

import re
import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from fl_app.federation.kinds import SimulatedFederation
from fl_app.system.home import LOG_FILE, is_pod_name, pod_home

_TAIL = 200_000
"""Bytes at the end of a log that are read."""
_LONGEST = 300
"""Characters of an error that are quoted."""
_NO_MEMORY = (
    "the machine ran out of memory, so a process of the run was ended: close other programs, or let fewer pods train at"
    " once"
)
_KNOWN: Mapping[str, str] = {
    r"timed out during startup|Timed out waiting for file \S*_port|Failed to connect to GCS": "Ray, which carries out "
    "simulations, did not start in time: the machine is too busy or short of memory; try again when it has less to do",
    r"OutOfMemoryError|killed due to the node running low on memory|MemoryError|Cannot allocate memory": _NO_MEMORY,
    r"No space left on device": "the disk is full: make room for the run directory and in /tmp",
    r"Too many open files": "too many files were open: raise the limit, as with `ulimit -n 4096`",
    r"WorkerDied|ActorDiedError|worker process has died|LocalRayletDiedError": "a pod's process crashed or was killed, "
    "as the system does when memory runs short: look at the free memory and at the system's own log",
}
"""What a log says -> what it means, and what to do; the first that is found counts."""
_ADVICE: Mapping[str, str] = {
    r"(ModuleNotFound|Import)Error\b": "a package is missing or does not fit; `fl-app doctor` checks the installation",
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WORKER = re.compile(r"^\((?P<worker>\w+ pid=\d+)[^)]*\) ?")
"""How a line is marked that a worker has printed, by Ray too."""
_TRACEBACK = "Traceback (most recent call last):"
_UNIMPORTANT = re.compile(r"^(INFO|WARNING|DEBUG) *:|^\s|^\W*$")
_SILENT_POD = re.compile(r"pod '(?P<name>[^']+)' could not answer; its own log says why")
_NO_REPLY = re.compile(r"did not answer within|its node could not answer|its app failed|was killed or crashed")
_IN_FULL = "\nin full: "
"""What precedes, in a pod's log, an error's text with all that only the table's owner may read."""
_UNNAMED = "a pod cannot tell in whose name to answer"
_OWN_ERROR = re.compile(r"^(fl_app|server|client|strategies)\.[\w.]+: ")
_ENTRY = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:]{8}\+00:00) (?=Traceback)", re.MULTILINE)


class RunLog:
    """A run's flower.log from now on: what an earlier attempt at the run has printed is left out.

    Parameters
    ----------
    path
        The file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begins = path.stat().st_size if path.exists() else 0
        self._since = datetime.now(UTC).replace(microsecond=0)

    def text(self) -> str:
        """Return its end, without colours; empty if there is none."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(self._begins, self.path.stat().st_size - _TAIL))
                return _COLOUR.sub("", file.read().decode("utf-8", "replace"))
        except OSError:
            return ""

    def cause(self) -> str:
        """Return why the process that printed it ended; empty if it does not say."""
        error = last_error(self.text())
        return known_cause(error) or error

    def explain(self, error: str, federation: object) -> str:
        """Return the ServerApp's own error with what this machine's logs know beyond it.

        A simulated pod that "could not answer; its own log says why" is shown with the error in that log; nodes that
        gave no answer are shown with what happened to their processes.
        """
        if not isinstance(federation, SimulatedFederation):
            return error
        text, home = self.text(), federation.home
        told = _SILENT_POD.sub(lambda found: self._of_pod(found, text, home), error)
        if told == error and _NO_REPLY.search(error):
            others = [line for line in errors_in(text) if line not in error]
            cause = known_cause(text) or (others[-1] if others else "")
            return f"{error}: {cause}" if cause else error
        return told

    def _of_pod(self, found: re.Match[str], text: str, home: Path) -> str:
        name = found["name"]
        cause = self._in_pod_log(pod_home(name, home) / LOG_FILE) if is_pod_name(name) else ""
        if not cause and _UNNAMED in text:
            cause = last_error(_of_one_worker(text, _UNNAMED))
            name = "that cannot tell its name" if cause else name
            return f"a pod {name}: {cause}" if cause else found[0]
        return f"pod '{name}' could not answer: {cause}" if cause else found[0]

    def _in_pod_log(self, path: Path) -> str:
        """Return the last error of this run in a pod's own log."""
        try:
            written = path.read_text("utf-8", "replace")
        except OSError:
            return ""
        *_, (time, entry) = [("", ""), *_entries(written)]
        in_full = " ".join(entry.rpartition(_IN_FULL)[2].split()) if _IN_FULL in entry else ""
        return in_full or last_error(entry) if time and datetime.fromisoformat(time) >= self._since else ""


def known_cause(text: str) -> str:
    """Return what a log that says something known means, with what to do; else ""."""
    return next((meaning for pattern, meaning in _KNOWN.items() if re.search(pattern, text)), "")


def errors_in(text: str) -> list[str]:
    """Return the line with which each traceback ends, without the names of this product's own errors."""
    found, inside = [], False
    for line in map(_unmarked, text.splitlines()):
        if _TRACEBACK in line:
            inside = True
        elif inside and line.strip() and not line.startswith(" "):
            found.append(_shortened(_OWN_ERROR.sub("", line)))
            inside = False
    return found


def last_error(text: str) -> str:
    """Return the error that a log ends with: of the last traceback, or else its last line that is no information."""
    lines = [line for line in map(_unmarked, text.splitlines()) if not _UNIMPORTANT.match(line)]
    error = (errors_in(text) or [_shortened(lines[-1]) if lines else ""])[-1]
    advice = next((advice for pattern, advice in _ADVICE.items() if re.search(pattern, error)), "")
    return f"{error}: {advice}" if advice else error


def how_it_ended(code: int) -> str:
    """Return how a process ended that left no word: by a signal, or with an exit code."""
    if code <= 128:
        return f"it ended with exit code {code} and printed no error"
    try:
        name = signal.Signals(code - 128).name
    except ValueError:
        name = f"signal {code - 128}"
    memory = "; the system does so when memory runs out" if name == "SIGKILL" else ""
    return f"it was killed by {name}{memory}"


def _entries(written: str) -> list[tuple[str, str]]:
    """Return time and text of each traceback in a pod's log."""
    _, *parts = _ENTRY.split(written)
    return list(zip(parts[::2], parts[1::2], strict=True))


def _of_one_worker(text: str, mark: str) -> str:
    """Return what the worker that last printed ``mark`` has printed after it."""
    before, _, after = text.rpartition(mark)
    printed_by = _WORKER.match(before.rpartition("\n")[2])
    lines: list[str] = after.splitlines()[1:]
    if printed_by is None:
        return "\n".join(lines)
    same: Callable[[str], bool] = lambda line: line.startswith(f"({printed_by['worker']}")  # noqa: E731
    return "\n".join(filter(same, lines))


def _unmarked(line: str) -> str:
    return _WORKER.sub("", line)


def _shortened(line: str) -> str:
    text = re.sub(r"^(ERROR *: +)", "", line).strip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
