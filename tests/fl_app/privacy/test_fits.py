"""A run fits a budget of its own epsilon and delta, to the unit: an owner and a modeller who agree do not miss."""

import pytest

from fl_app.privacy.cost import budget
from fl_app.privacy.plan import EVALUATIONS, SPARE_ROUNDS, Plan
from fl_app.privacy.settings import Privacy

DELTAS = (1e-15, 1e-9, 1e-6, 1e-5)


@pytest.mark.parametrize("rounds", [1, 3, 80, 120, 977, 10_000])
@pytest.mark.parametrize("epsilon", [0.1, 0.37, 1.0, 2.5, 3.0, 8.0, 64.0])
@pytest.mark.parametrize("delta", DELTAS)
def test_a_run_costs_no_more_than_a_budget_of_its_own_epsilon_allows(epsilon: float, delta: float, rounds: int) -> None:
    fits(epsilon, delta, rounds)


@pytest.mark.parametrize(("epsilon", "rounds"), [(0.1358, 3), (0.2273, 1), (9.1557, 10), (0.45, 3), (1.9, 1)])
def test_what_is_rounded_up_is_provided_for(epsilon: float, rounds: int) -> None:
    fits(epsilon, 1e-5, rounds)


def fits(epsilon: float, delta: float, rounds: int) -> None:
    cost, allowed = Plan(Privacy(epsilon=epsilon, delta=delta), rounds).cost, budget(epsilon, delta)
    assert cost.rounds == rounds + SPARE_ROUNDS
    assert 0.999 * allowed <= cost.total <= allowed
    assert EVALUATIONS * cost.evaluate <= cost.total
