"""No row moves a sum by more than the plan pays for, whatever its values and whatever the network."""

import itertools
import math
from fractions import Fraction
from typing import Any
from unittest import mock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_app.privacy.cost import UNIT
from fl_app.privacy.plan import Plan
from fl_app.tabular.encoding import Encoded
from fl_app.tabular.settings import ARCHITECTURES
from tests.adversary.privacy.answers import (
    BLANK,
    Grains,
    evaluation,
    gradient,
    network,
    no_noise,
    noises,
    people,
    plan,
    statistics,
    table,
)

# A table with an infinite number is refused at the hello, before any run.
NUMBERS = st.one_of(st.none(), st.floats(allow_infinity=False), st.integers(-3, 70).map(float))
ROW = st.fixed_dictionaries(
    {
        "age": NUMBERS,
        "gain": NUMBERS,
        "town": st.sampled_from([None, "", "Aachen", "Bonn", "Celle", "Ulm"]),
        "y": st.sampled_from([None, "no", "yes", "perhaps"]),
    }
)
ROWS = st.lists(ROW, min_size=1, max_size=6)
PLANS = st.builds(plan, st.sampled_from([0.1, 1.0, 8.0]), st.sampled_from([1, 80]))
PARAMETERS = st.sampled_from([0.0, 1.0, 1e4, 1e8, 1e20, 1e38, math.inf, math.nan])


def paid(of: Plan, one: Grains, other: Grains) -> Fraction:
    """What it costs, as rho, that these two answers are to be told apart."""
    return sum(
        (
            Fraction(int(np.square((one[name] - other[name]).astype(object)).sum()), 2 * noises(of)[name].variance)
            for name in one
        ),
        Fraction(0),
    )


def cost_of(step: str, of: Plan) -> Fraction:
    return Fraction(getattr(of.cost, step), UNIT)


def without(rows: list[dict[str, Any]], place: int) -> list[dict[str, Any]]:
    return [*rows[:place], dict(BLANK), *rows[place + 1 :]]


def of_size(architecture: str, parameters: float) -> torch.nn.Module:
    made = network(architecture, 1.0 if parameters else 0.0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(parameters) if parameters else None
    return made


@given(ROWS, st.integers(0, 5), PLANS)
@settings(max_examples=60, deadline=None)
def test_a_row_moves_the_statistics_by_no_more_than_is_paid_for(
    rows: list[dict[str, Any]], place: int, of: Plan
) -> None:
    with no_noise():
        both = [statistics(of, table(shown)) for shown in (rows, without(rows, place % len(rows)))]
    assert paid(of, *both) <= cost_of("statistics", of)


@given(ROWS, st.integers(0, 5), PLANS, st.sampled_from(["linear", "mlp"]), PARAMETERS)
@settings(max_examples=25, deadline=None)
def test_a_row_moves_a_rounds_sum_by_no_more_than_is_paid_for(
    rows: list[dict[str, Any]], place: int, of: Plan, architecture: str, parameters: float
) -> None:
    made = of_size(architecture, parameters)
    with no_noise():
        both = [gradient(of, table(shown), made) for shown in (rows, without(rows, place % len(rows)))]
    assert paid(of, *both) <= cost_of("train", of)


@given(ROWS, st.integers(0, 5), PLANS, st.sampled_from(ARCHITECTURES), PARAMETERS)
@settings(max_examples=25, deadline=None)
def test_a_row_moves_the_evaluation_by_no_more_than_is_paid_for(
    rows: list[dict[str, Any]], place: int, of: Plan, architecture: str, parameters: float
) -> None:
    made = of_size(architecture, parameters)
    with no_noise():
        both = [evaluation(of, table(shown), made) for shown in (rows, without(rows, place % len(rows)))]
    assert paid(of, *both) <= cost_of("evaluate", of)


def test_the_bounds_are_reached() -> None:
    """Or the tests above would hold of noise for nothing, and of sums that are not the rows'."""
    of, row, made = plan(), people(1, 3).to_dict("records")[0], network("linear", 1e4, seed=3)
    with no_noise():
        for answer, step in ((statistics, "statistics"), (gradient, "train"), (evaluation, "evaluate")):
            more: tuple[Any, ...] = () if answer is statistics else (made,)
            blank = answer(of, table([dict(BLANK)]), *more)
            # One of the two labels is what the network is sure of; the other makes the largest of gradients and losses.
            most = max(paid(of, answer(of, table([{**row, "y": label}]), *more), blank) for label in ("no", "yes"))
            assert cost_of(step, of) / 2 < most <= cost_of(step, of), step


def cancelling(scale: float) -> torch.nn.Module:
    """A network whose large numbers nearly cancel: the last bits of its products decide its gradients."""
    made = network("mlp", scale, seed=5)
    with torch.no_grad():
        last = made.get_parameter("layers.6.weight")
        last[1] = last[0]
        made.get_parameter("layers.6.bias").zero_()
        made.get_parameter("linear.numbers").zero_()
        made.get_parameter("linear.codes.table.weight").zero_()
    return made


def test_what_a_row_adds_does_not_depend_on_how_many_others_there_are() -> None:
    """Products of matrices of another shape are rounded otherwise, and a network can make much of a last bit."""
    of, rows, blank = plan(), people(5, 2).to_dict("records"), dict(BLANK)
    with no_noise():
        for made, answer in itertools.product([cancelling(scale) for scale in (1e2, 1e4, 1e6)], (gradient, evaluation)):
            alone = [
                answer(of, table([row if at == place else blank for at, row in enumerate(rows)]), made)
                for place in range(5)
            ]
            for shown in ([0, 1, 2, 3, 4], [0, 1, 2], [1, 4]):
                kept = [row if at in shown else blank for at, row in enumerate(rows)]
                total = answer(of, table(kept), made)
                for name, values in total.items():
                    assert (values == sum(alone[at][name] for at in shown)).all(), (answer.__name__, name, shown)
            # On a processor that rounds all shapes alike the above holds anyway: see that rows keep their places.
            with mock.patch.object(Encoded, "in_place", autospec=True, side_effect=Encoded.in_place) as placed:
                answer(of, table(kept), made)
            assert placed.called


def test_what_a_row_adds_does_not_depend_on_what_the_others_hold() -> None:
    of, made = plan(), cancelling(1e4)
    rows, broken = people(2, 2).to_dict("records"), {"age": 1e308, "gain": math.nan, "town": "Ulm", "y": "yes"}
    with no_noise():
        first = gradient(of, table([rows[0], dict(BLANK)]), made)["gradient"]
        for other in (rows[1], broken, {**rows[1], "gain": 1e300}):
            second = gradient(of, table([dict(BLANK), other]), made)["gradient"]
            both = gradient(of, table([rows[0], other]), made)["gradient"]
            assert (both == first + second).all()


def test_a_blank_row_is_in_no_sum() -> None:
    of = plan()
    with no_noise():
        answers = [
            statistics(of, table([dict(BLANK)] * 3)),
            gradient(of, table([dict(BLANK)] * 3), network("linear", 1.0)),
            evaluation(of, table([dict(BLANK)] * 3), network("linear", 1.0)),
        ]
    assert not any(values.any() for answer in answers for values in answer.values())
