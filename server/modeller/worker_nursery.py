"""The processes of simulated pods, as forks of one that has everything imported.

Flower's simulation engine has Ray start them: behind two servers of Ray's own and a third that reads what they print,
each as a new Python that imports Ray and the app. In a short run that takes as much as all that is computed. So before
the engine starts a thread, the simulation forks a *nursery*, which forks a worker whenever it is asked for one, and
gives the engine a backend that hands each message to a worker at rest. What workers print goes where the simulation's
own words go, each line with its worker's mark. A worker that is killed, as where memory runs out, costs its message;
the next message has a new one. All end with the simulation, whose end of their sockets closes.

Where a fork is not safe, Ray starts the workers (`server.modeller.ray_start`).
"""

import contextlib
import io
import os
import queue
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import NoReturn, TextIO

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.client_app import ClientAppException
from flwr.server.superlink.fleet.vce.backend.backend import Backend

_RAYS_BACKEND = "flwr.server.superlink.fleet.vce.backend.raybackend"
"""The module from which the engine takes its backend, whose name there is ``RayBackend``."""


class WorkerDied(Exception):
    """A worker ended before it had answered."""


class ForkedWorkers(Backend):
    """Workers of a nursery, for Flower's simulation engine.

    Parameters
    ----------
    nursery
        What `open_nursery` has returned.
    most
        How many messages are worked on at a time.
    """

    def __init__(self, nursery: socket.socket, most: int) -> None:
        self._nursery, self._most = nursery, most
        self._at_rest: queue.SimpleQueue[Connection] = queue.SimpleQueue()

    def take_rays_place(self) -> None:
        """Have the engine use these workers, and not import Ray."""
        module = ModuleType(_RAYS_BACKEND)
        module.RayBackend = lambda config: self  # type: ignore[attr-defined]
        sys.modules[_RAYS_BACKEND] = module

    def build(self, app_fn: Callable[[], ClientApp]) -> None:
        """Do nothing: the nursery has the app."""

    @property
    def num_workers(self) -> int:
        """How many threads of the engine hand messages over."""
        return self._most

    def is_worker_idle(self) -> bool:
        """Say that there is one, if need be a new one."""
        return True

    def process_message(self, message: Message, context: Context) -> tuple[Message, Context]:
        """Return the app's reply and its context then; raises what the app raised, or `WorkerDied`."""
        worker = self._worker()
        try:
            worker.send((message, context))
            done = worker.recv()
        except (EOFError, OSError) as error:
            worker.close()
            raise WorkerDied("a worker process has died") from error
        self._at_rest.put(worker)
        if isinstance(done, Exception):
            raise done
        reply: tuple[Message, Context] = done
        return reply

    def terminate(self) -> None:
        """Have the nursery and all workers at rest end."""
        self._nursery.close()
        with contextlib.suppress(queue.Empty):
            while True:
                self._at_rest.get_nowait().close()

    def _worker(self) -> Connection:
        with contextlib.suppress(queue.Empty):
            return self._at_rest.get_nowait()
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._nursery, [b"1"], [theirs.fileno()])
        return Connection(ours.detach())


class _Marked(io.TextIOBase):
    """A stream that says of each line which worker has printed it, as Ray does."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._mark, self._rest = stream, f"(worker pid={os.getpid()}) ", ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._mark}{line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


def open_nursery(app: ClientApp) -> socket.socket:
    """Fork a nursery whose workers answer with ``app``, and return the end of a socket to ask it for workers.

    What this process has imported, the workers will have; it must not have done anything yet that needs threads.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or each fork would print it again
    if os.fork():
        theirs.close()
        return ours
    ours.close()
    _wait(theirs, app)


def _wait(asked: socket.socket, app: ClientApp) -> NoReturn:
    """Fork a worker whenever one is asked for, until nobody can ask any more."""
    import gc

    gc.collect()
    gc.freeze()  # what a fork's garbage collector never visits stays shared memory
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a worker has ended
    while True:
        _, descriptors, _, _ = socket.recv_fds(asked, 1, 1)
        if not descriptors:
            os._exit(0)
        if os.fork():
            os.close(descriptors[0])
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asked.close()
        code = 1
        sys.stdout, sys.stderr = _Marked(sys.stdout), _Marked(sys.stderr)
        try:
            _work(Connection(descriptors[0]), app)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)  # not through the exit handlers of what was imported before the fork


def _work(link: Connection, app: ClientApp) -> None:
    """Answer messages until the simulation has ended."""
    _forget_randomness()
    with contextlib.suppress(OSError):  # where memory runs out, a worker goes before anything of the user's
        Path("/proc/self/oom_score_adj").write_text("1000")
    while True:
        try:
            message, context = link.recv()
        except EOFError:
            return
        done: object
        try:
            done = app(message, context), context
        except Exception as error:
            traceback.print_exc()
            done = ClientAppException(str(error))
        sys.stdout.flush()
        sys.stderr.flush()
        link.send(done)


def _forget_randomness() -> None:
    """Seed numpy's and torch's generators anew: every fork would otherwise draw the same numbers."""
    for name, seed in (("numpy.random", "seed"), ("torch", "seed")):
        if module := sys.modules.get(name):
            getattr(module, seed)()
