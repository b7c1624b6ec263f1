"""The processes of simulated pods, as forks of one that has everything imported."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from server.modeller.ray_start import NEEDED

pytestmark = pytest.mark.skipif(NEEDED, reason="no process with libraries loaded is forked here")

# A simulation: for each line, that many messages at once, each of which tells what its worker is, or ends otherwise.
SIMULATION = """
import json, os, random, signal, sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import numpy.random
from server.modeller.worker_nursery import ForkedWorkers, open_nursery

def app(message, context):
    print("asked:", message)
    if message == "fail":
        raise ValueError("no such thing")
    if message == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if message == "together":
        time.sleep(0.5)
    return {"process": os.getpid(), "marker": sys.marker, "seen": context,
        "drawn": [random.random(), float(np.random.random())]}

sys.marker = "imported before"
workers = ForkedWorkers(open_nursery(app), 2)
sys.marker = "imported after"

def ask(message):
    try:
        return workers.process_message(message, "a context")
    except Exception as error:
        return [type(error).__name__, str(error)]

for line in sys.stdin:
    with ThreadPoolExecutor() as pool:
        print(json.dumps(list(pool.map(ask, json.loads(line)))), flush=True)
workers.terminate()
"""


class Simulated:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ask(self, *messages: str) -> list[list[object]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(messages) + "\n")
        self.process.stdin.flush()
        while (line := self.process.stdout.readline()).startswith("("):
            self.printed.append(line)
        answers: list[list[object]] = json.loads(line)
        return answers

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    printed: list[str]


@pytest.fixture
def simulated() -> Iterator[Simulated]:
    with simulation() as made:
        yield made


@contextmanager
def simulation() -> Iterator[Simulated]:
    process = subprocess.Popen(
        [sys.executable, "-c", SIMULATION],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        made = Simulated(process)
        made.printed = []
        left = [process.pid]
        try:
            yield made
            left += [child.pid for child in made.children] if process.poll() is None else []
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0 or process.returncode == -signal.SIGKILL
        finally:
            process.kill()
        assert gone(*left)


def gone(*processes: int, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while any(map(runs, processes)):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_workers_have_everything_imported_and_nothing_drawn(simulated: Simulated) -> None:
    told = [answer for answer, _ in simulated.ask("together", "together")]
    first, second = told
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert {one["marker"] for one in (first, second)} == {"imported before"}
    assert len({first["process"], second["process"], simulated.process.pid}) == 3
    assert not set(first["drawn"]) & set(second["drawn"])
    assert first["seen"] == "a context"


def test_a_worker_at_rest_is_asked_before_a_new_one(simulated: Simulated) -> None:
    workers = [simulated.ask("one by one")[0][0]["process"] for _ in range(3)]  # type: ignore[index, call-overload]
    assert len(set(workers)) == 1
    assert len(simulated.children) == 2, "the nursery and one worker"


def test_what_the_app_raises_is_raised_and_printed_with_the_worker_s_mark(simulated: Simulated) -> None:
    (answer,) = simulated.ask("fail")
    assert answer[0] == "ClientAppException"
    assert "no such thing" in str(answer[1])
    ((worker, _),) = simulated.ask("well")
    mark = f"(worker pid={worker['process']}) "  # type: ignore[index, call-overload]
    assert all(line.startswith(mark) for line in simulated.printed)
    assert f"{mark}ValueError: no such thing\n" in simulated.printed
    assert f"{mark}asked: fail\n" in simulated.printed


def test_a_worker_that_was_killed_is_replaced(simulated: Simulated) -> None:
    ((first, _),) = simulated.ask("well")
    assert simulated.ask("die") == [["WorkerDied", "a worker process has died"]]
    ((second, _),) = simulated.ask("well")
    assert first["process"] != second["process"]  # type: ignore[index, call-overload]


def test_nothing_outlives_a_simulation_that_is_killed() -> None:
    with simulation() as made:
        made.ask("together", "together")
        left = [child.pid for child in made.children]
        assert len(left) == 3
        os.kill(made.process.pid, signal.SIGKILL)
        made.process.wait(20)
        assert gone(*left)
