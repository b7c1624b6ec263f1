"""Which pods are there: the rules on a clock that jumps, and what Flower's application makes of them."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from flwr.common.constant import ErrorCode
from flwr.proto.fleet_pb2 import DeactivateNodeRequest, DeactivateNodeResponse
from flwr.supercore.constant import NodeStatus

from server.superlink import presence, routes
from server.superlink.presence import BUSY_SECONDS, IDLE_SECONDS, TAKING_SECONDS, Presence
from tests.server.superlink.parties import PodCaller, ServerAppCaller


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when nothing is left to do."""

    def __init__(self) -> None:
        super().__init__(_Jumps(self))
        self.now = 1000.0

    def time(self) -> float:
        return self.now


class _Jumps(selectors.SelectSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if events := super().select(0):
            return events
        self._loop.now += timeout or 0.0
        return []


class Watched:
    """A pod under `Presence`, and when it was taken off and on."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float]] = []
        self.presence = Presence(self._note("off"), self._note("on"))
        self.began = asyncio.get_running_loop().time()

    def _note(self, what: str) -> Callable[[str, int], Coroutine[Any, Any, None]]:
        async def note(name: str, node: int) -> None:
            assert (name, node) == ("north", 7)
            self.events.append((what, round(asyncio.get_running_loop().time() - self.began, 3)))

        return note

    async def pulls(self, seconds: float = 0.0, *, handed: bool = False, broke: bool = False) -> None:
        async with self.presence.request("north"):
            self.presence.done("north")
            await asyncio.sleep(seconds)
            self.presence.pulled("north", 7, handed=handed, broke=broke)

    async def takes(self) -> None:
        async with self.presence.request("north"):
            self.presence.took("north")

    async def asks(self, every: float, times: int) -> None:
        for _ in range(times):
            async with self.presence.request("north"):
                self.presence.asks("north")
            await asyncio.sleep(every)

    async def beats(self, every: float, times: int) -> None:
        for _ in range(times):
            async with self.presence.request("north"):
                pass
            await asyncio.sleep(every)


def told(story: Callable[[Watched], Coroutine[Any, Any, None]]) -> list[tuple[str, float]]:
    """Return when the pod was taken off and on in a story of whose time nothing passes."""

    async def whole() -> list[tuple[str, float]]:
        watched = Watched()
        await story(watched)
        return watched.events

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(whole())


def test_a_pod_whose_pull_broke_off_is_taken_off_and_is_back_with_its_next_request() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(10, broke=True)
        await asyncio.sleep(100)
        await pod.pulls(1)
        await pod.pulls(1)

    assert told(story) == [("off", 10 + IDLE_SECONDS), ("on", 110)]


def test_a_pod_that_waits_or_pauses_as_flowers_supernode_does_stays() -> None:
    async def story(pod: Watched) -> None:
        for _ in range(10):
            await pod.pulls(20)
            await asyncio.sleep(3)

    assert told(story) == []


def test_a_pod_that_works_without_a_sign_is_left_to_flowers_own_time() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(handed=True)
        await pod.asks(every=1, times=1)  # what Flower's SuperNode asks of a run before it takes the message
        await pod.takes()
        await pod.beats(every=20, times=3)  # Flower's own heartbeats
        await asyncio.sleep(1000)

    assert told(story) == []


def test_a_pod_that_gives_signs_while_it_works_is_missed_when_they_end() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(handed=True)
        await pod.takes()
        await pod.asks(every=3, times=10)
        await asyncio.sleep(1000)

    assert told(story) == [("off", 27 + BUSY_SECONDS)]


def test_a_killed_pod_is_noticed_within_ten_seconds_whatever_it_did() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(handed=True)
        await pod.takes()
        await pod.asks(every=3, times=4)
        async with pod.presence.request("north"):
            pod.presence.done("north")  # it answers
        await asyncio.sleep(2)
        await pod.pulls(1, handed=True)
        await asyncio.sleep(1000)

    ((what, when),) = told(story)
    assert what == "off"
    assert when <= 15 + 10


def test_a_pod_that_has_once_asked_is_missed_in_later_messages_from_their_start_on() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(handed=True)
        await pod.takes()
        await pod.asks(every=1, times=1)
        await pod.pulls(1, handed=True)
        await pod.takes()
        await asyncio.sleep(1000)

    assert told(story) == [("off", 2 + BUSY_SECONDS)]


def test_a_pod_that_is_handed_a_message_and_does_not_fetch_it_is_missed() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(handed=True)
        await asyncio.sleep(1000)

    assert told(story) == [("off", TAKING_SECONDS)]


def test_a_pod_that_is_started_again_is_taken_off_first_if_its_process_is_known_to_be_gone() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(5, broke=True)
        await asyncio.sleep(1)
        async with pod.presence.request("north", starts=True):
            pod.events.append(("starts", asyncio.get_running_loop().time() - pod.began))
        await asyncio.sleep(1000)

    assert told(story) == [("off", 6), ("starts", 6)]


def test_a_second_process_of_a_pod_does_not_take_the_first_one_off() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(5)
        async with pod.presence.request("north", starts=True):
            pass
        await asyncio.sleep(1)
        await pod.pulls(5)

    assert told(story) == []


def test_a_pod_that_says_goodbye_is_not_missed() -> None:
    async def story(pod: Watched) -> None:
        await pod.pulls(5)
        async with pod.presence.request("north"):
            pod.presence.ended("north")
        await asyncio.sleep(1000)

    assert told(story) == []


def test_a_superlink_that_could_not_run_blames_no_pod_for_it() -> None:
    async def story(pod: Watched) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        await pod.pulls(5)
        loop.now += 60
        await asyncio.sleep(IDLE_SECONDS / 2)
        await pod.pulls(5)
        await asyncio.sleep(1000)

    (event,) = told(story)
    assert event == ("off", 5 + 60 + IDLE_SECONDS / 2 + 5 + IDLE_SECONDS)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A file, as with `fl-app superlink`."""
    return str(tmp_path / "state.db")


def status(superlink: Any, node: int) -> str:
    return str(superlink.state.linkstate_factory.state().get_node_info(node_ids=[node])[0].status)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.05)


def test_a_serverapp_learns_at_once_that_a_pod_is_gone_and_flower_that_it_is_back(
    superlink: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "IDLE_SECONDS", 0.5)

    async def story() -> None:
        pod, app = PodCaller(superlink, "north", tmp_path / "north"), ServerAppCaller(superlink)
        await pod.activate()
        pull = pod.pull()
        assert await pull.is_held()
        assert status(superlink, pod.node) == NodeStatus.ONLINE
        pull.hang_up()
        await until(lambda: status(superlink, pod.node) == NodeStatus.OFFLINE)
        parcel = app.message(pod.node)
        await app.push(parcel)
        (reply,) = await app.received(app.pull(parcel))
        assert reply.error.code == ErrorCode.NODE_UNAVAILABLE
        again = pod.pull()
        assert await again.is_held()
        assert status(superlink, pod.node) == NodeStatus.ONLINE

        # In the middle of an answer.
        parcel = app.message(pod.node)
        await app.push(parcel)
        data = await pod.received(again)
        await pod.push(pod.reply(data), objects=False)
        (reply,) = await app.received(app.pull(parcel)) or await app.received(app.pull(parcel))
        assert reply.error.code == ErrorCode.NODE_UNAVAILABLE

    asyncio.run(story())


def test_a_killed_pod_may_start_again_at_once_and_gets_the_message_that_it_did_not_take(
    superlink: Any, tmp_path: Path
) -> None:
    async def story() -> None:
        pod, app = PodCaller(superlink, "north", tmp_path / "north"), ServerAppCaller(superlink)
        await pod.activate()
        pull = pod.pull()
        assert await pull.is_held()
        pull.hang_up()
        await pull.task
        await pod.activate()
        assert status(superlink, pod.node) == NodeStatus.ONLINE
        parcel = app.message(pod.node)
        await app.push(parcel)
        assert (await pod.received(pod.pull())).message_id == parcel.id
        goodbye = pod.call(routes.DEACTIVATE, DeactivateNodeRequest(node_id=pod.node))
        await goodbye.answer(DeactivateNodeResponse)
        await pod.activate()
        assert (await pod.received(pod.pull())).message_id == parcel.id

    asyncio.run(story())


def test_a_heartbeat_brings_a_pod_back(superlink: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "IDLE_SECONDS", 0.5)

    async def story() -> None:
        pod = PodCaller(superlink, "north", tmp_path / "north")
        await pod.activate()
        pull = pod.pull()
        assert await pull.is_held()
        pull.hang_up()
        await until(lambda: status(superlink, pod.node) == NodeStatus.OFFLINE)
        await pod.beat()
        assert status(superlink, pod.node) == NodeStatus.ONLINE

    asyncio.run(story())
