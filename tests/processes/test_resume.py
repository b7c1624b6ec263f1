"""Runs on real SuperNodes that end too early: the SuperLink killed outright, and Ctrl-C. Both are resumed."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.parties import Parties, parties, wait_for
from tests.support.small_federation import table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1500)]
PODS = ("north", "south")
ROUNDS = 3
FIT = ("--target", "outcome", "--rounds", str(ROUNDS), "--batch-size", "16", "--optimizer", "SGD", "--lr", "0.02")


def furnish(made: Parties) -> None:
    for seed, (name, party) in enumerate(made.pods.items()):
        table(2000, seed).to_csv(party.directory / "table.csv", index=False)
        (party.directory / f"{name}.yaml").write_text(
            f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: table.csv}}\n"
            f"approved_pods: [{', '.join(PODS)}]\npolicy: {{minimum_cohort: 2, minimum_rows_per_class: 1}}\n"
        )


def test_runs_that_ended_too_early_are_resumed(tmp_path: Path) -> None:
    with parties(tmp_path / "dep", PODS, furnish) as made:
        made.start_pods()

        # An undisturbed run, to compare with.
        code, said, undisturbed = fit(made, lambda process, run: None)
        assert code == 0, said

        # The SuperLink is killed once a pod has begun round 2, and stays away until the run has given it up.
        def kill_superlink(process: subprocess.Popen[bytes], run: Path) -> None:
            wait_for("round 1", 240, lambda: rounds_done(run) >= 1)
            wait_for("round 2", 60, lambda: (run.name, 2) in begun(made))
            made.kill_superlink()

        code, said, results = fit(made, kill_superlink)
        assert code == 1
        assert results["status"] == "failed"
        assert "SuperLink" in results["error"]
        assert_says_how_to_resume(said, results)
        assert "Traceback" not in said
        made.start_superlink()
        completed = resumed(made, results)
        if len(results["rounds"]) == 1:  # unless round 2 came to its end before the SuperLink did
            assert [entry["round"] for entry in completed["rounds"]] == [1, 3, 4]
            assert [entry["round"] for entry in completed["skipped"]] == [2]
        assert completed["final"]["auc"] == pytest.approx(undisturbed["final"]["auc"], abs=0.003)

        # Ctrl-C.
        def interrupt(process: subprocess.Popen[bytes], run: Path) -> None:
            wait_for("round 1", 240, lambda: rounds_done(run) >= 1)
            os.kill(process.pid, signal.SIGINT)

        code, said, results = fit(made, interrupt)
        assert code == 130
        assert results["status"] == "interrupted"
        assert_says_how_to_resume(said, results)
        assert made.left_behind(made.modeller.directory) == []
        resumed(made, results)

        for name in PODS:
            times = Counter(trained(made, name))
            assert len(times) >= 3 * ROUNDS
            assert set(times.values()) == {1}, "a round of a series was answered twice"
    assert made.left_behind() == []


def fit(made: Parties, disturb: Callable[[subprocess.Popen[bytes], Path], None]) -> tuple[int, str, dict]:
    """Start a run, disturb it, and return its exit code, what it said and its results."""
    runs = made.modeller.directory / "runs"
    before = set(runs.glob("2*"))
    process = made.modeller.start("fl-app", "fit", "--federation", "test", *FIT, log="fit.log")
    try:
        wait_for("the run", 120, lambda: set(runs.glob("2*/results.json")) - {path / "results.json" for path in before})
        (run,) = set(runs.glob("2*")) - before
        disturb(process, run)
        code = process.wait(400)
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
    log = made.modeller.directory / "fit.log"
    said = log.read_text()
    log.unlink()
    return code, said, results_of(run)


def resumed(made: Parties, results: dict) -> dict:
    """Resume the run, and return its results once they are seen to be whole."""
    done = len(results["rounds"])
    assert done >= 1
    run = made.modeller.directory / "runs" / results["run_id"]
    again = made.modeller.run("fl-app", "fit", "--resume", run.name, timeout=400, check=False)
    assert again.returncode == 0, again.stderr
    completed = results_of(run)
    assert completed["status"] == "completed"
    assert len(completed["rounds"]) == ROUNDS
    assert completed["rounds"][: done - 1] == results["rounds"][: done - 1]
    assert [entry["status"] for entry in completed["resumed"]] == [results["status"]]
    assert (run / "model.safetensors").exists()
    return completed


def assert_says_how_to_resume(said: str, results: dict) -> None:
    assert f"`fl-app fit --resume {results['run_id']}`" in said.splitlines()[-1]


def results_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def rounds_done(run: Path) -> int:
    return len(results_of(run)["rounds"])


def begun(made: Parties) -> list[tuple[str, int]]:
    """Return series and round of all training that the first pod has begun."""
    with contextlib.suppress(sqlite3.OperationalError):
        return trained(made, PODS[0], "begin")
    return []


def trained(made: Parties, pod: str, event: str = "answer") -> list[tuple[str, int]]:
    """Return series and round of every entry of training in a pod's ledger."""
    ledger = made.pods[pod].directory / ".fl-app" / "pods" / pod / "ledger.db"
    query = "SELECT series, round FROM entries WHERE kind = 'train' AND event = ?"
    with contextlib.closing(sqlite3.connect(ledger, timeout=20)) as database:
        return list(database.execute(query, (event,)))
