"""What a run promises of a row: the numbers follow from its plan, and the sentence says no more than they do."""

import math
from typing import Any

import pytest

from fl_app.config import RunConfig
from fl_app.flower.names import EVALUATE, STATISTICS, TRAIN
from fl_app.privacy.accounting import epsilon_of
from fl_app.privacy.plan import Plan
from fl_app.privacy.settings import Privacy
from fl_app.tabular.settings import DataStructure
from server.app.promises import noise_of, promise_of, promised
from server.app.results import Results

PLAN = Plan(Privacy(epsilon=3.0, delta=1e-6), 80)


def config(**settings: Any) -> RunConfig:
    return RunConfig(pods=("a", "b"), datastructure=DataStructure(target="t"), local_epochs=1, **settings)


def test_the_steps_of_either_path_add_up_to_what_the_run_costs() -> None:
    told = promised(PLAN, None, 2, 3)
    steps = {kind: step.rho * step.steps for kind, step in told.steps.items()}
    assert told.rho is not None
    assert steps[STATISTICS] + steps[TRAIN] == pytest.approx(told.rho, rel=1e-6)
    assert steps[EVALUATE] == pytest.approx(told.rho, rel=1e-6)
    assert epsilon_of(told.rho, 1e-6) <= 3.0
    assert (told.epsilon, told.delta, told.honest_pods, told.colluding_pods) == (3.0, 1e-6, 2, 1)


def test_one_sentence_names_rows_numbers_and_parties() -> None:
    told = promised(PLAN, None, 2, 4)
    for part in ("any one row of any one pod", "epsilon 3, delta 1e-06", f"{math.exp(3):.3g} times", "server", "blank"):
        assert part in told.guarantee
    assert "up to 2 pods colluding" in told.guarantee
    assert "everyone who sees the result" in told.guarantee
    assert told.guarantee.count(". ") == 0
    assert "1 pod colluding" in promised(PLAN, None, 1, 2).guarantee
    assert "colluding" not in promised(PLAN, None, 2, 2).guarantee
    uncovered = " ".join(told.not_covered)
    assert all(word in uncovered for word in ("columns", "categories", "person", "other runs"))


def test_of_several_sessions_the_weakest_counts_and_noise_that_is_known_stays() -> None:
    noise = noise_of(PLAN, STATISTICS, 12, 3, 5)
    first = promised(PLAN, None, 3, 5, {STATISTICS: noise})
    then = promised(PLAN, first, 2, 3, {TRAIN: noise_of(PLAN, TRAIN, 0, 2, 4)})
    assert (then.honest_pods, then.colluding_pods) == (2, 1)
    assert then.steps[STATISTICS].noise == noise
    assert then.steps[TRAIN].noise["gradient"] > PLAN.gradient.deviation
    back = promised(PLAN, then, 3, 5)
    assert (back.honest_pods, back.colluding_pods) == (2, 1)


@pytest.mark.parametrize(
    ("secure", "part"), [(True, "sums over the pods of the cohort"), (False, "each pod's own values")]
)
def test_a_run_without_privacy_promises_nothing_about_a_row_and_says_so(secure: bool, part: str) -> None:
    told = promise_of(config(secure=secure), None, Results())
    assert told.epsilon is None
    assert told.rho is None
    assert told.steps == {}
    assert part in told.guarantee
    assert "promised" in told.guarantee
