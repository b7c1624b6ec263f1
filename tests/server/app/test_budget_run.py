"""Runs against owners' budgets, the real apps in one process: over runs, restarts and a ledger that was cut off."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from client.app.budget import SPENT
from client.app.ledger import Ledger
from fl_app.config import RunConfig
from fl_app.federation.kinds import SimulatedFederation
from fl_app.privacy.cost import budget
from fl_app.privacy.settings import Privacy
from fl_app.tabular.settings import DataStructure
from server.modeller.launch import FitFailed, fit
from tests.support.small_federation import PODS

NORTH, SOUTH = PODS


@pytest.fixture
def limited(small: SimulatedFederation, tmp_path: Path) -> SimulatedFederation:
    """The two pods, of which the first has a budget of epsilon 3."""
    change(tmp_path, "policy: {", "policy: {epsilon: 3, ")
    return small


def change(directory: Path, old: str, new: str) -> None:
    """Change a text in the first pod's file."""
    file = directory / f"{NORTH}.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def ledger(directory: Path, pod: str = NORTH) -> Path:
    return directory / "home" / "pods" / pod / "ledger.db"


def run(federation: SimulatedFederation, epsilon: float | None, **others: Any) -> None:
    privacy = Privacy(epsilon=epsilon) if epsilon else None
    given = {"privacy": privacy, "rounds": 3, "local_epochs": 1, "architecture": "linear", **others}
    fit(RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), **given), federation)


def refused(federation: SimulatedFederation, epsilon: float | None, **others: Any) -> str:
    with pytest.raises(FitFailed) as failed:
        run(federation, epsilon, **others)
    return str(failed.value)


def test_runs_are_answered_until_the_budget_is_spent(limited: SimulatedFederation, tmp_path: Path) -> None:
    assert f"pod '{NORTH}' takes part in private runs only" in refused(limited, None)
    assert f"at pod '{NORTH}' this run would spend more" in refused(limited, 3.1)
    runs, before, why = 0, 0, ""
    while not why:
        try:
            run(limited, 2.0)
        except FitFailed as failed:
            why = str(failed)
        else:
            runs, spent = runs + 1, Ledger(ledger(tmp_path)).spent().total
            assert before < spent <= budget(3.0, 1e-5)
            before = spent
    assert 1 < runs <= 4
    assert f"at pod '{NORTH}' this run would spend more than the owner's privacy budget leaves: of epsilon 3" in why
    assert before + budget(2.0, 1e-5) * 0.99 > budget(3.0, 1e-5)  # it would have
    assert Ledger(ledger(tmp_path, SOUTH)).spent().total == before  # which has no budget, and has entered it


def test_a_budget_of_a_runs_own_epsilon_lasts_for_it(limited: SimulatedFederation) -> None:
    run(limited, 3.0)
    assert "this run would spend more" in refused(limited, 3.0)


def test_a_ledger_cut_off_or_deleted_brings_no_further_run(limited: SimulatedFederation, tmp_path: Path) -> None:
    run(limited, 3.0)
    with closing(sqlite3.connect(ledger(tmp_path))) as database, database:
        database.execute("DELETE FROM entries WHERE seq > 3")
    assert not any(entry.event == SPENT for entry in Ledger(ledger(tmp_path)).entries())
    assert "this run would spend more" in refused(limited, 3.0)
    ledger(tmp_path).unlink()
    assert "this run would spend more" in refused(limited, 3.0)


def test_every_step_of_a_private_run_is_paid_for(limited: SimulatedFederation, tmp_path: Path) -> None:
    run(limited, 1.0)
    entries = Ledger(ledger(tmp_path)).entries()
    steps = [(entry.kind, entry.round) for entry in entries if entry.event == "begin"]
    assert steps == [("statistics", 1), ("train", 1), ("train", 2), ("train", 3), ("evaluate", 1)]
    assert [(entry.kind, entry.round) for entry in entries if entry.event == SPENT] == steps


def test_a_run_without_privacy_pays_nothing_where_it_is_allowed(small: SimulatedFederation, tmp_path: Path) -> None:
    run(small, None)
    assert not any(entry.event == SPENT for entry in Ledger(ledger(tmp_path)).entries())
