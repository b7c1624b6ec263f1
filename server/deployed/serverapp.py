"""The process in which a deployed run's ServerApp runs, in the modeller's directory.

It is started before there is a run, so that its imports take place while the run is being submitted. It is told the
run's id through a pipe, obtains the run's task from the SuperLink itself, and carries it out: the task's token is in
this process's memory and nowhere else.

The ServerApp is the one that is installed here, or lies in the directory of the app that was submitted; of what the
SuperLink sends, nothing is ever treated as code. A SuperLink that does not ask who a modeller is hands out whatever
task is pending: another modeller's, an abandoned one, or one that somebody submitted to have code run on this machine.
Any that is not of this process's own run is failed.

`flwr.superlink.grid.HttpGrid`, `TaskIdentity` and the conversions of `flwr.common.serde` are internals of Flower; every
test on a deployed run fails if a later Flower moves them. tests/server/deployed/test_serverapp.py says which.
"""

import os
import signal
import sys
import threading
import time
import tomllib
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from fl_app.system.memory import uncollected
from server.deployed.superlink_client import NotAdmitted, SuperLinkClient, Unreachable
from server.deployed.superlink_monitor import PATIENCE

RUN_ELSEWHERE, UNREACHABLE, REFUSED, DISK_FULL = 81, 83, 84, 85
"""Exit codes of this process, chosen apart from those of a ServerApp (0 and 1), of a shell and of signals."""
STOPPED = 128 + signal.SIGTERM
_POLL = 0.05
_STATUS_INTERVAL = 15.0
"""Seconds between two queries of the run's status while this process has not been given its task."""
_HEARTBEAT = 20.0
"""Seconds between two signs of life of the task, which the SuperLink gives up after 60."""
_PART, _LATE_PART = 0.02, 1.0
"""Seconds to the second question for a part of a reply that is not there yet, and the most between two of them."""
_AHEAD = 0.3
"""Seconds until torch is imported: the first message has left by then, which the import would hold up."""
_SECONDS = 5.0
"""Longest time for one request: the guard that asks this process to end gives it a few seconds to stop the run."""
INSECURE = "insecure"
"""What stands in place of the certificates' path if the connection is not encrypted."""


class TaskProcess:
    """This process: one run's ServerApp, from the first import to the task's end.

    Parameters
    ----------
    client
        For this modeller's requests to the SuperLink.
    superlink
        ``host:port``.
    insecure
        Whether the connection is not encrypted.
    app
        Directory of the app that was submitted; None: the product's own, as it is installed.
    """

    def __init__(self, client: SuperLinkClient, superlink: str, *, insecure: bool, app: Path | None) -> None:
        self._client, self._superlink, self._insecure, self._app = client, superlink, insecure, app
        self._run: int | None = None

    def main(self, handover: int) -> int:
        """Carry out the run whose id comes through the pipe ``handover``; return the exit code."""
        signal.signal(signal.SIGTERM, self._stop)
        # Flower's HTTP client sends this process a SIGINT when the SuperLink knows the task no longer.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with uncollected():
            self.import_ahead()
        with os.fdopen(handover) as pipe:
            told = pipe.read().strip()
        if not told:  # whoever started this process has not started a run
            return STOPPED
        self._run = int(told)
        try:
            token = self.acquire(self._run)
        except NotAdmitted as error:
            print(error, flush=True)
            return REFUSED
        except Unreachable as error:
            print(error, flush=True)
            return UNREACHABLE
        return RUN_ELSEWHERE if token is None else self._carry_out(token)

    def import_ahead(self) -> None:
        """Import what every run needs, in the order in which it is used."""
        import flwr.common.serde
        import flwr.proto.runtime_pb2
        import flwr.supercore.control
        import flwr.supercore.runtime  # noqa: F401

        http_grid()
        if self._app is None:
            import server.app.main  # noqa: F401

    def _stop(self, *_: object) -> NoReturn:
        """Stop the run on the SuperLink, and go without any more ado: the run's directory is whole at any time."""
        # The SuperLink ends the task with the run, upon which Flower's HTTP client, in another thread, interrupts us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._run is not None:
            # This may have interrupted anything, so anything may be half done that is needed here.
            with suppress(Exception):
                self._client.stop_run(self._run)
        os._exit(STOPPED)

    def acquire(self, run: int) -> str | None:
        """Return the token of the run's task, or None once it is clear that somebody else carries it out.

        Raises
        ------
        RunFailed
            If the SuperLink refuses this modeller (`NotAdmitted`), or has not answered for a minute (`Unreachable`).
        """
        last_answer = time.monotonic()
        next_query, has_begun = last_answer + _STATUS_INTERVAL, False
        while True:
            try:
                acquired = self._client.acquire_task()
                if acquired:
                    task, token = acquired
                    if task.run_id == run:
                        return token
                    self._client.fail_task(token, f"this executor carries out run {run} only")
                    continue
                if time.monotonic() > next_query:
                    # Once is not enough: the run may have been handed to this process a moment before the query.
                    had_begun, has_begun = has_begun, not self._client.is_pending(run)
                    if had_begun and has_begun:
                        return None
                    next_query = time.monotonic() + _STATUS_INTERVAL
                last_answer = time.monotonic()
            except Unreachable:
                if time.monotonic() - last_answer > PATIENCE:
                    raise
            time.sleep(_POLL)

    def _carry_out(self, token: str) -> int:
        from flwr.common.constant import SubStatus

        grid = http_grid()(self._superlink, self._insecure, root_certificates=self._client.certificates(), token=token)
        status, details, code = SubStatus.COMPLETED, "", 0
        try:
            context = self._begin(grid)
            threading.Thread(target=_keep_alive, args=(grid._runtime_client,), daemon=True).start()
            if self._app is None and not _is_discovery():
                threading.Timer(_AHEAD, _import_torch).start()
            self._load()(grid=grid, context=context)
        except BaseException as error:
            status, details, code = SubStatus.FAILED, f"ServerApp failed with exception: {error}", 1
            from fl_app.system.files import has_no_space

            if has_no_space(error):
                code = DISK_FULL
            with suppress(OSError):
                traceback.print_exception(error)
        signal.signal(signal.SIGINT, lambda *_: None)
        with suppress(Exception):  # the SuperLink may be gone, or have ended the task itself
            self._end(grid, status, details)
        return code

    def _begin(self, grid: Any) -> Any:
        """Take the task up, and return its context."""
        from flwr.common.serde import context_from_proto, run_from_proto
        from flwr.proto.runtime_pb2 import PullTaskInputRequest
        from flwr.supercore.task_identity import TaskIdentity

        given = grid._runtime_client.PullTaskInput(PullTaskInputRequest())
        if given.run.run_id != self._run:
            raise PermissionError(f"this process carries out run {self._run}, and was given run {given.run.run_id}")
        TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
        TaskIdentity.node_id = given.context.node_id
        grid.set_run(run_from_proto(given.run))
        context = context_from_proto(given.context)
        context.run_config = {}
        return context

    def _end(self, grid: Any, status: str, details: str) -> None:
        from flwr.proto.runtime_pb2 import PushTaskOutputRequest

        grid._retry_invoker.max_tries = 1
        grid._runtime_client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=details))

    def _load(self) -> Callable[..., Any]:
        if self._app is None:
            from server.app.main import app

            return app
        from flwr.supercore.object_ref import load_app

        project = tomllib.loads((self._app / "pyproject.toml").read_text("utf-8"))
        found: Callable[..., Any] = load_app(
            project["tool"]["flwr"]["app"]["components"]["serverapp"], ImportError, self._app
        )
        return found


def http_grid() -> Any:
    """Return the class of Flower's grid, imported without the SuperLink's database, which takes longer than all else.

    Its package also imports a grid for simulations, which nobody needs here; an empty module takes that one's place.
    """
    simulated = "flwr.superlink.grid.inmemory_grid"
    if "flwr.superlink.grid" not in sys.modules:
        empty: Any = ModuleType(simulated)
        empty.InMemoryGrid = None
        sys.modules[simulated] = empty
    from flwr.supercore.inflatable.inflatable_utils import pull_objects
    from flwr.superlink.grid import HttpGrid, http_grid

    # A reply is announced before all of its parts are there, and Flower would ask for a missing part after 1, 2, 4 s.
    module: Any = http_grid
    module.pull_objects = partial(
        pull_objects, initial_backoff=_PART, backoff_cap=_LATE_PART, max_tries_per_object=None
    )
    return HttpGrid


def _is_discovery() -> bool:
    """Return whether the run asks the pods what they publish, and trains nothing."""
    from server.app.run_directory import RUN_DIRECTORY_VARIABLE, RunDirectory

    return RunDirectory(Path(os.environ[RUN_DIRECTORY_VARIABLE])).request().discovery is not None


def _import_torch() -> None:
    """Import what makes the first model while the pods answer their first messages.

    Only in this process, whose other threads send and receive: a simulation's Ray serialises the app meanwhile.
    """
    with suppress(ImportError):  # it is raised again where the model is made
        import fl_app.tabular.network  # noqa: F401


def _keep_alive(client: Any) -> None:
    """Give signs of life of the task for as long as this process lives; interrupt it if the task has ended."""
    import httpx
    from flwr.proto.runtime_pb2 import SendTaskHeartbeatRequest

    while True:
        with suppress(httpx.HTTPError):
            if not client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success:
                os.kill(os.getpid(), signal.SIGINT)
                return
        time.sleep(_HEARTBEAT)


def _main(handover: str, superlink: str, connection: str, app: str) -> NoReturn:
    """Be the process, and leave without the seconds that taking torch down in order would take."""
    insecure = connection == INSECURE
    certificates = None if insecure or not connection else Path(connection)
    client = SuperLinkClient(superlink, insecure=insecure, root_certificates=certificates, seconds=_SECONDS)
    process = TaskProcess(client, superlink, insecure=insecure, app=Path(app) if app else None)
    code = process.main(int(handover))
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _main(*sys.argv[1:])
