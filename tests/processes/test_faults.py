"""Pods on real nodes, killed outright: the round survives, or the run ends cleanly with what it had."""

import contextlib
import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.processes.parties import Parties, parties, wait_for
from tests.support.small_federation import table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1500)]
PODS = ("east", "north", "south", "west")
VICTIM = "east"
ROWS = dict.fromkeys(PODS, 2000) | {VICTIM: 300}  # the victim trains in a moment, the others for some seconds
# A step is not over before Flower has told of the killed SuperNode, which takes it a minute: on a slow machine no
# other pod is lost.
SLOW = ("--local-epochs", "4", "--batch-size", "4", "--optimizer", "SGD", "--lr", "0.01", "--step-timeout", "200")


def furnish(made: Parties) -> None:
    for seed, (name, party) in enumerate(made.pods.items()):
        table(ROWS[name], seed).to_csv(party.directory / "table.csv", index=False)
        (party.directory / f"{name}.yaml").write_text(
            f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: table.csv}}\n"
            f"approved_pods: [{', '.join(PODS)}]\npolicy: {{minimum_cohort: 2, minimum_rows_per_class: 1}}\n"
        )


def test_killed_pods(tmp_path: Path) -> None:
    with parties(tmp_path / "dep", PODS, furnish) as made:
        made.start_pods()

        # Killed while it trains: the round is the exact sum of the other three, and they go on without it.
        code, results = fit_and_kill(made, PODS, rounds=2, when=lambda: entered(made, "west", "begin"), victim="west")
        assert code == 0
        first, second = results["rounds"]
        assert set(first["lost"]) == {"west"}
        assert set(first["pods"]) == set(PODS) - {"west"}
        assert first["weight"] == sum(ROWS[name] * 8 // 10 for name in first["pods"])
        assert set(second["pods"]) == set(PODS) - {"west"}
        assert results["secure_aggregation"]["sessions"] == 2

        # Killed between its vector and the unmasking: its vector counts, the others open its self mask.
        made.start_pods("west")
        code, results = fit_and_kill(made, PODS, rounds=1, when=lambda: sent(made, VICTIM), victim=VICTIM)
        assert code == 0
        (only,) = results["rounds"]
        assert set(only["pods"]) == set(PODS)
        assert only["lost"] == {}
        assert only["weight"] == sum(ROWS[name] * 8 // 10 for name in PODS)
        assert results["final"]["num_examples"] == sum(ROWS[n] - ROWS[n] * 9 // 10 for n in PODS if n != VICTIM)

        # One of two: there is nothing to go on with.
        code, results = fit_and_kill(
            made, ("north", "south"), rounds=3, when=lambda: rounds_done(made, 1), victim="south"
        )
        assert code != 0
        assert results["status"] == "failed"
        assert "south" in results["error"]
        assert (made.modeller.directory / "runs" / "latest" / "checkpoint.npz").exists()
    assert made.left_behind() == []


def fit_and_kill(
    made: Parties, pods: tuple[str, ...], rounds: int, when: Callable[[], bool], victim: str
) -> tuple[int, dict]:
    """Start a run, kill a pod when the moment has come, and return how the run ended."""
    latest_run = made.modeller.directory / "runs" / "latest"
    before = latest_run.resolve()
    command = ["fl-app", "fit", "--federation", "test", "--target", "outcome", "--pods", ",".join(pods)]
    process = made.modeller.start(*command, "--rounds", str(rounds), *SLOW)
    try:
        wait_for("the run", 120, lambda: latest_run.exists() and latest_run.resolve() != before)
        made.since = time.time()
        wait_for("the moment to kill", 200, when)
        made.kill_pod(victim)
        code = process.wait(400)
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
    return code, made.results()


def entered(made: Parties, name: str, event: str) -> bool:
    """Say whether the pod's ledger has an entry of its training in this run: that it has begun, or has answered."""
    ledger = made.pods[name].directory / ".fl-app" / "pods" / name / "ledger.db"
    query = "SELECT count(*) FROM entries WHERE kind = 'train' AND event = ? AND time > ?"
    since = datetime.fromtimestamp(made.since, UTC).isoformat()
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(ledger, timeout=20)) as db:
        return bool(db.execute(query, (event, since)).fetchone()[0])
    return False


def sent(made: Parties, name: str) -> bool:
    """Say whether the pod has given its vector away: it is in the ledger, and its node has sent it."""
    log = made.pods[name].directory / ".fl-app" / "pods" / name / "flower" / "node.log"
    return entered(made, name, "answer") and log.read_text("utf-8", "replace").rstrip().endswith("train.masked")


def rounds_done(made: Parties, number: int) -> bool:
    return len(latest(made).get("rounds", [])) >= number


def latest(made: Parties) -> dict:
    try:
        return json.loads((made.modeller.directory / "runs" / "latest" / "results.json").read_text())
    except (OSError, ValueError):
        return {}
