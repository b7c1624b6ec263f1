"""A pod's approved app, loaded once and waiting (`client.site.app_process`), as the node sees it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from client.site.app_guard import UnpackedApp

FORKS = sys.platform == "linux"
"""Where a process with libraries loaded can be forked safely; elsewhere each message has a new one, imports and all."""
CRASHED, LATE, LOAD_FAILED, RAISED = "crashed", "late", "load", "raised"
"""Why there is no reply: the process ended or was ended, took too long, could not load the app, the app raised."""
_LOAD_SECONDS, _START_SECONDS, _END_SECONDS, _LOOK_SECONDS = 120.0, 30.0, 5.0, 3.0
_MESSAGES = 2000
"""A waiting process answers so many messages and is then started anew: nothing that grows in it grows for ever."""


class NoReply(Exception):
    """The app gave no reply; ``why`` is one of the reasons above, and the text is for the owner."""

    def __init__(self, why: str, text: str) -> None:
        super().__init__(text)
        self.why = why


@dataclass(frozen=True)
class Question:
    """A message for the app.

    Attributes
    ----------
    run, node : int
        The run it belongs to, and this node.
    message : str
        Its id, which is that of its object.
    context : bytes
        Flower's context of the run, protobuf.
    contents : dict of str to bytes
        Its objects; taken out as they are handed over.
    """

    run: int
    node: int
    message: str
    context: bytes
    contents: dict[str, bytes]


@dataclass(frozen=True)
class Reply:
    """A reply: message without content, tree of its objects and context, all protobuf, and where the objects are."""

    message: bytes
    tree: bytes
    context: bytes
    _link: Connection

    def contents(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the objects ``ids``; to be asked for once, with an empty sequence if none is wanted."""
        self._link.send_bytes(json.dumps(list(ids)).encode())
        for object_id in ids:
            yield object_id, self._link.recv_bytes()


class WarmApp:
    """A process that has the app loaded, started before there is one and again when it has ended.

    Parameters
    ----------
    directory : Path
        The pod's home.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: tuple[str, tuple[str, str]] | None = None  # the hash of its bundle, and how the server called it
        self._fresh, self._messages, self._line = True, 0, b""
        self._process, self._control = self._start()

    @contextmanager
    def asked(
        self, app: UnpackedApp, identity: tuple[str, str], question: Question, go_on: Callable[[], bool], seconds: float
    ) -> Iterator[Reply]:
        """Have ``app`` answer the question in a process of its own, which is gone when the block is left.

        Parameters
        ----------
        app, identity
            The app, and how the server calls it: id and version.
        question
            What to answer.
        go_on
            Asked every few seconds whether the answer is still wanted.
        seconds
            How long the answer may take.

        Raises
        ------
        NoReply
            If there is none.
        """
        link, process = self._opened(app, identity, go_on)
        with link:
            ended = ""
            try:
                try:
                    reply = self._reply(link, question, go_on, seconds)
                except (EOFError, OSError):
                    ended = self._end(process)
                    raise NoReply(CRASHED, f"the process that answered {ended}") from None
                yield reply
            except BaseException:
                if not ended:
                    _kill(process)
                raise
            finally:
                link.close()
                if not ended:
                    self._end(process)

    def close(self) -> None:
        """End the waiting process."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _opened(self, app: UnpackedApp, identity: tuple[str, str], go_on: Callable[[], bool]) -> tuple[Connection, int]:
        """Return a connection to a new process that has the app loaded, and its id."""
        for _ in range(2):  # the waiting process may just have been killed; nothing has been asked of it yet
            self._ready(app, identity, go_on)
            here, there = socket.socketpair()
            link = Connection(here.detach())
            try:
                with there:
                    socket.send_fds(self._control, [json.dumps({"answer": True}).encode()], [there.fileno()])
                return link, int(self._heard(_START_SECONDS)["pid"])
            except (EOFError, OSError):
                link.close()
                self._restart()
        raise NoReply(CRASHED, "the process that waits for messages ended twice")

    def _reply(self, link: Connection, question: Question, go_on: Callable[[], bool], seconds: float) -> Reply:
        head = {"run": question.run, "node": question.node, "message": question.message}
        link.send_bytes(json.dumps({**head, "objects": list(question.contents)}).encode())
        link.send_bytes(question.context)
        for object_id in list(question.contents):
            link.send_bytes(question.contents.pop(object_id))
        deadline = time.monotonic() + seconds
        while not link.poll(_LOOK_SECONDS):
            if time.monotonic() > deadline or not go_on():
                raise NoReply(LATE, "nobody waits for the answer any more")
        if why := json.loads(link.recv_bytes()).get("failed"):
            raise NoReply(why, "the app raised an exception")
        return Reply(link.recv_bytes(), link.recv_bytes(), link.recv_bytes(), link)

    def _ready(self, app: UnpackedApp, identity: tuple[str, str], go_on: Callable[[], bool]) -> None:
        """Have the app loaded in a process that runs."""
        loaded = self._loaded == (app.hash, identity)
        ended, worn = self._process.poll() is not None, self._messages >= _MESSAGES
        if ended or worn or not (loaded or self._fresh):
            self._restart()
            loaded = False
        self._messages += 1
        if not loaded:
            self._fresh = False  # modules of an app that could not be loaded are not mistaken for another's
            request = {"app": str(app.directory), "hash": app.hash, "fab_id": identity[0], "fab_version": identity[1]}
            self._control.sendall(json.dumps(request).encode())
            try:
                loaded = self._heard(_LOAD_SECONDS, go_on)["loaded"]
            except (OSError, EOFError):
                raise NoReply(LOAD_FAILED, "the process that was to load the app ended, or took too long") from None
            except Exception:
                self._restart()  # what it says later would be taken for the answer to something else
                raise
            if not loaded:
                raise NoReply(LOAD_FAILED, "the app could not be loaded")
            self._loaded = (app.hash, identity)

    def _restart(self) -> None:
        """Have a new process wait in the place of the old one."""
        self.close()
        self._loaded = None
        self._fresh, self._messages, self._line = True, 0, b""
        self._process, self._control = self._start()

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        control, there = socket.socketpair()
        script = str(Path(__file__).with_name("app_process.py"))
        how = "fork" if FORKS else "once"
        with there:
            process = subprocess.Popen(  # noqa: S603 - our own file, and no shell is involved
                [sys.executable, "-P", script, str(self._directory), str(there.fileno()), how],
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
            )
        return process, control

    def _heard(self, seconds: float, meanwhile: Callable[[], object] | None = None) -> dict[str, Any]:
        """Return what the waiting process says next; raises `EOFError` if it has ended, `OSError` if it is late.

        ``meanwhile`` is called every few seconds: the SuperLink takes a node that is silent for long for gone.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._line:
            left = max(0.001, deadline - time.monotonic())
            self._control.settimeout(min(left, _LOOK_SECONDS) if meanwhile else left)
            try:
                part = self._control.recv(4096)
            except TimeoutError:
                if meanwhile is None or time.monotonic() >= deadline:
                    raise
                meanwhile()
                continue
            if not part:
                raise EOFError
            self._line += part
        said, _, self._line = self._line.partition(b"\n")
        heard: dict[str, Any] = json.loads(said)
        return heard

    def _end(self, process: int) -> str:
        """See to it that the process that answered has ended, and return how it did."""
        try:
            if not FORKS:
                return _told(self._process.wait(_END_SECONDS))
            return _told(self._heard(_END_SECONDS)["ended"])
        except (TimeoutError, subprocess.TimeoutExpired):
            _kill(process)
            return self._end(process)
        except (EOFError, OSError):  # the waiting process has ended first; it will be started anew
            _kill(process)
            return "was ended along with the one that waits for messages"


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _told(code: int) -> str:
    """Return how a process ended that ended with ``code``; by a signal if it is negative."""
    if code >= 0:
        return f"ended with exit code {code}"
    by = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    guess = ", by somebody, or by the system for want of memory" if code == -signal.SIGKILL else ""
    return f"was ended by {by}{guess}"
