"""A node over a connection in this process: which message each reply answers, what is dropped, what is told."""

import errno
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.run import RunNotRunningException

from client.app.ledger import Ledger
from client.site import flower_names, node, warm_app
from client.site.app_guard import Guard
from client.site.approved_apps import Apps
from client.site.node import Node, Settings
from client.site.warm_app import WarmApp
from fl_app.flower import records
from tests.support.small_app import CODE, NODE, POD, RUN, bundle, message, run_of

pytestmark = pytest.mark.timeout(300)


class Over(BaseException):
    """There are no more messages."""


class SuperLink:
    """Flower's connection, to a SuperLink that has these messages; a run in ``over`` has ended."""

    def __init__(self, *messages: Any, content: bytes = b"", **changed: Any) -> None:
        self.messages, self.content, self.changed = list(messages), content, changed
        self.over: set[int] = set()
        self.confirmed: list[str] = []
        self.run_asked: list[int] = []
        """How many messages the node had at each question for a run."""
        self.pulled: set[str] = set()
        self.replies: list[Any] = []
        self.runtimes: list[float] = []
        self._objects: dict[str, bytes] = {}

    def connection(self) -> tuple[Any, ...]:
        calls = (self._receive, self._send, self._run, self._bundle, self._pull, self._push, self._confirm)
        return NODE, *calls

    def _check(self, run_id: int) -> None:
        if run_id in self.over:
            raise RunNotRunningException

    def _receive(self) -> Any:
        if not self.messages:
            raise Over
        asked = self.messages.pop(0)
        if asked is None:
            return None
        _, _, objects = flower_names.deflated(asked)
        self._objects |= {object_id: value.deflate() for object_id, value in objects.items()}
        return asked, get_object_tree(asked)

    def _run(self, run_id: int) -> Any:
        self.run_asked.append(len(self.confirmed))
        self._check(run_id)
        return run_of(run_id, **self.changed)

    def _bundle(self, hash_: str, run_id: int) -> Any:
        self._check(run_id)
        return type("Bundle", (), {"content": self.content})

    def _pull(self, run_id: int, object_id: str) -> bytes:
        self._check(run_id)
        self.pulled.add(object_id)
        return self._objects[object_id]

    def _confirm(self, run_id: int, message_id: str) -> None:
        self._check(run_id)
        self.confirmed.append(message_id)

    def _send(self, reply: Any, tree: Any, seconds: float) -> tuple[set[str], str]:
        self._check(reply.metadata.run_id)
        self.replies.append((reply, tree.object_id))
        self.runtimes.append(seconds)
        return set(flower_names.object_ids(tree)), "session"

    def _push(self, run_id: int, session: str, object_id: str, content: bytes) -> None:
        assert session == "session"
        self._check(run_id)
        self._objects[object_id] = content

    def answers(self) -> list[tuple[str, Any]]:
        """Return, of each reply, which message it answers, and the whole of it."""
        return [
            (reply.metadata.reply_to_message_id, flower_names.inflated(object_id, dict(self._objects)))
            for reply, object_id in self.replies
            if reply.metadata.run_id not in self.over and object_id in self._objects
        ]


@pytest.fixture(scope="module")
def approved(home: Path) -> bytes:
    content = bundle()
    Apps(home).approve(content)
    return content


def serve(superlink: SuperLink, warm: WarmApp, home: Path) -> list[tuple[str, Any]]:
    """Let the node answer until there are no more messages."""
    file = home.parents[1] / "north.yaml"
    settings = Settings("there:1", True, None, None, "north", str(home.parents[1]), str(home), str(file))
    with pytest.raises(Over):
        Node(superlink.connection(), settings, Guard("north", home, file), warm).serve()
    return superlink.answers()


def test_a_node_shows_in_each_run_that_it_asks_while_it_works(warm: WarmApp, home: Path) -> None:
    superlink = SuperLink(message(), message(text="second"), message(run_id=12), content=b"no bundle")
    serve(superlink, warm, home)
    assert superlink.run_asked == [0, 1, 2, 3]


def said(reply: Any) -> dict[str, Any]:
    return dict(reply.content["said"])


def test_each_message_is_answered_by_its_own_reply_and_a_run_keeps_its_state(
    warm: WarmApp, home: Path, approved: bytes
) -> None:
    messages = [message(text="first"), message(text="other run", run_id=12), message(text="second")]
    superlink = SuperLink(*messages, content=approved, rounds=2)
    answers = serve(superlink, warm, home)
    assert [to for to, _ in answers] == [asked.metadata.message_id for asked in messages] == superlink.confirmed
    assert [(said(reply)["given"], said(reply)["count"]) for _, reply in answers] == [
        ("first", 1),
        ("other run", 1),
        ("second", 2),
    ]
    assert {said(reply)["rounds"] for _, reply in answers} == {2}
    assert {said(reply)["pod"] for _, reply in answers} == {str(home.parents[1] / "north.yaml")}
    assert set(superlink.runtimes) == {0.0}, "how long a pod computed was told"


def test_another_app_is_refused_once_its_message_has_been_fetched(warm: WarmApp, home: Path, approved: bytes) -> None:
    superlink = SuperLink(message(), content=bundle(**{"some_app.py": CODE + "#"}))
    """A message that is gone while its sender still hands it over ends the sender's run, and tells nobody why."""
    asked = superlink.messages[0]
    ((_, reply),) = serve(superlink, warm, home)
    assert superlink.pulled >= {asked.metadata.message_id}
    assert superlink.confirmed == [asked.metadata.message_id]
    assert records.take(reply.content, records.Refusal).code == "app"
    assert Ledger(home / "ledger.db").entries()[-1].event == "refusal"


@pytest.mark.parametrize(
    ("action", "code"),
    [("broken", ErrorCode.CLIENT_APP_RAISED_EXCEPTION), ("killed", ErrorCode.CLIENT_APP_CRASHED)],
)
def test_an_error_says_no_more_than_that_there_was_one(
    warm: WarmApp, home: Path, approved: bytes, action: str, code: int
) -> None:
    superlink = SuperLink(message(action), message(), content=approved)
    (_, failed), (_, fine) = serve(superlink, warm, home)
    assert failed.error.code == code
    assert failed.error.reason == "pod 'north' could not answer; its own log says why"
    assert said(fine)["count"] == 1
    if action == "killed":
        assert (
            "'query.killed' of run 11: the process that answered was ended by SIGKILL" in (home / "pod.log").read_text()
        )


def test_an_app_that_cannot_be_loaded_has_an_error_of_its_own(warm: WarmApp, home: Path) -> None:
    content = bundle(**{"some_app.py": "raise OSError('/home/owner/secret-table.csv')"})
    Apps(home).approve(content)
    ((_, reply),) = serve(SuperLink(message(), content=content), warm, home)
    assert reply.error.code == ErrorCode.LOAD_CLIENT_APP_EXCEPTION
    assert "secret" not in reply.error.reason


def test_a_full_disk_is_told_since_no_log_can_tell(
    warm: WarmApp, home: Path, approved: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(home))

    monkeypatch.setattr(Guard, "judge", full)
    ((_, reply),) = serve(SuperLink(message(), content=approved), warm, home)
    refusal = records.take(reply.content, records.Refusal)
    assert refusal.text == "pod 'north' could not answer: the disk of its machine is full"


def test_what_cannot_be_judged_gets_an_error_and_nothing_runs(warm: WarmApp, home: Path, approved: bytes) -> None:
    file = home.parents[1] / "north.yaml"
    file.write_text("name: north\nsecret-table: 1\n")
    try:
        ((_, reply),) = serve(SuperLink(message(), content=approved, rounds=2), warm, home)
    finally:
        file.write_text(POD)
    assert reply.error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert "secret" not in reply.error.reason


@pytest.mark.parametrize("call", ["_pull", "_confirm", "_send", "_push"])
def test_a_message_that_fails_on_its_way_is_dropped_and_the_next_one_answered(
    warm: WarmApp, home: Path, approved: bytes, call: str
) -> None:
    superlink = SuperLink(message(text="lost"), message(text="next"), content=approved)
    whole, failed = getattr(superlink, call), []

    def fails_at_first(*arguments: Any) -> Any:
        if len(superlink.messages):
            failed.append(call)
            raise OSError("the line broke")
        return whole(*arguments)

    setattr(superlink, call, fails_at_first)
    answers = serve(superlink, warm, home)
    assert failed
    assert said(answers[-1][1])["given"] == "next"
    assert "the line broke" in (home / "pod.log").read_text()


def test_a_messages_type_is_text_in_the_logs(
    warm: WarmApp, home: Path, approved: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The server writes it, and may write anything."""
    caplog.set_level("INFO", "flwr")
    forged = "2026-01-01T00:00:00+00:00 all is well"
    for over in (set[int](), {RUN}):  # an app fails on it, or the run has ended
        asked = message()
        asked.metadata.__dict__["_message_type"] = f"query.x\x1b[2J\n{forged}"
        superlink = SuperLink(asked, content=approved)
        superlink.over = over
        serve(superlink, warm, home)
    told = caplog.text + (home / "pod.log").read_text()
    assert "query.x\\x1b[2J\\n2026" in told
    assert "\x1b" not in told
    assert not [line for line in told.splitlines() if line.startswith(forged)]


class EndsWhile(SuperLink):
    """The run ``RUN`` ends during the call of this name, of the first message."""

    def __init__(self, call: str, *messages: Any, content: bytes) -> None:
        super().__init__(*messages, content=content)
        whole = getattr(self, call)

        def ended(*arguments: Any) -> Any:
            self.over.add(RUN)
            return whole(*arguments)

        setattr(self, call, ended)


@pytest.mark.parametrize("call", ["_run", "_bundle", "_pull", "_confirm", "_send", "_push"])
def test_a_run_that_ends_in_the_middle_leaves_the_node_in_step(
    warm: WarmApp, home: Path, approved: bytes, call: str
) -> None:
    """A SuperNode would keep the message, and answer each later one with the reply to the one before."""
    later = [message(text="next", run_id=12), message(text="last", run_id=13)]
    superlink = EndsWhile(call, message(text="of the run that ends"), *later, content=approved)
    answers = serve(superlink, warm, home)
    assert [to for to, _ in answers] == [asked.metadata.message_id for asked in later]
    assert [said(reply)["given"] for _, reply in answers] == ["next", "last"]


def test_a_run_that_ends_while_the_app_computes_ends_the_process(
    home: Path, approved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = tmp_path / "asleep"
    monkeypatch.setenv("FL_APP_TEST_ASLEEP", str(asleep))
    monkeypatch.setattr(warm_app, "_LOOK_SECONDS", 0.1)
    warm = WarmApp(home)
    superlink = SuperLink(message("sleeps"), message(run_id=12), content=approved)
    whole = superlink._run

    def ends_once_it_sleeps(run_id: int) -> Any:
        if asleep.exists() and asleep.read_text():
            superlink.over.add(RUN)
        return whole(run_id)

    superlink._run = ends_once_it_sleeps  # type: ignore[method-assign]
    try:
        ((_, reply),) = serve(superlink, warm, home)
    finally:
        warm.close()
    assert reply.metadata.run_id == 12
    assert not Path(f"/proc/{asleep.read_text()}").exists()


def test_a_superlink_that_holds_no_requests_is_asked_again_soon_after_a_message_and_seldom_later(
    monkeypatch: pytest.MonkeyPatch, warm: WarmApp, home: Path, approved: bytes
) -> None:
    now, pauses = [0.0], list[float]()

    class Time:
        @staticmethod
        def monotonic() -> float:
            return now[0]

        @staticmethod
        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            now[0] += seconds

    monkeypatch.setattr(node, "time", Time)
    serve(SuperLink(message(), *[None] * 400, content=approved), warm, home)
    assert pauses[:20] == [node._SOONEST] * 20
    assert pauses[-1] == node._LATEST
    assert sorted(pauses) == pauses


def test_what_is_remembered_of_runs_is_bounded(
    monkeypatch: pytest.MonkeyPatch, warm: WarmApp, home: Path, approved: bytes
) -> None:
    monkeypatch.setattr(node, "_SERIES", 3)
    monkeypatch.setattr(node, "_RUNS", 2)
    file = home.parents[1] / "north.yaml"
    settings = Settings("there:1", True, None, None, "north", str(home.parents[1]), str(home), str(file))
    superlink = SuperLink(*(message(run_id=number) for number in range(20, 26)), content=approved)
    made = Node(superlink.connection(), settings, Guard("north", home, file), warm)
    with pytest.raises(Over):
        made.serve()
    assert list(made._contexts) == [23, 24, 25]
    assert list(made._runs) == [24, 25]


def test_a_connection_of_another_shape_is_not_used(warm: WarmApp, home: Path) -> None:
    connection = SuperLink().connection()
    for wrong in (connection[:-1], (*connection, print), ("7", *connection[1:])):
        with pytest.raises(RuntimeError, match="a connection of Flower's is not"):
            flower_names.checked_connection(wrong)


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    settings = Settings("there:1", False, '/a "b"/ca.crt', "/k", "north", "/h", "/h/north", "/it's/north.yaml")
    settings.write(tmp_path / "node.json")
    assert Settings.read(tmp_path / "node.json") == settings


def test_replies_are_messages_of_flowers(warm: WarmApp, home: Path, approved: bytes) -> None:
    ((_, reply),) = serve(SuperLink(message(), content=approved), warm, home)
    assert isinstance(reply, Message)
    assert (reply.metadata.run_id, reply.metadata.src_node_id, reply.metadata.dst_node_id) == (RUN, NODE, 1)
