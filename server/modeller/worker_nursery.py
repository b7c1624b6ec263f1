"""Ray's workers as forks of one process that has everything imported.

Ray starts each worker as a new Python, which imports Ray twice and then torch, pandas and the app: three seconds of a
processor, of which a pod of a short run needs a tenth. So before a simulation imports Ray, it forks a *nursery*, which
waits in its scratch directory. Ray's raylet is given this file as the command of its workers: a script that hands what
it was started with to the nursery, whose fork carries on as Ray's worker. Script and worker end together, and alike.

Ray itself the forks import, each for itself: at that moment it reads what the raylet has told the worker, and seeds the
generator of its identifiers, of which two forks would otherwise make the same.

Where a fork is not safe (`FORKS`), and where no nursery answers, the worker starts as Ray would have started it.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

FORKS = sys.platform == "linux"
"""Where a process with libraries loaded can be forked safely."""
_SOCKET = "nursery"
_MOST_BYTES = 1 << 20
"""Of a worker's arguments and environment, in one message; Linux allows 128 KiB in each of the strings."""


def open_nursery(scratch: Path) -> int | None:
    """Fork a nursery that listens in ``scratch``, and return its process id; None where nothing should be forked.

    What this process has imported, the workers will have; it must not have done anything yet that needs threads, nor
    have imported Ray.
    """
    if not FORKS or "ray" in sys.modules:
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(scratch / _SOCKET))
    listener.listen(os.cpu_count() or 1)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or each fork would print it again
    process = os.fork()
    if process:
        listener.close()
        return process
    _wait(listener)


def command_of_workers(scratch: Path, command: Sequence[str]) -> list[str]:
    """Return how a worker is started that comes from the nursery in ``scratch``.

    Parameters
    ----------
    scratch
        The directory of the nursery.
    command
        How Ray starts one: the Python, the script that sets it up, and its arguments.
    """
    python, *rest = command
    return [python, "-I", "-S", str(Path(__file__).resolve()), str(scratch / _SOCKET), python, *rest]


def _wait(listener: socket.socket) -> NoReturn:
    """Fork a worker for whoever knocks, for as long as this process is let live."""
    import gc

    gc.collect()
    gc.freeze()  # what a fork's garbage collector never visits stays shared memory
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker has ended
    while True:
        link, _ = listener.accept()
        if os.fork():
            link.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        listener.close()
        code = _how_it_ends(link)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            link.send(bytes([code]))
        os._exit(code)  # not through the exit handlers of what was imported before the fork


def _how_it_ends(link: socket.socket) -> int:
    """Be the worker, and return the code that Python would end with, having printed what it would print."""
    try:
        _be(link)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _be(link: socket.socket) -> None:
    """Be the worker that has knocked: with its arguments, environment, directory and files."""
    said, descriptors = _received(link)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(said["environment"])
    os.chdir(said["directory"])
    _forget_randomness()
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    from ray._private.workers import setup_worker  # only now: see above

    parser: Any = setup_worker.parser
    _, (script, *arguments) = parser.parse_known_args(said["command"][2:])
    sys.argv = [script, *arguments]
    import runpy

    runpy.run_path(script, run_name="__main__")


def _end_with(link: socket.socket) -> None:
    """End this process once the one that stands for it has been ended."""
    with contextlib.suppress(OSError):
        link.recv(1)
    os._exit(1)


def _received(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    message, descriptors, _, _ = socket.recv_fds(link, _MOST_BYTES, 3)
    while not message.endswith(b"\n"):
        if not (more := link.recv(_MOST_BYTES)):
            raise ConnectionError("a worker was ended before it was begun")
        message += more
    said: dict[str, Any] = json.loads(message)
    return said, descriptors


def _forget_randomness() -> None:
    """Seed numpy's and torch's generators anew: every fork would otherwise draw the same numbers."""
    for name, seed in (("numpy.random", "seed"), ("torch", "seed")):
        if module := sys.modules.get(name):
            getattr(module, seed)()


def _knock(nursery: str, command: list[str]) -> None:
    """Have the nursery's fork go on in the place of this process, and stay until it has ended."""
    said = {"command": command, "environment": dict(os.environ), "directory": os.getcwd()}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        try:
            link.connect(nursery)
            message = json.dumps(said).encode() + b"\n"
            sent = socket.send_fds(link, [message], [0, 1, 2])
        except OSError:
            os.execv(command[0], command)  # noqa: S606 - Ray's own command
        link.sendall(message[sent:])
        code = link.recv(1)  # nothing, if the worker was killed
    sys.exit(code[0] if code else 1)


if __name__ == "__main__":
    _knock(sys.argv[1], sys.argv[2:])
