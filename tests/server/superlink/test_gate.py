"""The gate before Flower's own SuperLink application: nothing passes that is not let in by name."""

import asyncio
import base64
import inspect
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.proto.control_pb2 import StartRunResponse, StopRunRequest
from flwr.proto.fleet_pb2 import ActivateNodeResponse
from flwr.proto.runtime_pb2 import AcquireTaskRequest, AcquireTaskResponse
from flwr.proto.task_pb2 import Task
from flwr.supercore.dependencies.runtime import get_task
from flwr.supercore.error import ApiErrorCode
from flwr.superlink import config_loader, extensions
from flwr.superlink.cli import flower_superlink
from flwr.superlink.main import create_app

from fl_app.host.party_keys import modeller_card, modeller_identity
from server.superlink import gate as gates
from server.superlink import request_checks, routes, tokens
from server.superlink.gate import Gate
from server.superlink.registry import Registry
from server.superlink.start import apply_register
from tests.server.superlink.parties import AUDIENCE, PROTOBUF, activate, ask, bearer, signed


def paths_of(app: Any) -> dict[str, Any]:
    from flwr.superlink.main import iter_route_contexts

    return {found.path: found for found in iter_route_contexts(app.routes) if found.path.startswith("/v1/")}


def test_flower_still_has_the_routes_and_asks_for_the_token_of_a_task(
    superlink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = paths_of(superlink)
    assert there.keys() >= routes.OF_PODS | routes.OF_MODELLERS | routes.OF_TASKS
    for path in routes.OF_TASKS:
        assert ask(superlink, path, PROTOBUF).json()["detail"] == gates.NO_TASK, path
    monkeypatch.setattr(extensions, "get_middleware", lambda: ())
    without_gate = create_app()
    for path in routes.OF_TASKS:
        answer = ask(without_gate, path, PROTOBUF)
        assert answer.json()["code"] == ApiErrorCode.RUNTIME_AUTHENTICATION_FAILED, path


def test_everything_else_is_not_there(superlink: Any, registry: Registry, tmp_path: Path) -> None:
    let_in = routes.OF_PODS | routes.OF_MODELLERS | routes.OF_TASKS
    others = {path for path in paths_of(superlink) if path not in let_in}
    assert "/v1/control/register-node" in others
    headers = {**PROTOBUF, **bearer(tmp_path / "ada"), **signed("north", tmp_path / "north")}
    odd = ["/docs", "/openapi.json", "/", "/v1/control/start-run/", "/V1/control/start-run", "//v1/control/start-run"]
    for path in sorted(others) + odd:
        assert ask(superlink, path, headers).status_code == 404, path
    assert ask(superlink, routes.START_RUN, headers, method="GET").status_code == 404
    assert ask(superlink, "/health", method="GET").status_code == 200
    assert ask(superlink, "/health").status_code == 404


@pytest.mark.parametrize("path", sorted(routes.OF_MODELLERS))
def test_modellers_only(superlink: Any, registry: Registry, tmp_path: Path, path: str) -> None:
    modeller_card("eve", tmp_path / "eve")
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic x"}, bearer(tmp_path / "eve")):
        answer = ask(superlink, path, {**PROTOBUF, **headers})
        assert answer.status_code == 403
        assert answer.json()["code"] == 7700
        assert "modeller" in answer.json()["detail"]
    twice = [*PROTOBUF.items(), *bearer(tmp_path / "ada").items(), *bearer(tmp_path / "ada").items()]
    assert ask(superlink, path, twice).status_code == 403
    assert ask(superlink, path, {**PROTOBUF, **bearer(tmp_path / "ada")}).status_code != 403


def test_a_pod_is_let_in_by_its_key_and_flower_checks_the_signature(
    superlink: Any, registry: Registry, tmp_path: Path
) -> None:
    home = tmp_path / "north"
    good = activate(superlink, "north", home, signed("north", home))
    assert good.status_code == 200, good.text
    node = ActivateNodeResponse.FromString(good.content).node_id
    state = superlink.state.linkstate_factory.state()
    assert [(info.name, info.node_id) for info in state.get_node_info()] == [("north", node)]
    assert "north" in {path.name for path in (registry.directory / "seen").iterdir()}

    forged = {**signed("north", home), "flwr-signature": base64.b64encode(b"x" * 104).decode()}
    assert activate(superlink, "north", home, forged).status_code == 401
    strange = activate(superlink, "east", tmp_path / "east", signed("east", tmp_path / "east"))
    assert strange.status_code == 404
    assert strange.json()["detail"] == gates.POD_UNKNOWN
    for path in routes.OF_PODS - {routes.ACTIVATE}:
        assert ask(superlink, path, {**PROTOBUF, **signed("east", tmp_path / "east")}).status_code == 401
        assert ask(superlink, path, PROTOBUF).status_code == 401


def unread(size: int) -> Any:
    """A body of ``size`` bytes that must not be asked for."""

    async def parts() -> Any:
        pytest.fail("the body was read")
        yield b""

    return {"content": parts(), "headers": {"content-length": str(size)}}


@pytest.mark.parametrize("path", [routes.START_RUN, "/v1/fleet/push-object", "/v1/runtime/push-object"])
def test_of_somebody_unknown_no_byte_of_a_body_is_read(superlink: Any, tmp_path: Path, path: str) -> None:
    body = unread(200 << 20)
    unsigned = {**signed("north", tmp_path / "north"), "flwr-signature": "eA=="}
    for headers in ({}, unsigned, {"flwr-task-token": "guessed"}, {"Authorization": "Bearer x"}):
        answer = ask(superlink, path, {**PROTOBUF, **headers, **body["headers"]}, content=body["content"])
        assert answer.status_code in (401, 403, 413)


def test_of_a_known_party_too_long_a_body_is_not_read_either(superlink: Any, tmp_path: Path) -> None:
    for size in ("x", "-1", str(request_checks.MAX_BODY + 1)):
        body = unread(0)
        headers = {**PROTOBUF, **bearer(tmp_path / "ada"), "content-length": size}
        assert ask(superlink, routes.START_RUN, headers, content=body["content"]).status_code == 413
    chunked = {**PROTOBUF, **bearer(tmp_path / "ada"), "transfer-encoding": "chunked"}
    assert ask(superlink, routes.START_RUN, chunked, content=unread(0)["content"]).status_code == 413


def test_a_sender_that_stops_within_a_body_counts_as_gone() -> None:
    async def stalls() -> Any:
        await asyncio.sleep(60)

    async def received() -> Any:
        return await request_checks.without_stalling(stalls, 0.01)()

    assert asyncio.run(received()) == {"type": "http.disconnect"}


def test_a_modeller_obtains_and_stops_only_runs_of_their_own(
    superlink: Any, registry: Registry, tmp_path: Path
) -> None:
    registry.add([modeller_card("bob", tmp_path / "bob")])
    registry.started(1, "ada")
    registry.started(2, "bob")
    stopped: list[int] = []
    tasks = [Task(task_id=10, type="serverapp", run_id=1), Task(task_id=20, type="serverapp", run_id=2)]
    state = SimpleNamespace(
        get_tasks=lambda **_: tasks, claim_task=lambda task: f"token of {task}", get_task_by_token=lambda _: None
    )

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        stopped.append(StopRunRequest.FromString((await receive())["body"]).run_id)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(_: Any) -> None:
        pass

    behind = SimpleNamespace(state=SimpleNamespace(linkstate_factory=SimpleNamespace(state=lambda: state)))
    gate = Gate(inner, registry, AUDIENCE, nothing)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate({**scope, "app": behind}, receive, send)

    wanted = AcquireTaskRequest(supported_task_types=["serverapp"]).SerializeToString()
    for name, task, run in (("ada", 10, 1), ("bob", 20, 2)):
        answer = ask(app, routes.ACQUIRE, bearer(tmp_path / name), content=wanted)
        acquired = AcquireTaskResponse.FromString(answer.content)
        assert (acquired.task.task_id, acquired.token) == (task, f"token of {task}")
        stop = StopRunRequest(run_id=run).SerializeToString()
        assert ask(app, routes.STOP_RUN, bearer(tmp_path / name), content=stop).status_code == 200
        others = StopRunRequest(run_id=3 - run).SerializeToString()
        refused = ask(app, routes.STOP_RUN, bearer(tmp_path / name), content=others)
        assert (refused.status_code, refused.json()["detail"]) == (403, gates.OTHERS_RUN)
    nothing_else = AcquireTaskRequest(supported_task_types=["agentapp"]).SerializeToString()
    answer = ask(app, routes.ACQUIRE, bearer(tmp_path / "ada"), content=nothing_else)
    assert not AcquireTaskResponse.FromString(answer.content).token
    assert ask(app, routes.STOP_RUN, bearer(tmp_path / "ada"), content=b"\xff").status_code == 403
    assert stopped == [1, 2]


def test_a_revocation_counts_at_once_and_a_rotation_replaces_the_node(
    superlink: Any, registry: Registry, tmp_path: Path
) -> None:
    from fl_app.host.rotation import rotate_pod

    home = tmp_path / "north"
    state = superlink.state.linkstate_factory.state()
    assert activate(superlink, "north", home, signed("north", home)).status_code == 200
    before, old = state.get_node_info()[0].node_id, signed("north", home)
    registry_of_another_process = Registry(registry.directory)
    registry_of_another_process.add([rotate_pod("north", home)])
    assert activate(superlink, "north", home, signed("north", home)).status_code == 200
    assert activate(superlink, "north", home, old).status_code == 404
    there = {info.node_id for info in state.get_node_info() if info.status != "unregistered"}
    assert len(there) == 1
    assert before not in there

    registry_of_another_process.revoke("north")
    assert activate(superlink, "north", home, signed("north", home)).status_code == 404
    assert {info.status for info in state.get_node_info()} == {"unregistered"}
    assert ask(superlink, routes.START_RUN, {**PROTOBUF, **bearer(tmp_path / "ada")}).status_code != 403
    registry_of_another_process.revoke("ada")
    assert ask(superlink, routes.START_RUN, {**PROTOBUF, **bearer(tmp_path / "ada")}).status_code == 403


def test_a_damaged_card_registers_nobody(superlink: Any, registry: Registry, tmp_path: Path) -> None:
    path = registry.directory / "registered" / "ada.card"
    path.write_text(path.read_text().replace("ada", "bob"))
    assert registry.damaged() == ["ada"]
    assert ask(superlink, routes.START_RUN, {**PROTOBUF, **bearer(tmp_path / "ada")}).status_code == 403
    path.write_text("junk")
    assert ask(superlink, routes.START_RUN, {**PROTOBUF, **bearer(tmp_path / "ada")}).status_code == 403


def test_who_started_a_run_is_noted_and_his_runs_end_with_his_registration(registry: Registry) -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        body = StartRunResponse(run_id=2**63 + 5).SerializeToString()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[:3], "more_body": True})
        await send({"type": "http.response.body", "body": body[3:]})

    async def nothing(_: Any) -> None:
        pass

    gate = Gate(inner, registry, AUDIENCE, nothing)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate({**scope, "app": None}, receive, send)

    answer = ask(app, routes.START_RUN, bearer(registry.directory / "ada"))
    assert answer.status_code == 200
    assert registry.starters() == {2**63 + 5: "ada"}

    class State:
        stopped: list[int] = []  # noqa: RUF012

        def get_node_info(self, **_: Any) -> list[Any]:
            return []

        def create_node(self, *_: Any, **__: Any) -> int:
            return 1

        def get_run_info(self, **_: Any) -> list[Any]:
            return [SimpleNamespace(run_id=2**63 + 5), SimpleNamespace(run_id=7)]

        def stop_run(self, run: int) -> None:
            self.stopped.append(run)

    apply_register(State(), registry, "", "")
    assert State.stopped == []
    registry.revoke("ada")
    apply_register(State(), registry, "", "")
    assert State.stopped == [2**63 + 5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"now": -3600.0}, r"36\d\d seconds ago"),
        ({"now": 3600.0}, "in the future"),
        ({"for_whom": "cd" * 32}, "another SuperLink"),
    ],
)
def test_a_token_is_for_now_and_for_one_superlink(
    registry: Registry, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    if "now" in change:
        change = {"now": time.time() + change["now"]}
    token = bearer(tmp_path / "ada", **change)["Authorization"].removeprefix("Bearer ")
    with pytest.raises(tokens.TokenRefused, match=said):
        tokens.check_token(token, AUDIENCE, registry.modeller_with)
    good = bearer(tmp_path / "ada")["Authorization"].removeprefix("Bearer ")
    assert tokens.check_token(good, AUDIENCE, registry.modeller_with).name == "ada"


def test_a_token_that_another_made_or_changed_is_none(registry: Registry, tmp_path: Path) -> None:
    good = tokens.make_token(modeller_identity(tmp_path / "ada"), AUDIENCE)
    head, claims, signature = good.split(".")

    def coded(content: Mapping[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    none = coded({"alg": "none", "typ": "fl-app-modeller+jwt"})
    symmetric = coded({"alg": "HS256", "typ": "fl-app-modeller+jwt"})
    longer = coded({**said, "exp": said["exp"] + 10**6})
    for bad in (
        "",
        "..",
        good + "x",
        f"{none}.{claims}.",
        f"{symmetric}.{claims}.{signature}",
        f"{head}.{longer}.{signature}",
        f"{coded({'alg': 'EdDSA', 'typ': 'JWT'})}.{claims}.{signature}",
        f"{head}.{coded([1])}.{signature}",  # type: ignore[arg-type]
        f"{head}.{coded({**said, 'iss': 4})}.{signature}",
        "a" * 5000,
        "\xff.\xfe.é",
    ):
        with pytest.raises(tokens.TokenRefused):
            tokens.check_token(bad, AUDIENCE, registry.modeller_with)


def test_a_token_with_a_long_life_of_its_own_is_refused_when_it_is_old(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LIFETIME", 10**6)
    token = tokens.make_token(modeller_identity(tmp_path / "ada"), AUDIENCE, time.time() - 3600)
    monkeypatch.setattr(tokens, "LIFETIME", 300)
    with pytest.raises(tokens.TokenRefused, match=r"36\d\d seconds ago"):
        tokens.check_token(token, AUDIENCE, registry.modeller_with)


def test_what_the_start_replaces_of_flower_is_there() -> None:
    assert "uvicorn.run(\n" in inspect.getsource(sys.modules["flwr.superlink.cli.flower_superlink"])
    assert callable(extensions.get_middleware)
    assert callable(config_loader.ObjectStoreFactory)
    assert config_loader.ObjectStoreFactory().store().__class__.__name__ == "InMemoryObjectStore"
    assert callable(get_task)
    assert callable(flower_superlink)
