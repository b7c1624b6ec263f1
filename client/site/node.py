"""A pod's node: it fetches the messages to the pod from the SuperLink, has the approved app answer, sends the replies.

It speaks to the SuperLink through Flower's own connection, as Flower's SuperNode does, and does without what a
SuperNode has beside it: no port is open on this machine, no token goes about, and a message is handed to the app's
process through a socket that only the two have. So nobody else on the machine can take a message or read a session.

One message is under way at a time, and nothing of it stays: what belongs to a run that is over is dropped, so the
next message is answered by its own reply. While an app computes, the node asks every few seconds whether its run
still goes on, which also tells the SuperLink that the pod is there.

Run as a module with the file that `client.site.serve_pod` has written: how to connect, and which pod it is.
"""

import json
import logging
import signal
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from client.app.owner import write_log
from client.site import flower_names
from client.site.app_admission import Request
from client.site.app_guard import Guard, UnpackedApp
from client.site.warm_app import CRASHED, LATE, LOAD_FAILED, NoReply, Question, WarmApp
from fl_app.system.files import has_no_space
from fl_app.system.home import LOG_FILE
from fl_app.system.printable import continued, one_line

ONLINE = "this node is online as"
"""In the log once the SuperLink has taken the node; its id follows."""
UNKNOWN_FLOWER, TURNED_AWAY = 86, 87
"""Exit codes: Flower has another shape than this node knows; the SuperLink no longer takes the node's key."""
_RUNS, _SERIES = 8, 64
"""How many runs' bundles and how many runs' contexts are remembered; contexts hold the pod's sessions."""
_HELD_SECONDS = 1.0
"""A SuperLink that answers sooner than this that there is nothing does not hold requests, and is asked again later."""
_SOONEST, _LATEST, _SHARE = 0.05, 2.0, 0.05
"""Seconds until then: a share of how long ago the last message came, between the two."""

_log = logging.getLogger("flwr")


class Terminated(BaseException):
    """This process was told to end, by SIGTERM."""


class TurnedAway(BaseException):
    """The SuperLink has refused the node's key: Flower's client says so by SIGINT, from whatever thread."""


@dataclass(frozen=True)
class Settings:
    """How a node connects, and for which pod: what `serve_pod` hands over.

    Attributes
    ----------
    superlink : str
        ``host:port``.
    insecure : bool
        Whether the connection is not encrypted.
    root_certificates : str or None
        File of the certificates (PEM) to check the SuperLink's by; None: the system's.
    key : str or None
        File of the node's private key; None without TLS.
    name, home, directory, file : str
        The pod, the home of its keys, its own directory in it, and the file in which it is written.
    """

    superlink: str
    insecure: bool
    root_certificates: str | None
    key: str | None
    name: str
    home: str
    directory: str
    file: str

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Read what `write` has written."""
        return cls(**json.loads(path.read_text("utf-8")))

    def write(self, path: Path) -> None:
        """Write the settings to a file; there is nothing secret in them."""
        path.write_text(json.dumps(self.__dict__), "utf-8")


class Node:
    """The loop of messages over one connection.

    Parameters
    ----------
    connection
        Flower's: the node's id, and the calls of the SuperLink's API.
    settings
        Whose node it is.
    guard, app
        What may answer, and what answers.
    """

    def __init__(self, connection: tuple[Any, ...], settings: Settings, guard: Guard, app: WarmApp) -> None:
        self._node, self._receive, self._send, *more = flower_names.checked_connection(connection)
        self._get_run, self._get_bundle, self._pull_object, self._push_object, self._confirm = more
        self._settings, self._guard, self._app = settings, guard, app
        self._runs: OrderedDict[int, tuple[Any, bytes]] = OrderedDict()
        self._contexts: OrderedDict[int, bytes] = OrderedDict()
        self._last_message = time.monotonic()

    def serve(self) -> None:
        """Answer messages until this process is told to end."""
        from flwr.supercore.run import RunNotRunningException

        while True:
            asked = time.monotonic()
            try:
                if received := self._receive():
                    self._last_message = time.monotonic()
                    self._take(*received)
                elif (waited := time.monotonic() - asked) < _HELD_SECONDS:
                    time.sleep(max(0.0, self._pause() - waited))
            except RunNotRunningException:
                _log.info("a message was dropped: its run is over")

    def _pause(self) -> float:
        return min(_LATEST, max(_SOONEST, _SHARE * (time.monotonic() - self._last_message)))

    def _take(self, message: Any, tree: Any) -> None:
        """Answer one message; one that cannot be fetched, or whose reply cannot be sent, is dropped."""
        run_id, kind = message.metadata.run_id, one_line(message.metadata.message_type)
        try:
            self._answer(message, tree)
        except Exception:
            self._note(f"'{kind}' of run {run_id} was dropped: {traceback.format_exc()}")
        else:
            _log.info("[run %d] answered %s", run_id, kind)

    def _answer(self, message: Any, tree: Any) -> None:
        """Answer one message: by a refusal, by the app, or by an error that says no more than that there was one."""
        from flwr.app import Error, Message, RecordDict
        from flwr.common.constant import ErrorCode

        from fl_app.flower import records

        kind, run_id = message.metadata.message_type, message.metadata.run_id
        known = run_id in self._runs
        run, bundle = self._run(run_id)
        flower_names.be(run_id, self._node)
        contents = self._taken(message, tree)
        if not known:
            self._goes_on(run_id)  # tells the SuperLink early that this node asks while it works
        try:
            judged = self._guard.judge(Request(str(run_id), kind, bundle, dict(run.override_config)))
            if isinstance(judged, UnpackedApp):
                question = Question(run_id, self._node, tree.object_id, self._context(run, judged), contents)
                self._have_answered(question, message.metadata.ttl, run, judged)
            else:
                self._send_own(Message(judged, reply_to=message))
        except NoReply as error:
            self._note(f"'{one_line(kind)}' of run {run_id}: {error}")
            if error.why == LATE:
                return
            code = {CRASHED: ErrorCode.CLIENT_APP_CRASHED, LOAD_FAILED: ErrorCode.LOAD_CLIENT_APP_EXCEPTION}
            self._send_own(Message(self._error(Error, code.get(error.why)), reply_to=message))
        except Exception as error:
            self._note(traceback.format_exc())
            why = records.no_answer(self._settings.name, error)
            content = records.put(RecordDict(), why) if has_no_space(error) else self._error(Error)
            self._send_own(Message(content, reply_to=message))

    def _taken(self, message: Any, tree: Any) -> dict[str, bytes]:
        """Fetch all of the message, whatever becomes of it: its sender may still be at it, and fails if it is gone."""
        from flwr.supercore.inflatable.inflatable_utils import pull_objects

        run_id = message.metadata.run_id
        contents = pull_objects(flower_names.object_ids(tree), lambda object_id: self._pull_object(run_id, object_id))
        self._confirm(run_id, message.metadata.message_id)
        return contents

    def _have_answered(self, question: Question, seconds: float, run: Any, app: UnpackedApp) -> None:
        from flwr.common.serde import message_from_proto
        from flwr.proto.message_pb2 import Message as MessageProto
        from flwr.supercore.inflatable.inflatable_utils import push_object_contents_from_iterable

        run_id, identity = question.run, (run.fab_id, run.fab_version)
        with self._app.asked(app, identity, question, lambda: self._goes_on(run_id), seconds) as reply:
            _remember(self._contexts, run.series_id, reply.context, _SERIES)
            sent = message_from_proto(MessageProto.FromString(reply.message))
            objects = flower_names.tree(reply.tree)
            # How long the app took is told to nobody: it depends on the data.
            wanted, session = self._send(sent, objects, 0.0)
            push_object_contents_from_iterable(
                reply.contents([object_id for object_id in flower_names.object_ids(objects) if object_id in wanted]),
                lambda object_id, content: self._push_object(run_id, session, object_id, content),
            )

    def _send_own(self, reply: Any) -> None:
        """Send a reply that this process has made."""
        _, tree, objects = flower_names.deflated(reply)
        run_id = reply.metadata.run_id
        wanted, session = self._send(reply, flower_names.tree(tree), 0.0)
        for object_id, value in objects.items():
            if object_id in wanted:
                self._push_object(run_id, session, object_id, value.deflate())

    def _run(self, run_id: int) -> tuple[Any, bytes]:
        if run_id not in self._runs:
            run = self._get_run(run_id)
            _remember(self._runs, run_id, (run, self._get_bundle(run.fab_hash, run_id).content), _RUNS)
        return self._runs[run_id]

    def _context(self, run: Any, app: UnpackedApp) -> bytes:
        """Return the context of the run's series: as the last answer left it, or a new one."""
        from flwr.app import Context, RecordDict
        from flwr.common.serde import context_to_proto

        if (known := self._contexts.get(run.series_id)) is not None:
            return known
        context = Context(
            run_id=run.run_id,
            node_id=self._node,
            node_config={"pod": self._settings.file, "home": self._settings.home},
            state=RecordDict(),
            run_config={**app.settings, **run.override_config},
            series_id=run.series_id,
        )
        return bytes(context_to_proto(context).SerializeToString())

    def _goes_on(self, run_id: int) -> bool:
        from flwr.supercore.run import RunNotRunningException

        try:
            self._get_run(run_id)
        except RunNotRunningException:
            return False
        return True

    def _error(self, kind: Callable[..., Any], code: int | None = None) -> Any:
        from flwr.common.constant import ErrorCode

        from fl_app.flower import records

        text = records.no_answer(self._settings.name).text
        return kind(ErrorCode.CLIENT_APP_RAISED_EXCEPTION if code is None else code, text)

    def _note(self, text: str) -> None:
        _log.error("%s", shown := continued(text))
        write_log(Path(self._settings.directory) / LOG_FILE, shown)


def _remember(remembered: OrderedDict[int, Any], key: int, value: Any, most: int) -> None:
    """Remember ``value``, and forget what was remembered the longest time ago."""
    remembered[key] = value
    remembered.move_to_end(key)
    while len(remembered) > most:
        remembered.popitem(last=False)


def main(path: str) -> int:
    """Serve the pod that the file describes until SIGTERM comes; return an exit code."""
    settings = Settings.read(Path(path))
    if missing := flower_names.missing():
        print(f"the installed flwr has no {', '.join(missing)}: install flwr{flower_names.SUPPORTED}", flush=True)
        return UNKNOWN_FLOWER
    directory = Path(settings.directory)
    guard, app = Guard(settings.name, directory, Path(settings.file)), WarmApp(directory)
    signal.signal(signal.SIGINT, partial(_leave, TurnedAway))
    signal.signal(signal.SIGTERM, partial(_leave, Terminated))
    try:
        _connect(settings, guard, app)
        return 1  # Flower has logged what ended the connection
    except Terminated:
        return 0
    except TurnedAway:
        return TURNED_AWAY
    finally:
        app.close()
        guard.close()


def _connect(settings: Settings, guard: Guard, app: WarmApp) -> None:
    """Connect, and answer messages while the connection lasts."""
    from cryptography.hazmat.primitives.serialization.ssh import load_ssh_private_key
    from flwr.supernode.fleet_http_connection import http_request_response

    keys: Any = None
    if settings.key is not None:
        private: Any = load_ssh_private_key(Path(settings.key).read_bytes(), None)
        keys = private, private.public_key()
    roots = Path(settings.root_certificates).read_bytes() if settings.root_certificates else None
    with http_request_response(settings.superlink, settings.insecure, roots, keys, None, None) as connection:
        node = Node(connection, settings, guard, app)
        print(f"{ONLINE} {connection[0]}", flush=True)
        node.serve()


def _leave(why: type[BaseException], *_: object) -> NoReturn:
    """Leave whatever is under way; a further signal must not break off the leaving."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    raise why


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
