"""An owner's privacy budget on real pods: what is spent stays spent, and no modeller gets past it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes.parties import Parties, parties
from tests.support.small_federation import table

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
PODS = ("east", "north", "south")
FIT = ("fl-app", "fit", "--federation", "test", "--target", "outcome")


def furnish(made: Parties) -> None:
    for seed, (name, party) in enumerate(made.pods.items()):
        table(2000, seed).to_csv(party.directory / "table.csv", index=False)
        (party.directory / f"{name}.yaml").write_text(
            f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: table.csv}}\n"
            f"approved_pods: [{', '.join(PODS)}]\npolicy: {{epsilon: 4}}\n"
        )


def fit(made: Parties, *options: str, check: bool = True) -> str:
    done = made.modeller.run(*FIT, *options, timeout=300, check=check)
    assert check or done.returncode != 0
    return done.stdout + " ".join(done.stderr.split())


def ledger(made: Parties, pod: str) -> Path:
    return made.pods[pod].directory / ".fl-app" / "pods" / pod / "ledger.db"


def test_runs_spend_an_owners_budget_and_no_more(tmp_path: Path) -> None:
    with parties(tmp_path / "dep", PODS, furnish) as made:
        made.start_pods()

        assert "private runs only" in fit(made, "--rounds", "1", check=False)

        fit(made, "--privacy", "epsilon=3", "--rounds", "8")
        results = made.results()
        assert results["status"] == "completed"
        assert len(results["rounds"]) == 8  # type: ignore[arg-type]
        assert results["final"]["auc"] > 0.8  # type: ignore[index]
        status = made.pods["east"].run("fl-app", "pod", "status", "east").stdout
        assert "epsilon" in status, status

        # A second such run is too much, and says at once what is left; a smaller one is not.
        refused = fit(made, "--privacy", "epsilon=3", "--rounds", "20", check=False)
        assert "than the owner's privacy budget leaves" in refused
        assert "is left" in refused

        # Neither a restart nor a ledger without its end gives anything back.
        for name in ("east", "north"):
            made.kill_pod(name)
        with closing(sqlite3.connect(ledger(made, "east"))) as database, database:
            database.execute("DELETE FROM entries WHERE seq > 2")
        made.start_pods("east", "north")
        refused = fit(made, "--privacy", "epsilon=3", "--rounds", "20", check=False)
        assert "than the owner's privacy budget leaves" in refused
        assert made.results()["rounds"] == []

        fit(made, "--privacy", "epsilon=1", "--rounds", "2")
        assert made.results()["status"] == "completed"
    assert made.left_behind() == []
