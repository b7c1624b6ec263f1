"""A run that hardly trains says so, after its first round and for good."""

from typing import Any

import pytest

from fl_app.config import RunConfig, Settled
from fl_app.federation.kinds import SimulatedFederation
from fl_app.tabular.regime import LARGE
from fl_app.tabular.settings import DataStructure
from server.app.few_steps import FEW_STEPS, advised, steps_in_all
from server.app.results import RoundResult
from server.modeller.launch import fit
from tests.support.small_federation import PODS


def settings(**changes: Any) -> Settled:
    """Return the settings of a run that follows a large table."""
    return Settled.of(configured(**changes), LARGE)


def configured(**changes: Any) -> RunConfig:
    extent = {} if "local_steps" in changes else {"local_epochs": 1}
    return RunConfig(**{"pods": PODS, "datastructure": DataStructure(target="outcome"), **extent, **changes})


def done(rows: int, pods: tuple[str, ...] = PODS) -> RoundResult:
    return RoundResult(round=1, weight=rows, pods=pods)


@pytest.mark.parametrize(
    ("changes", "rows", "steps"),
    [
        ({}, 320, 10),  # 160 rows are one batch of 256
        ({"batch_size": 32, "rounds": 30}, 320, 150),
        ({"local_epochs": 4}, 514, 80),  # 257 rows are two batches
        ({"local_steps": 7}, 320, 70),
        ({"weighting": "equal"}, 2, None),
        ({"weighting": "equal", "local_steps": 7}, 2, 70),
    ],
)
def test_the_steps_of_a_run(changes: dict[str, Any], rows: int, steps: int | None) -> None:
    assert steps_in_all(settings(**changes), done(rows)) == steps


def test_few_steps_are_noted_with_what_to_do() -> None:
    (note,) = advised((), settings(), done(320))
    assert note.startswith("10 optimizer steps in all")
    assert "lower --batch-size (now 256) or raise --rounds or --local-epochs" in note
    (note,) = advised((), settings(local_steps=3), done(320))
    assert "--batch-size" not in note


def test_enough_steps_are_not_noted_and_end_an_earlier_note() -> None:
    few = advised(("something else",), settings(), done(320))
    assert len(few) == 2
    assert advised(few, settings(rounds=FEW_STEPS), done(320)) == ("something else",)


def test_a_run_over_small_tables_notes_it(small: SimulatedFederation) -> None:
    notes = fit(configured(rounds=2, batch_size=256), small).results().notes
    assert [note.partition(" at ")[0] for note in notes] == ["4 optimizer steps in all"]  # 480 rows, 2 batches of 256
    assert fit(configured(rounds=2, batch_size=4), small).results().notes == ()
