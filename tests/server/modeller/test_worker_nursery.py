"""Ray's workers, as forks of a process that has everything imported."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from server.modeller.ray_start import with_nursery
from server.modeller.worker_nursery import FORKS, command_of_workers

# In the place of Ray's script that sets a worker up, and of the worker: what it was given, and what it has already.
WORKER = """
import json, os, random, sys
import numpy as np
told = {"arguments": sys.argv, "name": __name__, "variable": os.environ.get("RAY_JOB_ID"),
    "forked": hasattr(sys, "marker"),
    "there": os.getcwd(), "home": os.environ.get("HOME"), "drawn": [random.random(), float(np.random.random())]}
print(json.dumps(told), flush=True)
sys.exit({"fail": 3, "say why": "why"}.get(sys.argv[-1], 0))
"""
NURSERY = """
import sys
from pathlib import Path
import numpy.random
from server.modeller.worker_nursery import open_nursery
sys.marker = True
print(open_nursery(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Path]:
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        yield tmp_path
        os.kill(process, signal.SIGKILL)
        parent.kill()


def start(place: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start a worker as the raylet would."""
    script = place / "worker.py"
    script.write_text(WORKER)
    own = [sys.executable, "setup_worker.py", str(script), "--language=PYTHON", "--serialized-runtime-env-context={}"]
    environment = {**os.environ, "RAY_JOB_ID": "of the worker"}
    environment.pop("HOME")
    command = command_of_workers(place, [*own, *arguments])
    return subprocess.Popen(
        command, cwd="/", env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(not FORKS, reason="no process with libraries loaded is forked here")
def test_a_worker_has_what_it_was_started_with_and_everything_imported(nursery: Path) -> None:
    told = []
    for _ in range(2):
        with start(nursery, "--worker-id=7") as process:
            output, _ = process.communicate(timeout=60)
            told.append(json.loads(output))
    for one in told:
        assert one["forked"]
        assert one["name"] == "__main__"
        assert one["arguments"] == [str(nursery / "worker.py"), "--worker-id=7"]
        assert (one["there"], one["variable"], one["home"]) == ("/", "of the worker", None)
    assert not set(told[0]["drawn"]) & set(told[1]["drawn"])


@pytest.mark.skipif(not FORKS, reason="no process with libraries loaded is forked here")
@pytest.mark.parametrize(("last", "code", "words"), [("", 0, ""), ("fail", 3, ""), ("say why", 1, "why\n")])
def test_a_worker_ends_as_a_python_would(nursery: Path, last: str, code: int, words: str) -> None:
    with start(nursery, last) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, words)


@pytest.mark.skipif(not FORKS, reason="no process with libraries loaded is forked here")
def test_what_a_worker_fails_by_is_printed(nursery: Path) -> None:
    (nursery / "fails.py").write_text("raise ValueError('no such thing')")
    command = command_of_workers(nursery, [sys.executable, "setup_worker.py", str(nursery / "fails.py")])
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ValueError: no such thing" in done.stderr


@pytest.mark.skipif(not FORKS, reason="no process with libraries loaded is forked here")
@pytest.mark.parametrize("killed", ["worker", "stand-in"])
def test_a_worker_and_what_stands_for_it_end_together(nursery: Path, killed: str) -> None:
    (nursery / "waits.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(300)")
    command = command_of_workers(nursery, [sys.executable, "setup_worker.py", str(nursery / "waits.py")])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        assert worker != process.pid
        assert process.poll() is None
        os.kill(worker if killed == "worker" else process.pid, signal.SIGKILL)
        assert process.wait(20) == (1 if killed == "worker" else -signal.SIGKILL)
    until = time.monotonic() + 20
    while psutil.pid_exists(worker):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_without_a_nursery_a_worker_starts_as_ray_would_start_it(tmp_path: Path) -> None:
    command = command_of_workers(tmp_path, [sys.executable, "-c", "print('as ever')"])
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "as ever\n"


def test_only_the_command_of_the_workers_is_changed() -> None:
    command = ["raylet", "--head", '--python_worker_command=python "a b/setup.py" worker.py --x=1']
    changed = with_nursery(command, Path("/scratch"))
    assert changed[:2] == command[:2]
    (option,) = changed[2:]
    assert option.startswith("--python_worker_command=python -I -S ")
    assert option.endswith('worker_nursery.py /scratch/nursery python "a b/setup.py" worker.py --x=1')
