"""What a SuperLink tells its operator's hub: the socket, and what the document says of a run and its pods."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.supercore.version import package_version

from server.hub.superlink_state import SuperLinkState
from server.superlink import status
from server.superlink.registry import Registry
from server.superlink.status import MOST_READERS, SOCKET, serving_status, short_path
from tests.server.superlink.parties import PodCaller, ServerAppCaller

BIG = 8 << 20


class Source:
    """What the socket tells, and how often it was asked for."""

    def __init__(self, document: Any = ("all is well",)) -> None:
        self.document, self.asked = document, 0

    async def snapshot(self) -> Any:
        self.asked += 1
        return self.document


async def reading(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        return await reader.read()
    finally:
        writer.close()


def served(path: Path, source: Source, story: Callable[[], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        async with asyncio.timeout(60), serving_status(path, source.snapshot):
            return await story()

    return asyncio.run(whole())


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may look into, as the operator's may not be."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="fl-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_a_connection_is_answered_with_the_document_and_ends(place: Path) -> None:
    source = Source({"pods": 3})
    assert json.loads(served(place / SOCKET, source, lambda: reading(place / SOCKET))) == {"pods": 3}
    assert source.asked == 1


def test_the_socket_is_its_owners_only_and_is_gone_afterwards(place: Path) -> None:
    async def mode() -> int:
        return (place / SOCKET).stat().st_mode

    found = served(place / SOCKET, Source(), mode)
    assert stat.S_ISSOCK(found)
    assert stat.S_IMODE(found) == 0o600
    assert not (place / SOCKET).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be another user")
def test_another_user_cannot_connect(place: Path) -> None:
    connect = "import os, socket, sys; os.setuid(int(sys.argv[1])); socket.socket(socket.AF_UNIX).connect(sys.argv[2])"

    async def others() -> list[tuple[int, bool]]:
        done = []
        for user in (0, 65534):
            command = [sys.executable, "-S", "-E", "-c", connect, str(user), str(place / SOCKET)]
            ended = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60)
            done.append((ended.returncode, b"PermissionError" in ended.stderr))
        return done

    assert served(place / SOCKET, Source(), others) == [(0, False), (1, True)]


def test_what_a_killed_process_has_left_is_replaced(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place / SOCKET))
    assert served(place / SOCKET, Source(), lambda: reading(place / SOCKET)) == b'["all is well"]'


def test_a_long_path_is_no_obstacle(place: Path) -> None:
    deep = place / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)

    async def read() -> Any:
        return await asyncio.to_thread(SuperLinkState(deep).read)

    assert served(deep / SOCKET, Source({"far": "down"}), read) == {"far": "down"}
    with short_path(deep / SOCKET) as short:
        assert len(short) < 100


def test_a_reader_that_does_not_read_holds_nobody_and_is_dropped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "DEADLINE", 0.5)
    source = Source("x" * BIG)

    async def story() -> tuple[int, bytes]:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.setblocking(False)
            await asyncio.get_running_loop().sock_connect(slow, str(place / SOCKET))
            while not source.asked:
                await asyncio.sleep(0.01)
            monkeypatch.setattr(status, "DEADLINE", 50.0)  # of those who come later
            whole = len(await reading(place / SOCKET))
            await asyncio.sleep(1)
            got = bytearray()
            while part := await asyncio.get_running_loop().sock_recv(slow, 1 << 20):
                got += part
            return whole, bytes(got)

    whole, got = served(place / SOCKET, source, story)
    assert whole == BIG + 2
    assert len(got) < BIG


def test_of_many_readers_those_beyond_the_bound_are_closed(place: Path) -> None:
    source = Source("x" * BIG)

    async def story() -> bytes:
        waiting = [await asyncio.open_unix_connection(place / SOCKET) for _ in range(MOST_READERS)]
        while source.asked < MOST_READERS:
            await asyncio.sleep(0.01)
        refused = await reading(place / SOCKET)
        for _, writer in waiting:
            writer.transport.abort()
        await asyncio.sleep(0.1)
        assert len(await reading(place / SOCKET)) == BIG + 2
        return refused

    assert served(place / SOCKET, source, story) == b""


def test_nothing_runs_while_nobody_looks(place: Path) -> None:
    source = Source()

    async def story() -> tuple[int, int]:
        loop: Any = asyncio.get_running_loop()
        # One timer is that of this test's own timeout, one task is this test.
        return len(asyncio.all_tasks()), len(loop._scheduled)

    assert served(place / SOCKET, source, story) == (1, 1)
    assert source.asked == 0


def test_a_directory_without_room_for_a_socket_does_not_keep_the_superlink_from_serving(place: Path) -> None:
    async def story() -> str:
        return "serves"

    assert served(place / "missing" / SOCKET, Source(), story) == "serves"


def test_a_failure_while_the_document_is_made_is_an_empty_answer(place: Path) -> None:
    source = Source({1, 2})  # no JSON

    async def read() -> Any:
        return await asyncio.to_thread(SuperLinkState(place).read)

    assert served(place / SOCKET, source, read) is None


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A file, as with `fl-app superlink`."""
    return str(tmp_path / "state.db")


@pytest.fixture
def story_told(superlink: Any) -> Callable[[Callable[[Any], Awaitable[None]]], None]:
    """Plays a story at a SuperLink whose lifespan has begun, and ends it."""

    def tell(story: Callable[[Any], Awaitable[None]]) -> None:
        async def whole() -> None:
            incoming: asyncio.Queue[Any] = asyncio.Queue()
            outgoing: asyncio.Queue[Any] = asyncio.Queue()
            scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}, "app": superlink}
            life = asyncio.create_task(superlink(scope, incoming.get, outgoing.put))
            async with asyncio.timeout(120):
                await incoming.put({"type": "lifespan.startup"})
                assert (await outgoing.get())["type"] == "lifespan.startup.complete"
                try:
                    await story(superlink)
                finally:
                    await incoming.put({"type": "lifespan.shutdown"})
                    await life

        asyncio.run(whole())

    return tell


def test_the_document_says_who_is_there_and_whom_a_run_waits_for(
    story_told: Callable[[Callable[[Any], Awaitable[None]]], None], registry: Registry, tmp_path: Path
) -> None:
    async def story(superlink: Any) -> None:
        async def told() -> Any:
            return json.loads(await reading(tmp_path / SOCKET))

        before = await told()
        assert [(node["name"], node["status"]) for node in before["nodes"]] == [("north", "registered")]
        assert before["runs"] == []

        pod, app = PodCaller(superlink, "north", tmp_path / "north"), ServerAppCaller(superlink)
        registry.started(app.run, "ada")
        await pod.activate()
        message = app.message(pod.node)
        await app.push(message)
        (node,), (run,) = ((document := await told())["nodes"], document["runs"])
        assert (node["name"], node["status"], node["busy"], node["flwr"]) == ("north", "online", False, package_version)
        assert (run["run"], run["modeller"], run["status"]) == (app.run, "ada", "running")
        ((waited),) = run["waits_for"]
        assert (waited["pod"], waited["kind"], waited["sends"]) == ("north", "train", False)

        data = await pod.received(pod.pull())
        assert (await told())["nodes"][0]["busy"]
        await pod.confirm(data)
        reply = pod.reply(data)
        pushed = await pod.push(reply, objects=False)
        assert [(one["pod"], one["sends"]) for one in (await told())["runs"][0]["waits_for"]] == [("north", True)]
        await pod.push_objects(reply, pushed)
        assert (await told())["runs"][0]["waits_for"] == []

        second = app.message(pod.node, 4)
        await app.push(second)
        assert (await told())["runs"][0]["waits_for"]
        superlink.state.linkstate_factory.state().deactivate_node(pod.node)
        after = await told()  # Flower itself answers for a node that is offline
        assert (after["nodes"][0]["status"], after["runs"][0]["waits_for"]) == ("offline", [])

    story_told(story)
    assert not (tmp_path / SOCKET).exists()
