"""What a modeller asks of a SuperLink: one HTTP request each, made in this process by Flower's own clients.

To a SuperLink with an authority of its own, every request bears a fresh token (`server.deployed.credentials`); nothing
of it is ever written to a file, an environment or a command line.

`ControlHttpClient`, `RuntimeHttpClient` and the names of the headers are internals of Flower;
tests/server/deployed/test_superlink_client.py fails if a later Flower moves them or calls them otherwise.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fl_app.errors import RunFailed
from server.deployed.credentials import GATE_CODE, token_for

if TYPE_CHECKING:
    from flwr.proto.task_pb2 import Task

SECONDS = 30.0
"""Longest time for one request: a bundle goes up with the first of them."""
_NOT_ADMITTED = (401, 403)


class Unreachable(RunFailed):
    """The SuperLink does not answer."""


class NotAdmitted(RunFailed):
    """The SuperLink does not admit this modeller, or not to what was asked for."""


class Request(Protocol):
    """An HTTP request of Flower's, as far as it is needed here."""

    @property
    def headers(self) -> Any:
        """Its headers, which may be changed."""

    @property
    def extensions(self) -> Any:
        """Its settings for httpx."""


class Call(Protocol):
    """A call of the SuperLink's API that is about to be made."""

    @property
    def request(self) -> Request:
        """The request that carries it."""


class Prepared:
    """An interceptor for Flower's HTTP clients: headers, made anew for each request, and a time limit in seconds."""

    def __init__(self, headers: Callable[[], Mapping[str, str]], seconds: float) -> None:
        self._headers, self._seconds = headers, seconds

    def intercept(self, context: Call, call_next: Callable[[Any], Any]) -> Any:
        """Make the call with the headers."""
        context.request.headers.update(self._headers())
        context.request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
        return call_next(context)


class SuperLinkClient:
    """A modeller's requests to one SuperLink.

    Parameters
    ----------
    superlink
        ``host:port``.
    insecure
        Whether the connection is not encrypted; then no token is sent.
    root_certificates
        Certificates (PEM) by which the SuperLink's is checked; None means the system's.
    seconds
        Longest time for one request.

    Raises
    ------
    RunFailed
        From each method, if the SuperLink does not do what was asked, with its reason: `Unreachable` if it does not
        answer, `NotAdmitted` if it refuses this modeller.
    UsageError
        From each method, if the modeller's key cannot be read.
    """

    def __init__(
        self, superlink: str, *, insecure: bool, root_certificates: Path | None, seconds: float = SECONDS
    ) -> None:
        self._superlink, self._insecure, self._root_certificates = superlink, insecure, root_certificates
        self._seconds = seconds

    def start_run(self, bundle: bytes) -> int:
        """Submit a bundle and return the id of its run."""
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.proto.fab_pb2 import Fab

        fab = Fab(hash_str=hashlib.sha256(bundle).hexdigest(), content=bundle)
        with self._control() as client:
            answer = client.StartRun(StartRunRequest(fab=fab))
        if not answer.HasField("run_id"):
            raise RunFailed(f"the SuperLink at {self._superlink} has started no run")
        return int(answer.run_id)

    def is_pending(self, run: int) -> bool:
        """Return whether nobody has begun to carry out the run."""
        from flwr.common.constant import Status
        from flwr.proto.control_pb2 import ListRunsRequest

        with self._control() as client:
            runs = client.ListRuns(ListRunsRequest(run_id=run)).run_dict
        return run in runs and runs[run].status.status == Status.PENDING

    def stop_run(self, run: int) -> None:
        """Stop a run; one that has ended already is refused."""
        from flwr.proto.control_pb2 import StopRunRequest

        with self._control() as client:
            client.StopRun(StopRunRequest(run_id=run))

    def check_admission(self) -> None:
        """Ask for the list of runs."""
        from flwr.proto.control_pb2 import ListRunsRequest

        with self._control() as client:
            client.ListRuns(ListRunsRequest(limit=1))

    def acquire_task(self) -> "tuple[Task, str] | None":
        """Return a ServerApp that waits to be carried out, and the token to do it with; None if there is none."""
        from flwr.proto.runtime_pb2 import AcquireTaskRequest
        from flwr.supercore.constant import TaskType
        from flwr.supercore.runtime import RuntimeHttpClient

        with self._client(RuntimeHttpClient, self._modeller_headers) as client:
            answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
        return (answer.task, answer.token) if answer.HasField("task") and answer.token else None

    def fail_task(self, token: str, details: str) -> None:
        """End the task with this token as failed."""
        from flwr.common.constant import SubStatus
        from flwr.proto.runtime_pb2 import PushTaskOutputRequest
        from flwr.supercore.constant import TASK_TOKEN_HEADER
        from flwr.supercore.runtime import RuntimeHttpClient

        with self._client(RuntimeHttpClient, lambda: {TASK_TOKEN_HEADER: token}) as client:
            client.PushTaskOutput(PushTaskOutputRequest(sub_status=SubStatus.FAILED, details=details))

    def certificates(self) -> bytes | None:
        """Return the certificates' text for Flower's own clients."""
        return self._root_certificates.read_bytes() if self._root_certificates else None

    def _modeller_headers(self) -> Mapping[str, str]:
        from flwr.supercore.constant import (
            FLWR_COMPONENT_NAME_METADATA_KEY,
            FLWR_PACKAGE_NAME_METADATA_KEY,
            FLWR_PACKAGE_VERSION_METADATA_KEY,
        )

        own = {
            FLWR_PACKAGE_NAME_METADATA_KEY: "flwr",
            FLWR_PACKAGE_VERSION_METADATA_KEY: version("flwr"),
            FLWR_COMPONENT_NAME_METADATA_KEY: "fl-app",
        }
        token = None if self._insecure else token_for(self._root_certificates)
        return {**own, "Authorization": f"Bearer {token}"} if token else own

    @contextmanager
    def _control(self) -> Iterator[Any]:
        from flwr.supercore.control import ControlHttpClient

        with self._client(ControlHttpClient, self._modeller_headers) as client:
            yield client

    @contextmanager
    def _client(self, kind: Any, headers: Callable[[], Mapping[str, str]]) -> Iterator[Any]:
        """Yield a client of Flower's for one request, whose errors become ours."""
        import httpx

        try:
            client = kind.from_server_address(
                server_address=self._superlink,
                insecure=self._insecure,
                root_certificates=self.certificates(),
                interceptors=[Prepared(headers, self._seconds)],
            )
            try:
                yield client
            finally:
                client.close()
        except httpx.HTTPStatusError as error:
            refused = error.response.status_code in _NOT_ADMITTED
            kind_of = NotAdmitted if refused else RunFailed
            raise kind_of(reason_in(error.response.text) or f"it answers {error.response.status_code}") from None
        except (httpx.HTTPError, OSError) as error:
            what = type(error).__name__ if not str(error) else str(error)
            raise Unreachable(f"the SuperLink at {self._superlink} does not answer: {what}") from None


def reason_in(answer: str) -> str:
    """Return the reason in a SuperLink's error, which is JSON with a code and a detail; "" if there is none.

    The gate's own text needs nothing of Flower's around it; Flower's goes with its code, which its manual explains.
    """
    try:
        error = json.loads(answer)
        code, detail = error.get("code"), str(error["detail"])
    except (ValueError, KeyError, AttributeError):
        return ""
    parts = [detail, *filter(None, [error.get("extra")])]
    text = " ".join(" ".join(map(str, parts)).split())
    return text if code in (None, GATE_CODE) else f"{text} (Flower's error {code})"
