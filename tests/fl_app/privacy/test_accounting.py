"""The accounting promises no more than is so: by another accountant, by arithmetic of 50 digits, and by summing up."""

import json
import math
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fl_app.privacy.accounting import LEAST_SHARE_VARIANCE, epsilon_of, excess, rho_of

ORACLE = json.loads((Path(__file__).with_name("dp_accounting.json")).read_text("utf-8"))
"""What dp-accounting says; ``scripts/dp_oracle.py`` has asked it."""
GRID = 2e-7
"""How far the accountant's grid of orders, each a thousandth from the next, lies above the exact minimum, relative."""
PAIRS = [(epsilon, delta) for epsilon in (1e-3, 0.5, 1.0, 3.0, 8.0, 50.0) for delta in (1e-12, 1e-6, 1e-5, 1e-2, 0.5)]


@pytest.mark.parametrize("row", ORACLE["rows"], ids=lambda row: f"{row['rho']}-{row['delta']}")
def test_epsilon_is_that_of_dp_accounting(row: dict[str, float]) -> None:
    epsilon = epsilon_of(row["rho"], row["delta"])
    assert row["renyi"] * (1 - GRID) <= epsilon <= row["renyi"] * (1 + 1e-12)


@pytest.mark.parametrize("row", ORACLE["rows"], ids=lambda row: f"{row['rho']}-{row['delta']}")
def test_epsilon_is_not_below_what_a_gaussian_mechanism_comes_to(row: dict[str, float]) -> None:
    assert epsilon_of(row["rho"], row["delta"]) >= row["gaussian"] >= 0


def test_the_oracle_has_rows_that_say_something() -> None:
    assert ORACLE["accountant"] == "dp-accounting 0.6.0"
    assert sum(row["gaussian"] > 0 for row in ORACLE["rows"]) >= 60


def _exact(rho: float, delta: float) -> Decimal:
    """The same minimum in decimals of 50 digits, by halving a bracket in t a hundred and fifty times."""
    with localcontext() as context:
        context.prec = 50
        r, d = Decimal(rho), Decimal(delta)
        low, high = Decimal(0), ((1 / d).ln() / r).sqrt()
        for _ in range(150):
            t = (low + high) / 2
            low, high = (t, high) if r * t * t + (d * (1 + t)).ln() < 0 else (low, t)
        return (1 + high) * r - (d * (1 + high)).ln() / high + (high / (1 + high)).ln()


@pytest.mark.parametrize("delta", [1e-300, 1e-12, 1e-5, 0.3, 0.999999])
@pytest.mark.parametrize("rho", [1e-12, 1e-7, 1e-3, 0.2242, 1.0, 40.0, 1e6])
def test_epsilon_is_rounded_up_and_no_further_than_it_need_be(rho: float, delta: float) -> None:
    exact, epsilon = _exact(rho, delta), Decimal(epsilon_of(rho, delta))
    largest = max(rho, rho * math.sqrt(-math.log(delta) / rho), 1.0)
    assert max(exact, Decimal(0)) <= epsilon <= max(exact, Decimal(0)) + Decimal(1e-11 * largest)


@pytest.mark.parametrize(("epsilon", "delta"), PAIRS)
def test_rho_is_the_largest_that_stays_within_epsilon(epsilon: float, delta: float) -> None:
    rho = rho_of(epsilon, delta)
    assert epsilon_of(rho, delta) <= epsilon < epsilon_of(rho * (1 + 1e-9) + 1e-12, delta)


def test_more_is_told_the_more_is_spent_and_the_smaller_delta_is() -> None:
    rising = [epsilon_of(rho, 1e-5) for rho in (0.0, 1e-3, 1e-2, 0.1, 1.0)]
    assert rising == sorted(set(rising))
    assert epsilon_of(0.0, 1e-5) == 0
    assert rho_of(3.0, 1e-6) < rho_of(3.0, 1e-5)


@pytest.mark.parametrize(
    ("rho", "delta"), [(-1e-9, 1e-5), (math.inf, 1e-5), (math.nan, 1e-5), (1.0, 0.0), (1.0, 1.0), (1.0, math.nan)]
)
def test_other_numbers_are_no_rho_and_delta(rho: float, delta: float) -> None:
    with pytest.raises(ValueError, match="expected a finite rho"):
        epsilon_of(rho, delta)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-5), (-1.0, 1e-5), (math.inf, 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_other_numbers_are_no_epsilon_and_delta(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError, match="expected a finite epsilon"):
        rho_of(epsilon, delta)


def _sum_of_shares(variance: float, shares: int) -> npt.NDArray[np.float64]:
    """The probabilities of a sum of discrete Gaussians, by convolving that of one."""
    places = np.arange(-25, 26)
    one = np.exp(-(places**2) / (2 * variance))
    one, whole = one / one.sum(), np.ones(1)
    for _ in range(shares):
        whole = np.convolve(whole, one)
    return whole


def _rho(noise: npt.NDArray[np.float64], order: float) -> float:
    """The Renyi divergence of the noise from itself moved by one, over its order."""
    at, moved = noise[1:], noise[:-1]
    likely = (at > 1e-150) & (moved > 1e-150)
    with np.errstate(over="ignore"):
        terms = np.exp(order * np.log(at[likely]) + (1 - order) * np.log(moved[likely]))
    return float(np.log(terms.sum()) / (order - 1) / order)


@pytest.mark.parametrize("order", [1.001, 1.5, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("shares", [2, 3, 5])
@pytest.mark.parametrize("variance", [0.25, 0.3, 0.5, 1.0])
def test_noise_in_shares_tells_no_more_than_what_the_excess_allows(variance: float, shares: int, order: float) -> None:
    allowed = 1 / (2 * shares * variance) + excess(variance, shares, 1)
    assert _rho(_sum_of_shares(variance, shares), order) <= allowed


def test_noise_in_shares_tells_more_than_one_noise_of_their_variance() -> None:
    assert _rho(_sum_of_shares(0.25, 2), 1.001) > 1 / (2 * 2 * 0.25) + 0.1
    assert _rho(_sum_of_shares(0.5, 1), 1.001) <= 1 / (2 * 0.5)


def test_the_excess_is_that_of_the_paper() -> None:
    tau = 10 * (math.exp(-(math.pi**2) * 0.5) + math.exp(-(math.pi**2) * 0.5 * 4 / 3))
    assert excess(0.5, 3, 7) == pytest.approx(7 * tau, rel=1e-8)
    assert excess(0.5, 3, 7) >= 7 * tau
    assert excess(0.5, 1, 7) == 0
    assert excess(10, 10, 10**6) < 1e-30


@pytest.mark.parametrize(
    ("variance", "shares", "elements"),
    [(LEAST_SHARE_VARIANCE * 0.999, 2, 1), (math.nan, 2, 1), (math.inf, 2, 1), (1.0, 0, 1), (1.0, 2, -1)],
)
def test_the_excess_is_known_of_certain_shares_only(variance: float, shares: int, elements: int) -> None:
    with pytest.raises(ValueError, match="expected a share's variance"):
        excess(variance, shares, elements)
