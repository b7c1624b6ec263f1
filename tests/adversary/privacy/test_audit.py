"""What a run tells of a row, measured: less than it claims, and more as soon as noise or clipping is less than it is.

All randomness is fixed. For other seeds the first test would fail once in a million times at the most, and the others
would hardly ever.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from fl_app.privacy import shares
from fl_app.privacy.accounting import epsilon_of
from fl_app.privacy.plan import Noise
from fl_app.tabular import row_gradients
from tests.adversary.privacy.answers import plan
from tests.adversary.privacy.audit import Evidence, audited

PLAN = plan(epsilon=8.0, rounds=1)
RUNS = 4


@cache
def honest() -> Evidence:
    return audited(PLAN, RUNS, seed=1)


def measured(evidence: Evidence) -> float:
    """Return the lower bound as epsilon at the run's delta, by the conversion that the claim is made with."""
    return epsilon_of(evidence.lower_bound(), PLAN.privacy.delta)


def test_what_a_run_tells_of_a_row_is_no_more_than_it_claims() -> None:
    bound = measured(honest())
    assert bound <= PLAN.privacy.epsilon
    assert bound > PLAN.privacy.epsilon / 3  # the attack is worth something


@pytest.fixture
def half_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shares.noised

    def halved(grains: Any, noise: Noise, *rest: Any) -> Any:
        return whole(grains, replace(noise, variance=noise.variance // 4), *rest)

    monkeypatch.setattr("client.app.private_answers.noised", halved)


@pytest.mark.usefixtures("half_the_noise")
def test_with_half_the_noise_it_is_more() -> None:
    assert measured(audited(PLAN, RUNS, seed=2)) > PLAN.privacy.epsilon


def test_without_clipping_it_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def unclipped(rows: Any, clip: float, grains: int) -> Any:
        return np.trunc(np.clip(rows, -1e6, 1e6) * grains).astype(np.int64)

    monkeypatch.setattr(row_gradients, "clipped", unclipped)
    assert measured(audited(PLAN, 1, seed=3)) > PLAN.privacy.epsilon


def test_the_lower_bound_is_below_the_truth_and_not_far_below() -> None:
    """Of noise whose rho is known: so the audit itself is right."""
    rng = np.random.default_rng(4)
    for rho in (0.05, 0.5, 2.0):
        there = rng.random(8000) < 0.5
        scores = there * np.sqrt(2 * rho) + rng.normal(0, 1, 8000)
        assert rho / 8 < Evidence(scores, there).lower_bound() <= rho
