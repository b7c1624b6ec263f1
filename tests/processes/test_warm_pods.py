"""Pods at work, over TLS: whatever of a pod is killed, stopped or left in the middle, it answers the next message."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from tests.processes.parties import Party, left_behind, wait_for
from tests.processes.test_tls import FIT, PODS, Deployment

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]
# 2000 steps take a second where nothing else runs, and seeing in the ledgers that both pods train a moment.
LONG = (*FIT[:-1], "2000", "--batch-size", "8", "--optimizer", "SGD", "--lr", "0.01")
NODE, WAITING = "client.site.node", "app_process.py"


def test_a_pod_is_fit_for_the_next_message_whatever_became_of_the_last(tmp_path: Path) -> None:
    made = Deployment(tmp_path / "dep")
    try:
        made.provision(*(made.card(name) for name in PODS), made.modeller.directory / "ada.card")
        made.serve()
        for name in PODS:
            made.join(name)
        for name in PODS:
            wait_for(f"pod {name}", 60, lambda name=name: made.online(name))
        east = made.pods["east"]

        _fits(made)
        assert listening(east.directory) == [], "another user of the machine could knock"
        assert not readable_by_nobody(east.directory / ".fl-app" / "pods" / "east")

        # The process that waits with the app is killed while a fork of it trains: the fork answers, and the next
        # message finds a new one.
        run = _trains(made, "--rounds", "1")
        (waiting,) = [number for number, parent in processes(east.directory, WAITING) if parent in nodes(east)]
        os.kill(waiting, signal.SIGKILL)
        assert run.wait(300) == 0
        assert results(made)["status"] == "completed"

        # What trains is killed: it is told at once, the pod's own log says why, and the run goes on after the round.
        run = _trains(made, "--rounds", "1")
        (training,) = [number for number, parent in processes(east.directory, WAITING) if parent not in nodes(east)]
        os.kill(training, signal.SIGKILL)
        assert run.wait(300) == 0
        assert "skipped: the 'train' step of round 1 failed: pod 'east': its app was killed or crashed" in (
            made.modeller.log()
        )
        assert "was ended by SIGKILL" in (east.directory / ".fl-app" / "pods" / "east" / "pod.log").read_text()

        # A run that is ended while its pods train is over there too, and the next one gets its own replies.
        run = _trains(made)
        run.send_signal(signal.SIGTERM)
        run.wait(60)
        for party in made.pods.values():
            wait_for("what trained for nobody ends", 30, lambda party=party: not forks(party))
        _fits(made)

        # A pod that was suspended goes on.
        for number in nodes(east):
            os.kill(number, signal.SIGSTOP)
        time.sleep(12)
        for number in nodes(east):
            os.kill(number, signal.SIGCONT)
        wait_for("east is back", 60, lambda: "east" in online(made))
        _fits(made)

        # Stopped as its owner stops it: the ledger does not speak of a key turned away.
        west = made.pods["west"].processes[-1]
        west.send_signal(signal.SIGTERM)
        assert west.wait(30) == 0
        assert not [entry for entry in made.refusals("west") if entry["kind"] == "connection"]

        # Its node is killed: the command ends, says so, and leaves nothing.
        (number,) = nodes(east)
        os.kill(number, signal.SIGKILL)
        assert east.processes[-1].wait(30) == 1
        assert "its node ended with exit code 137" in east.log()
        assert left_behind(east.directory) == []
        assert not list((east.directory / ".fl-app" / "pods" / "east" / "flower").glob("unpacked/*")), "code was left"
    finally:
        made.stop()
    assert left_behind(tmp_path) == []


def _fits(made: Deployment) -> None:
    made.modeller.run(*FIT, timeout=200)
    assert results(made)["status"] == "completed"


def _trains(made: Deployment, *options: str) -> subprocess.Popen[bytes]:
    """Start a run whose pods train for seconds, and return once both do."""
    pods = [made.pods[name] for name in PODS]
    before = [begun(party) for party in pods]
    run = made.modeller.start(*LONG, *options)
    for party, times in zip(pods, before, strict=True):
        wait_for("it trains", 120, lambda party=party, times=times: run.poll() is not None or begun(party) > times)
    assert run.poll() is None, made.modeller.log()
    return run


def begun(party: Party) -> int:
    """Return how often the pod has begun to train, by its ledger."""
    ledger = party.directory / ".fl-app" / "pods" / party.directory.name / "ledger.db"
    query = "SELECT count(*) FROM entries WHERE kind = 'train' AND event = 'begin'"
    with contextlib.closing(sqlite3.connect(ledger, timeout=20)) as database:
        return int(database.execute(query).fetchone()[0])


def forks(party: Party) -> list[int]:
    return [number for number, parent in processes(party.directory, WAITING) if parent not in nodes(party)]


def nodes(party: Party) -> list[int]:
    return [number for number, _ in processes(party.directory, NODE)]


def processes(place: Path, named: str) -> list[tuple[int, int]]:
    """Return (process, parent) of what has ``named`` in its command line and belongs to ``place``."""
    found = []
    for line in left_behind(place):
        number, _, command = line.partition(" ")
        if named in command and "processes.py" not in command:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                parent = Path("/proc", number, "stat").read_text().rpartition(")")[2].split()[1]
                found.append((int(number), int(parent)))
    return found


def listening(place: Path) -> list[str]:
    """Return the sockets, of TCP or with a name, on which a process of ``place`` listens."""
    open_there = set()
    for line in left_behind(place):
        for entry in Path("/proc", line.split()[0], "fd").iterdir():
            open_there.add(os.readlink(entry))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in open_there:
                found.append(fields[1])
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and f"socket:[{fields[6]}]" in open_there:
            found.append(fields[7])
    return found


def readable_by_nobody(place: Path) -> list[Path]:
    """Return what others may read below ``place``; nothing does where the directory itself is closed to them."""
    return [path for path in place.rglob("*") if path.stat().st_mode & 0o004] if place.stat().st_mode & 0o001 else []


def online(made: Deployment) -> set[str]:
    shown = made.modeller.run("fl-app", "pods", "--federation", "federation.toml", "--json", check=False).stdout
    return set(json.loads(shown)["pods"]) if shown else set()


def results(made: Deployment) -> dict[str, object]:
    document = (made.modeller.directory / "runs" / "latest" / "results.json").read_text()
    return json.loads(document)  # type: ignore[no-any-return]


def test_the_helpers_find_what_they_look_for(tmp_path: Path) -> None:
    """A process that listens in a directory is found there, or the test above could not fail."""
    program = (
        "import socket, sys, time; s = socket.create_server(('127.0.0.1', 0)); u = socket.socket(socket.AF_UNIX); "
        "u.bind(sys.argv[1]); u.listen(); print('up', flush=True); time.sleep(60)"
    )
    command = ["python3", "-c", program, str(tmp_path / "named")]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert len(listening(tmp_path)) == 2
            assert [number for number, _ in processes(tmp_path, "u.listen")] == [process.pid]
        finally:
            process.kill()
