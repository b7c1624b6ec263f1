"""A run's cost is a sum of whole numbers, which is neither negative nor beyond all bounds."""

import math
from fractions import Fraction

import pytest

from fl_app.privacy.accounting import epsilon_of, rho_of
from fl_app.privacy.cost import MOST, MOST_ROUNDS, UNIT, Cost, budget, units


def test_a_run_costs_its_dearer_path() -> None:
    assert Cost(statistics=5, train=2, evaluate=20, rounds=10).total == 25
    assert Cost(statistics=5, train=2, evaluate=26, rounds=10).total == 26
    assert Cost(statistics=0, train=0, evaluate=0, rounds=0).total == 0
    assert Cost(MOST, MOST, MOST, MOST_ROUNDS).total == MOST + MOST_ROUNDS * MOST


@pytest.mark.parametrize("name", ["statistics", "train", "evaluate", "rounds"])
@pytest.mark.parametrize("value", [-1, 1.0, True, math.nan, None, "1", 10**30])
def test_a_cost_is_of_whole_numbers_within_bounds(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        Cost(**{"statistics": 1, "train": 1, "evaluate": 1, "rounds": 1} | {name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rho", "cost"), [(0.0, 0), (1.0, UNIT), (1e-12, 1), (1e-300, 1), (1.5e-12, 2), (MOST / UNIT, MOST)]
)
def test_a_step_is_paid_for_in_full(rho: float, cost: int) -> None:
    assert units(rho) == cost
    assert Fraction(cost, UNIT) >= Fraction(rho)


@pytest.mark.parametrize("rho", [-1e-12, math.nan, math.inf, MOST / UNIT * 1.001])
def test_no_step_is_of_another_rho(rho: float) -> None:
    with pytest.raises(ValueError, match="expected a rho"):
        units(rho)


def test_a_budget_is_rounded_down() -> None:
    assert budget(3.0, 1e-5) <= rho_of(3.0, 1e-5) * UNIT < budget(3.0, 1e-5) + 1
    assert epsilon_of(budget(3.0, 1e-5) / UNIT, 1e-5) <= 3.0
