"""The process of a deployed run's ServerApp: whose task it carries out, and which names of Flower's it needs."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.proto.task_pb2 import Task

from server.deployed import serverapp
from server.deployed.serverapp import STOPPED, TaskProcess, http_grid
from server.deployed.superlink_client import NotAdmitted, SuperLinkClient, Unreachable

OWN, OTHER = 7, 8
HANDED = "of the task"


class Client(SuperLinkClient):
    """Stands for a SuperLink: hands out what it is told to, or raises it."""

    def __init__(self, *answers: Any, pending: bool = True) -> None:
        super().__init__("127.0.0.1:1", insecure=True, root_certificates=None)
        self.answers: Iterator[Any] = iter(answers)
        self.pending = pending
        self.failed: list[tuple[str, str]] = []

    def acquire_task(self) -> Any:
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def is_pending(self, run: int) -> bool:
        return self.pending

    def fail_task(self, token: str, details: str) -> None:
        self.failed.append((token, details))


def acquire(client: Client) -> str | None:
    return TaskProcess(client, "127.0.0.1:1", insecure=True, app=None).acquire(OWN)


def test_it_waits_for_its_own_task() -> None:
    assert acquire(Client(None, None, (Task(run_id=OWN), "token"))) == "token"


def test_another_run_is_failed_before_anything_of_it_is_asked_for() -> None:
    client = Client((Task(run_id=OTHER), "other"), (Task(run_id=OWN), "own"))
    assert acquire(client) == "own"
    assert client.failed == [("other", f"this executor carries out run {OWN} only")]


def test_a_run_that_others_carry_out_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serverapp, "_STATUS_INTERVAL", 0.0)
    assert acquire(Client(*[None] * 9, pending=False)) is None
    assert acquire(Client(*[None] * 9, (Task(run_id=OWN), "late"), pending=True)) == "late"


def test_a_superlink_that_is_gone_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Unreachable("gone")
    assert acquire(Client(gone, gone, (Task(run_id=OWN), "token"))) == "token"
    monkeypatch.setattr(serverapp, "PATIENCE", 0.0)
    with pytest.raises(Unreachable):
        acquire(Client(None, gone, gone))


def test_a_refusal_ends_it() -> None:
    with pytest.raises(NotAdmitted):
        acquire(Client(None, NotAdmitted("revoked")))


def test_what_it_uses_of_flower_s_grid_is_there() -> None:
    grid = http_grid()("127.0.0.1:1", True, root_certificates=None, token=HANDED)
    assert grid._retry_invoker.max_tries is None
    client = grid._runtime_client
    assert {"PullTaskInput", "PushTaskOutput", "SendTaskHeartbeat"} <= set(dir(client))
    grid.close()


def test_a_part_of_a_reply_that_is_late_is_asked_for_again_soon() -> None:
    """Flower waits for a second first, which would be most of a round."""
    module: Any = inspect.getmodule(http_grid())
    from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError

    asked = list[str]()

    def pull(part: str) -> bytes:
        asked.append(part)
        if len(asked) < 3:
            raise ObjectUnavailableError(part)
        return b"there"

    assert module.pull_objects.keywords["initial_backoff"] < 0.1
    assert module.pull_objects(["a"], pull) == {"a": b"there"}
    assert asked == ["a"] * 3
    assert "pull_objects(" in inspect.getsource(http_grid().pull_messages)


_INTERRUPTED = """
import os, signal
from server.deployed.serverapp import TaskProcess
from tests.server.deployed.test_serverapp import Client

class Ending(Client):
    def stop_run(self, run):
        os.kill(os.getpid(), signal.SIGINT)
        print("stopped", run, flush=True)

process = TaskProcess(Ending(), "127.0.0.1:1", insecure=True, app=None)
process._run = 7
signal.signal(signal.SIGTERM, process._stop)
signal.signal(signal.SIGINT, signal.default_int_handler)
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_process_that_is_ended_stops_its_run_though_flower_interrupts_it_meanwhile() -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-W", "ignore", "-c", _INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, cwd=root)
    assert (done.returncode, done.stdout, done.stderr) == (STOPPED, "stopped 7\n", "")
