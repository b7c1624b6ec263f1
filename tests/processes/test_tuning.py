"""``fl-app tune`` as a process of its own: killed, refused by an owner's limit and gone on with; over a deployment."""

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.processes.parties import Parties, Party, left_behind, parties, wait_for
from tests.support.small_federation import PODS, small_federation, table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(1500)]
SPACE = "architecture: [linear]\nlearning_rate: {SGD: [0.01, 0.3]}\nbatch_size: [64]\nlocal_epochs: [1]\n"
TUNE = ("--target", "outcome", "--space", "space.yaml", "--trials", "2", "--min-rounds", "1", "--eta", "2")


def tuning_in(directory: Path) -> dict[str, Any]:
    (path,) = directory.glob("runs/tune-*/tune.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def runs_of(tuning: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for trial in tuning["trials"] for run in trial["runs"]]


def check_figures(directory: Path, tuning: dict[str, Any]) -> None:
    for run in runs_of(tuning):
        results = json.loads((directory / "runs" / run["run"] / "results.json").read_text())
        assert results["status"] == "completed"
        assert run["values"] == [entry["loss"] for entry in results["rounds"]]
        assert run["value"] == run["values"][-1]
    assert (directory / "runs" / tuning["final"] / "model.safetensors").is_file()


def limit(directory: Path, runs: int) -> None:
    path = directory / "south.yaml"
    before, _, after = path.read_text().partition("policy: {")
    terms = after if not after.startswith("maximum") else after.partition(", ")[2]
    path.write_text(f"{before}policy: {{maximum_runs_per_day: {runs}, {terms}")


@pytest.mark.simulation
def test_killed_then_refused_then_completed(tmp_path: Path) -> None:
    place = tmp_path / "laptop"
    modeller = Party(place)
    small_federation(place)
    (place / "space.yaml").write_text(SPACE)

    # Killed outright while its second run is under way: nothing of it stays, but for what is written.
    process = modeller.start("fl-app", "tune", "--federation", "small", *TUNE)
    second = lambda: len(list(place.glob("runs/2*/encoding.json"))) > 1  # noqa: E731 - a condition
    try:
        wait_for("the second run", 400, lambda: second() or process.poll() is not None)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    wait_for("its processes to end", 60, lambda: not left_behind(place))
    killed = tuning_in(place)
    first = killed["trials"][0]["runs"][0]
    assert first["status"] == "completed"

    # By now two runs have begun at each pod, and this is what an owner allows. A run that is resumed begins none.
    limit(place, 2)
    named = killed["tune_id"]
    done = modeller.run("fl-app", "tune", "--resume", named, timeout=400, check=False)
    stopped = tuning_in(place)
    assert (done.returncode, stopped["status"]) == (1, "stopped"), done.stderr
    assert "(maximum_runs_per_day)" in done.stderr
    assert f"`fl-app tune --resume {named}` goes on with it" in done.stderr.splitlines()[-1]
    assert stopped["best"]["value"] is not None
    assert stopped["trials"][0]["runs"][0] == first

    limit(place, 50)
    modeller.run("fl-app", "tune", "--resume", named, timeout=400)
    tuning = tuning_in(place)
    assert tuning["status"] == "completed"
    assert tuning["trials"][0]["runs"][0] == first
    assert len(runs_of(tuning)) == 3
    check_figures(place, tuning)
    listed = json.loads(modeller.run("fl-app", "runs", "--json").stdout)
    assert {run["run"] for run in runs_of(tuning)} <= {entry["run"] for entry in listed}
    assert left_behind(place) == []


def furnish(made: Parties) -> None:
    for seed, (name, party) in enumerate(made.pods.items()):
        table(600, seed).to_csv(party.directory / "table.csv", index=False)
        (party.directory / f"{name}.yaml").write_text(
            f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: table.csv}}\n"
            f"approved_pods: [{', '.join(PODS)}]\npolicy: {{minimum_cohort: 2, minimum_rows_per_class: 1}}\n"
        )


def test_over_a_deployment(tmp_path: Path) -> None:
    with parties(tmp_path / "dep", PODS, furnish) as made:
        made.start_pods()
        place = made.modeller.directory
        (place / "space.yaml").write_text(SPACE)
        done = made.modeller.run("fl-app", "tune", "--federation", "test", *TUNE, "--json", timeout=400)
        tuning = json.loads(done.stdout)
        assert tuning["status"] == "completed"
        assert [len(trial["runs"]) for trial in tuning["trials"]].count(2) == 1
        check_figures(place, tuning)
    assert made.left_behind() == []
