"""Pulls that are held until there is a message: against Flower's own application and database, in process."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from flwr.common.constant import ErrorCode
from flwr.proto.control_pb2 import StopRunRequest, StopRunResponse

from fl_app.host.party_keys import pod_card
from server.superlink import long_polls, routes
from server.superlink.bells import Bells
from server.superlink.registry import Registry
from tests.server.superlink.parties import Call, PodCaller, ServerAppCaller, bearer

Story = Callable[[PodCaller, ServerAppCaller], Coroutine[Any, Any, None]]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A file, as with `fl-app superlink`."""
    return str(tmp_path / "state.db")


@pytest.fixture
def told(superlink: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """Runs a story of a pod that has activated its node and a ServerApp; their pulls do not end by themselves."""
    monkeypatch.setattr(long_polls, "POD_SECONDS", 1000.0)
    monkeypatch.setattr(long_polls, "SERVERAPP_SECONDS", 1000.0)

    def tell(story: Story) -> None:
        async def whole() -> None:
            pod = PodCaller(superlink, "north", tmp_path / "north")
            await pod.activate()
            await story(pod, ServerAppCaller(superlink))

        asyncio.run(whole())

    return tell


def test_a_pod_is_answered_when_its_message_is_whole(told: Callable[[Story], None]) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        pull = pod.pull()
        assert await pull.is_held()
        parcel = app.message(pod.node)
        pushed = await app.push(parcel, objects=False)
        assert await pull.is_held()
        await app.push_objects(parcel, pushed)
        assert (await pod.received(pull)).message_id == parcel.id

    told(story)


def test_a_message_on_its_way_is_not_handed_out_to_one_who_asks_meanwhile(told: Callable[[Story], None]) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        first, second = app.message(pod.node), app.message(pod.node, size=5)
        await app.push(first)
        await pod.confirm(await pod.received(pod.pull()))
        idle = pod.pull()
        assert await idle.is_held()
        idle.hang_up()
        pushed = await app.push(second, objects=False)
        pull = pod.pull()
        assert await pull.is_held()
        await app.push_objects(second, pushed)
        assert (await pod.received(pull)).message_id == second.id

    told(story)


def test_a_serverapp_is_answered_when_a_reply_is_whole(told: Callable[[Story], None]) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        parcel = app.message(pod.node)
        await app.push(parcel)
        data = await pod.received(pod.pull())
        pull = app.pull(parcel)
        assert await pull.is_held()
        reply = pod.reply(data)
        pushed = await pod.push(reply, objects=False)
        assert await pull.is_held()
        await pod.push_objects(reply, pushed)
        assert [message.metadata.message_id for message in await app.received(pull)] == [reply.id]

    told(story)


def test_other_replies_do_not_wait_for_one_that_is_on_its_way(told: Callable[[Story], None]) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        one, other = app.message(pod.node), app.message(pod.node, size=5)
        await app.push(one, other)
        replies = {}
        for parcel in (one, other):
            data = await pod.received(pod.pull())
            await pod.confirm(data)
            replies[parcel.id] = pod.reply(data)
        pushed = await pod.push(replies[one.id], objects=False)
        await pod.push(replies[other.id])
        came = await app.received(app.pull(one, other))
        assert [message.metadata.reply_to_message_id for message in came] == [other.id]
        await pod.push_objects(replies[one.id], pushed)
        came = await app.received(app.pull(one))
        assert [message.metadata.reply_to_message_id for message in came] == [one.id]

    told(story)


def test_who_has_nothing_is_answered_within_the_bound(
    told: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_polls, "POD_SECONDS", 0.5)
    monkeypatch.setattr(long_polls, "SERVERAPP_SECONDS", 0.4)

    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        assert await pod.received(pod.pull()) is None
        assert now() - began > 0.49
        parcel = app.message(pod.node)
        await app.push(parcel)
        began = now()
        assert await app.received(app.pull(parcel)) == []
        assert now() - began > 0.39
        assert await app.received(app.pull()) == []

    told(story)


def test_bounds_are_within_the_time_for_which_flowers_clients_wait() -> None:
    from flwr.supercore.protobuf.client import ProtobufClient

    client = ProtobufClient("https://superlink", verify=False)
    assert client._client.timeout.read is not None
    assert max(long_polls.POD_SECONDS, long_polls.SERVERAPP_SECONDS) + 5 < client._client.timeout.read


def test_a_push_wakes_nobody_but_its_receiver(superlink: Any, registry: Registry, tmp_path: Path) -> None:
    registry.add([pod_card("south", tmp_path / "south")])

    async def story() -> None:
        pods = [PodCaller(superlink, name, tmp_path / name) for name in ("north", "south")]
        pulls = []
        for pod in pods:
            await pod.activate()
            pulls.append(pod.pull())
        assert await pulls[0].is_held()
        assert await pulls[1].is_held()
        state, asked = superlink.state.linkstate_factory.state(), []
        ask = state.get_message_ins
        state.get_message_ins = lambda *a, **k: asked.append(k["node_id"]) or ask(*a, **k)  # type: ignore[func-returns-value]
        app = ServerAppCaller(superlink)
        await app.push(app.message(pods[0].node))
        assert await pods[0].received(pulls[0]) is not None
        assert await pulls[1].is_held()
        assert asked == [pods[0].node]
        pulls[1].hang_up()
        await pulls[1].task

    asyncio.run(story())


def test_a_bell_that_rings_while_its_listener_looks_is_heard() -> None:
    async def story() -> None:
        bells, there, looks = Bells(), list[str](), 0

        async def look() -> str | None:
            nonlocal looks
            looks += 1
            found = list(there)
            if looks == 1:
                there.append("message")
                bells.ring("node")
            await asyncio.sleep(0)
            return found[0] if found else None

        async def silent() -> Any:
            await asyncio.Future()

        async with bells.listening("node", silent) as bell:
            assert await bell.until(look, 20) == "message"
        assert (looks, bells.held) == (2, 0)

    asyncio.run(asyncio.wait_for(story(), 10))


def test_nothing_is_taken_from_flower_for_a_pod_that_is_gone(told: Callable[[Story], None]) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        pull = pod.pull()
        assert await pull.is_held()
        pull.hang_up()
        await pull.task
        parcel = app.message(pod.node)
        await app.push(parcel)
        assert (await pod.received(pod.pull())).message_id == parcel.id

    told(story)


def test_a_message_that_a_pod_did_not_get_is_given_once_more(told: Callable[[Story], None]) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        parcel = app.message(pod.node)
        await app.push(parcel)
        for _ in range(2):
            assert (await pod.received(pod.pull())).message_id == parcel.id
        third = pod.pull()
        assert await third.is_held()
        third.hang_up()

    told(story)


def test_a_message_that_a_pod_has_is_not_given_again(told: Callable[[Story], None]) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        await app.push(app.message(pod.node))
        data = await pod.received(pod.pull())
        await pod.confirm(data)
        pull = pod.pull()
        assert await pull.is_held()
        pull.hang_up()

    told(story)


def test_replies_for_a_serverapp_that_was_cut_off_are_kept_for_its_next_pull(
    told: Callable[[Story], None], superlink: Any
) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        parcel = app.message(pod.node)
        await app.push(parcel)
        data = await pod.received(pod.pull())
        await pod.push(reply := pod.reply(data))
        state = superlink.state.linkstate_factory.state()
        ask = state.get_message_res

        def cut(*arguments: Any, **more: Any) -> Any:
            pull.hang_up()
            return ask(*arguments, **more)

        state.get_message_res = cut
        pull = app.pull(parcel)
        await pull.task
        state.get_message_res = ask
        again = await app.received(app.pull(parcel))
        assert [message.metadata.message_id for message in again] == [reply.id]

    told(story)


def test_messages_from_before_a_restart_are_found_at_once(told: Callable[[Story], None], superlink: Any) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        parcel = app.message(pod.node)
        await app.push(parcel)
        superlink.middleware_stack = superlink.build_middleware_stack()  # a gate that knows of nothing
        assert (await pod.received(pod.pull())).message_id == parcel.id

    told(story)


def test_the_end_of_the_superlink_lets_all_go(told: Callable[[Story], None], bells: Bells) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        parcel = app.message(pod.node)
        await app.push(parcel)
        await pod.confirm(await pod.received(pod.pull()))
        pulls: list[Call] = [pod.pull(), app.pull(parcel)]
        assert [await pull.is_held() for pull in pulls] == [True, True]
        bells.end()
        assert await pod.received(pulls[0]) is None
        assert await app.received(pulls[1]) == []
        assert await pod.received(pod.pull()) is None

    told(story)


def test_a_serverapp_whose_run_is_stopped_is_told_at_once(
    told: Callable[[Story], None], superlink: Any, tmp_path: Path
) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        parcel = app.message(pod.node)
        await app.push(parcel)
        pull = app.pull(parcel)
        assert await pull.is_held()
        stop = Call(superlink, routes.STOP_RUN, bearer(tmp_path / "ada"), StopRunRequest(run_id=app.run))
        assert (await stop.answer(StopRunResponse)).success
        async with asyncio.timeout(10):
            await pull.task
        assert pull.status == 401

    told(story)


def test_a_pod_that_is_revoked_while_it_waits_is_refused(told: Callable[[Story], None], registry: Registry) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        pull = pod.pull()
        assert await pull.is_held()
        registry.revoke("north")
        parcel = app.message(pod.node)
        await app.call(routes.PULL_OF_TASK, parcel.proto).task  # any request: before it the register is read anew
        async with asyncio.timeout(10):
            await pull.task
        assert pull.status == 401

    told(story)


def test_a_signature_that_becomes_too_old_while_held_costs_the_pod_nothing(
    told: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        pull = pod.pull()
        assert await pull.is_held()
        parcel = app.message(pod.node)
        with monkeypatch.context() as later:
            later.setattr("server.superlink.gate.signature_holds", lambda *_: False)
            await app.push(parcel)
            assert await pod.received(pull) is None
        assert (await pod.received(pod.pull())).message_id == parcel.id

    told(story)


def test_errors_that_flower_makes_up_reach_a_held_serverapp(told: Callable[[Story], None], superlink: Any) -> None:
    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        parcel = app.message(pod.node)
        await app.push(parcel)
        assert superlink.state.linkstate_factory.state().deactivate_node(pod.node)
        (reply,) = await app.received(app.pull(parcel))
        assert reply.error.code == ErrorCode.NODE_UNAVAILABLE

    told(story)


def test_a_malformed_pull_is_flowers_affair(told: Callable[[Story], None]) -> None:
    class Junk:
        def SerializeToString(self) -> bytes:
            return b"\xff"

    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        for call in (pod.call(routes.PULL, Junk()), app.call(routes.PULL_OF_TASK, Junk())):
            await call.task
            assert call.status == 400

    told(story)


def test_a_pod_that_asks_for_anothers_node_learns_nothing_of_it(
    superlink: Any, registry: Registry, tmp_path: Path
) -> None:
    registry.add([pod_card("south", tmp_path / "south")])

    async def story() -> None:
        north, south = (PodCaller(superlink, name, tmp_path / name) for name in ("north", "south"))
        await north.activate()
        await south.activate()
        pull = north.pull()
        assert await pull.is_held()
        pull.hang_up()
        south.node = north.node
        foreign = south.pull()
        await foreign.task
        assert foreign.status == 401

    asyncio.run(story())


def test_flower_is_not_asked_again_for_a_pod_for_which_nothing_has_come(
    told: Callable[[Story], None], superlink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = superlink.state.linkstate_factory.state()
    ask, asked = state.get_message_ins, list[int]()
    state.get_message_ins = lambda *a, **k: asked.append(k["node_id"]) or ask(*a, **k)  # type: ignore[func-returns-value]

    async def story(pod: PodCaller, app: ServerAppCaller) -> None:
        for _ in range(3):
            pull = pod.pull()
            assert await pull.is_held()
            pull.hang_up()
            await pull.task
        assert len(asked) == 1
        monkeypatch.setattr(long_polls, "_LOOK_SECONDS", 0.0)
        pull = pod.pull()
        assert await pull.is_held()
        assert len(asked) == 2
        pull.hang_up()

    told(story)
