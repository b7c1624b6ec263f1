"""What a modeller's requests carry, and what becomes of the answers: Flower's clients against a small HTTP server."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flwr.common.constant import Status, SubStatus
from flwr.proto.control_pb2 import ListRunsRequest, ListRunsResponse, StartRunRequest, StartRunResponse
from flwr.proto.run_pb2 import Run, RunStatus
from flwr.proto.runtime_pb2 import AcquireTaskRequest, AcquireTaskResponse, PushTaskOutputRequest
from flwr.proto.task_pb2 import Task

from fl_app.errors import RunFailed
from server.deployed import superlink_client
from server.deployed.superlink_client import NotAdmitted, SuperLinkClient, Unreachable, reason_in
from tests.support.ports import free_port

HANDED = "of the task"


class Server(ThreadingHTTPServer):
    """Answers a path as it is told to, and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        status, content = server.answers.get(self.path, (200, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> SuperLinkClient:
    return SuperLinkClient(f"127.0.0.1:{server.server_port}", insecure=True, root_certificates=None, seconds=5)


def test_a_bundle_is_submitted_with_its_hash(server: Server, client: SuperLinkClient) -> None:
    server.answers["/v1/control/start-run"] = 200, StartRunResponse(run_id=7).SerializeToString()
    assert client.start_run(b"bundle") == 7
    ((_, headers, body),) = server.requests
    fab = StartRunRequest.FromString(body).fab
    assert (fab.content, fab.hash_str) == (b"bundle", hashlib.sha256(b"bundle").hexdigest())
    assert "authorization" not in headers  # in the clear there is no token
    assert headers["flwr-package-name"] == "flwr"


def test_a_run_that_was_not_started_is_told(server: Server, client: SuperLinkClient) -> None:
    with pytest.raises(RunFailed, match="started no run"):
        client.start_run(b"bundle")


@pytest.mark.parametrize(("status", "pending"), [(Status.PENDING, True), (Status.RUNNING, False)])
def test_whether_a_run_has_begun(server: Server, client: SuperLinkClient, status: str, pending: bool) -> None:
    runs = {7: Run(run_id=7, status=RunStatus(status=status))}
    server.answers["/v1/control/list-runs"] = 200, ListRunsResponse(run_dict=runs).SerializeToString()
    assert client.is_pending(7) is pending
    assert client.is_pending(8) is False
    assert [ListRunsRequest.FromString(body).run_id for _, _, body in server.requests] == [7, 8]


def test_a_task_is_acquired_and_failed_with_its_own_token(server: Server, client: SuperLinkClient) -> None:
    assert client.acquire_task() is None
    given = AcquireTaskResponse(task=Task(task_id=1, run_id=7), token=HANDED)
    server.answers["/v1/runtime/acquire-task"] = 200, given.SerializeToString()
    acquired = client.acquire_task()
    assert acquired is not None
    assert (acquired[0].run_id, acquired[1]) == (7, HANDED)
    client.fail_task(HANDED, "not mine")
    _, (_, _, asked), (_, headers, body) = server.requests
    assert list(AcquireTaskRequest.FromString(asked).supported_task_types) == ["flwr-serverapp"]
    assert headers["flwr-task-token"] == HANDED
    output = PushTaskOutputRequest.FromString(body)
    assert (output.sub_status, output.details) == (SubStatus.FAILED, "not mine")


def test_every_request_bears_a_fresh_token(
    server: Server, client: SuperLinkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = iter(["one", "two", "three"])
    monkeypatch.setattr(superlink_client, "token_for", lambda _: next(tokens))
    monkeypatch.setattr(client, "_insecure", False)
    assert [client._modeller_headers()["Authorization"] for _ in range(3)] == [
        "Bearer one",
        "Bearer two",
        "Bearer three",
    ]


def test_a_refusal_has_the_gate_s_own_words(server: Server, client: SuperLinkClient) -> None:
    refusal = json.dumps({"code": 7700, "detail": "this run is another modeller's"}).encode()
    server.answers["/v1/control/stop-run"] = 403, refusal
    with pytest.raises(NotAdmitted, match=r"^this run is another modeller's$"):
        client.stop_run(7)
    server.answers["/v1/control/stop-run"] = 500, b"<html>"
    with pytest.raises(RunFailed, match="it answers 500"):
        client.stop_run(7)


def test_a_superlink_that_is_gone_is_unreachable() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"the SuperLink at {address} does not answer"):
        SuperLinkClient(address, insecure=True, root_certificates=None, seconds=5).check_admission()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ('{"code": 7700, "detail": "two\\n lines"}', "two lines"),
        ('{"code": 201, "detail": "Run not found", "extra": "run 7"}', "Run not found run 7 (Flower's error 201)"),
        ('{"detail": "plain"}', "plain"),
        ('{"code": 1}', ""),
        ("[1]", ""),
        ("<html>", ""),
    ],
)
def test_the_reason_in_an_answer(answer: str, reason: str) -> None:
    assert reason_in(answer) == reason
