"""Child processes that never outlive the one that started them.

Ray and Flower start servers, which start workers. None of them may remain once a run has ended, was interrupted or
died, and neither may their files, even if what started them was killed outright. So a command runs under a *guard*:
this file as a script, leader of a session of its own, that holds one end of a pipe to whoever started it. The pipe
closes when that process closes it or ends, however it ends. Then, or when the command itself ends, the guard ends
every process of its session, removes the command's scratch directory, and goes. What whoever started it would have
removed itself, the guard removes if that process is gone. (POSIX only.)
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LEFT_BEHIND = "FL_APP_LEFT_BEHIND"
"""Variable of a command's environment: a directory that its guard removes if the process that started it has died."""
_STOP = b"stop"
"""What is written into the pipe by a process that closes it and lives on."""
_TICK = 0.05
_SWEEP = 10.0
"""Seconds after which what cannot be killed (a process in uninterruptible sleep) is left to the system."""


class GuardedProcess:
    """A command whose every descendant ends with it, with `stop`, and with the process that started it.

    Parameters
    ----------
    command
        The program and its arguments; the program is an absolute path, or found on the PATH of ``environment``.
    log
        File to which the output of the command and of its descendants is appended; its directory must exist.
    environment
        The whole environment of the command.
    directory
        Working directory of the command; None means this process's own.
    scratch
        Directory that is removed once nothing runs any more; None means none.
    grace
        Seconds from asking the command to end (SIGTERM) to killing it.
    descriptors
        Open file descriptors that the command inherits, under the same numbers.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        directory: Path | None = None,
        scratch: Path | None = None,
        grace: float = 8.0,
        descriptors: Sequence[int] = (),
    ) -> None:
        self._scratch = scratch
        self._grace = grace
        guard = [sys.executable, "-I", str(Path(__file__).resolve()), str(grace), str(scratch or "")]
        with log.open("ab") as output:
            self._guard = subprocess.Popen(  # noqa: S603 - the command is the caller's, not the network's
                [*guard, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,
                pass_fds=tuple(descriptors),
            )

    def poll(self) -> int | None:
        """Return the command's exit code (128 + n if signal n ended it), None while anything of it runs."""
        code = self._guard.poll()
        return code if code is None else self._ended(code)

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit code as `poll` does, once nothing of the command runs any more.

        Raises
        ------
        TimeoutError
            If that takes longer than ``seconds``; the command goes on.
        """
        try:
            return self._ended(self._guard.wait(seconds))
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the process is still running after {seconds} seconds") from None

    def stop(self) -> int:
        """End the command and all its descendants, and return the exit code as `poll` does."""
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            with suppress(BrokenPipeError):
                self._guard.stdin.write(_STOP)
                self._guard.stdin.flush()
            with suppress(BrokenPipeError):
                self._guard.stdin.close()
        try:
            return self.wait(self._grace + _SWEEP + 5)
        except TimeoutError:
            self._guard.kill()
            return self.wait()

    def _ended(self, code: int) -> int:
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        if code < 0:  # somebody killed the guard, which leaves its work to us
            _clear(self._guard.pid, self._scratch)
            return 128 - code
        return code


def flower_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, changed by ``extra``, in which Flower is quiet and finds its own commands.

    Flower starts its helpers by name, so the directory of this interpreter's scripts leads the PATH: it is not there
    when a program of a virtual environment is called by its path, and another Flower's might be.
    """
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    # A run uses the installed packages; Flower would fetch them anew for every run.
    installed = {"FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1"}
    merged = {**os.environ, **extra, **quiet, **installed}
    return {**merged, "PATH": os.pathsep.join([sysconfig.get_path("scripts"), merged.get("PATH", os.defpath)])}


def same_path(environment: Mapping[str, str]) -> str:
    """Return the PYTHONPATH with which a Python run with -P finds what this process finds, after ``environment``'s own.

    Without it a child could import another copy: the installed one, or one that lies in the current directory.
    """
    here = (path or os.getcwd() for path in sys.path)
    return os.pathsep.join([*filter(None, [environment.get("PYTHONPATH")]), *here])


def _guard(grace: float, scratch: Path | None, command: list[str]) -> int:
    """Run ``command`` until it ends or the pipe on standard input closes; return its exit code."""
    ordered: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: ordered.append(number))
    if sys.platform == "linux":
        # Whatever loses its parent becomes ours, so that it is reaped even where process 1 does not do it.
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    parent, died = os.getppid(), False
    try:
        nothing = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        child = os.posix_spawnp(command[0], command, os.environ, file_actions=nothing)
        kill_at = None
        while (code := _reap(child)) is None:
            # A process forked by the parent may hold the pipe open for longer than the parent lives.
            if kill_at is None and (ordered or _closed(sys.stdin.fileno()) or os.getppid() != parent):
                died = not ordered and _has_died(sys.stdin.fileno(), parent)
                os.kill(child, signal.SIGTERM)
                kill_at = time.monotonic() + grace
            elif kill_at is not None:
                time.sleep(_TICK)
                if time.monotonic() > kill_at:
                    os.kill(child, signal.SIGKILL)
        return code
    finally:
        _clear(os.getpid(), scratch)
        if died and (left := os.environ.get(LEFT_BEHIND)):
            shutil.rmtree(left, ignore_errors=True)


def _has_died(descriptor: int, parent: int) -> bool:
    """Return whether the parent is gone, and has not merely closed the pipe."""
    return os.getppid() != parent or os.read(descriptor, len(_STOP)) != _STOP


def _closed(descriptor: int) -> bool:
    """Wait for a moment, and say whether the pipe on ``descriptor`` has closed, or is about to be."""
    return bool(select.select([descriptor], [], [], _TICK)[0])


def _reap(child: int) -> int | None:
    """Collect the processes that have ended; return the exit code of ``child`` if it is one of them."""
    code = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
    return code if code is None or code >= 0 else 128 - code


def _clear(session: int, scratch: Path | None) -> None:
    """Kill every process of ``session`` but its leader, and what the leader has adopted; remove ``scratch``."""
    deadline = time.monotonic() + _SWEEP
    while (members := list(_members(session))) and time.monotonic() < deadline:
        for member in members:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        time.sleep(_TICK / 5)
        if session == os.getpid():
            _reap(0)
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)


def _members(session: int) -> Iterator[int]:
    """Yield the processes of ``session`` other than its leader, and the leader's children.

    The leader also counts zombies: they are its own to reap, or soon will be (a process with threads is shown as one
    while the last of them ends, and only then are its children adopted). Anybody else can do nothing about them.
    """
    leading = session == os.getpid()
    for process, parent, of, state in _processes():
        if process != session and session in (parent, of) and (leading or state not in ("Z", "X")):
            yield process


# The guard reads /proc and ps itself, and does not use psutil. It runs as `python -I`, which sees no packages from
# PYTHONPATH or from the user's own site, and nothing could be started where psutil lies there. psutil also takes about
# 50 ms to import, in each guard, and five times as long (15 ms, not 3 ms, for 150 processes) for each sweep, and a
# process that forks must not win the race against the sweep. Sessions, by which a guard knows its own, psutil does not
# report at all.


def _processes_of_proc() -> Iterator[tuple[int, int, int, str]]:
    """Yield (process, parent, session, state) of every process, as Linux's /proc tells it."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                # The second field is the program's name in parentheses, which may itself hold any character.
                state, parent, _, of = Path("/proc", entry, "stat").read_text("latin-1").rpartition(")")[2].split()[:4]
                yield int(entry), int(parent), int(of), state


def _processes_of_ps() -> Iterator[tuple[int, int, int, str]]:
    """Yield the same, as ps tells it; the session it does not tell portably."""
    listing = subprocess.run(["/bin/ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    for line in listing.stdout.splitlines():
        process, parent, state = line.split()[:3]
        with suppress(OSError):
            yield int(process), int(parent), os.getsid(int(process)), state[0]


_processes: Callable[[], Iterator[tuple[int, int, int, str]]] = (
    _processes_of_proc if os.path.exists("/proc/self/stat") else _processes_of_ps
)


if __name__ == "__main__":
    sys.exit(_guard(float(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2] else None, sys.argv[3:]))
