"""Successive halving: who is tried for how long, and what that costs."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.errors import UsageError
from server.modeller.tuning.schedule import Rung, cost, schedule, within


def test_nine_trials_and_one_in_three() -> None:
    rungs = schedule(9, 5, 3)
    assert rungs == (Rung(9, 5), Rung(3, 15), Rung(1, 45))
    assert cost(rungs, final=True) == 135
    assert cost(rungs, final=False) == 90


@pytest.mark.parametrize(
    ("trials", "eta", "sizes"),
    [(2, 3, [2, 1]), (4, 2, [4, 2, 1]), (8, 3, [8, 2, 1]), (10, 3, [10, 3, 1]), (27, 3, [27, 9, 3, 1])],
)
def test_rungs_get_smaller_down_to_one(trials: int, eta: int, sizes: list[int]) -> None:
    assert [rung.trials for rung in schedule(trials, 1, eta)] == sizes


@given(trials=st.integers(2, 200), rounds=st.integers(1, 20), eta=st.integers(2, 6))
def test_no_rung_costs_more_than_the_first(trials: int, rounds: int, eta: int) -> None:
    rungs = schedule(trials, rounds, eta)
    assert rungs[-1].trials == 1
    assert all(rung.cost <= rungs[0].cost for rung in rungs[:-1])
    assert all(after.rounds == eta * before.rounds for before, after in pairwise(rungs))


@given(budget=st.integers(10, 500), final=st.booleans())
def test_a_budget_holds_and_leaves_no_room_for_one_more(budget: int, final: bool) -> None:
    try:
        rungs = within(budget, 50, 2, 3, final=final)
    except UsageError:
        assert cost(schedule(2, 2, 3), final=final) > budget
        return
    assert cost(rungs, final=final) <= budget
    if rungs[0].trials < 50:
        assert cost(schedule(rungs[0].trials + 1, 2, 3), final=final) > budget


def test_a_budget_for_less_than_two_trials_says_what_they_take() -> None:
    with pytest.raises(UsageError, match="two trials take 25 rounds, the final run included, and the budget is 24"):
        within(24, 9, 5, 3, final=True)


@pytest.mark.parametrize(("trials", "rounds", "eta"), [(1, 5, 3), (9, 0, 3), (9, 5, 1)])
def test_numbers_that_cannot_be(trials: int, rounds: int, eta: int) -> None:
    with pytest.raises(UsageError, match="2 trials or more"):
        schedule(trials, rounds, eta)
