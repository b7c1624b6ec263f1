import itertools
from fractions import Fraction

import numpy as np
import pytest

from fl_app.errors import UsageError
from fl_app.flower.protocol_settings import Dropouts
from fl_app.privacy import plan as plans
from fl_app.privacy.accounting import epsilon_of, excess
from fl_app.privacy.cost import UNIT
from fl_app.privacy.plan import CLIP, LEAST_VARIANCE, MAX_PRIVATE_LOSS, MOST_FEATURES, Noise, Plan, rounds_for
from fl_app.privacy.settings import LEAST_EPSILON, Privacy
from fl_app.privacy.shares import noised
from fl_app.secagg.noise import LARGEST

EVERY = [
    Plan(Privacy(epsilon=epsilon, delta=delta), rounds)
    for epsilon, delta, rounds in itertools.product(
        (LEAST_EPSILON, 0.5, 1, 3, 8, 64), (1e-15, 1e-6, 1e-5), (1, 80, 10_000)
    )
]
every = pytest.mark.parametrize(
    "plan", EVERY, ids=lambda plan: f"{plan.privacy.epsilon}-{plan.privacy.delta}-{plan.rounds}"
)


def rho(noise: Noise, squares: float) -> float:
    """What a sum costs that a row moves by at most the root of ``squares``, in units of the value."""
    return squares * noise.grains**2 / (2 * noise.variance)


@every
def test_all_steps_together_cost_no_more_than_the_run_asks_for(plan: Plan) -> None:
    features = 13
    training = rho(plan.statistics(features), features + 1) + plan.cost.rounds * rho(plan.gradient, CLIP**2)
    scores = rho(plan.loss, MAX_PRIVATE_LOSS**2) + rho(plan.brier(2.0), 4.0)
    held_out = plans.EVALUATIONS * (rho(plan.confusion, 1) + rho(plan.histograms(3), 3) + scores)
    for spent in (training, held_out):
        assert epsilon_of(spent, plan.privacy.delta) <= plan.privacy.epsilon
        assert spent > 0.98 * plan.rho  # and hardly less: what is not spent is noise for nothing
    assert max(training, held_out) * UNIT <= plan.cost.total <= plan.rho * UNIT + plan.cost.rounds + 2


@every
def test_the_noise_can_be_drawn_and_its_shares_are_as_good_as_one_gaussian(plan: Plan) -> None:
    kinds = (plan.statistics(13), plan.gradient, plan.confusion, plan.histograms(3), plan.loss, plan.brier(2.0))
    for noise, honest in itertools.product(kinds, (1, 2, 9)):
        share = noise.share(honest)
        assert LEAST_VARIANCE <= share < LARGEST
        assert honest * share >= noise.variance  # no less than all of it together
        assert excess(share, honest, 10**9) < 1e-260
        assert noise.tail >= 20 * noise.deviation
        assert noise.tail == 2.0 ** round(np.log2(noise.tail))


def test_as_many_rounds_may_be_lost_as_a_run_goes_on_after() -> None:
    assert Dropouts.membership_changes == plans.SPARE_ROUNDS


def test_more_privacy_is_more_noise() -> None:
    deviations = [Plan(Privacy(epsilon=epsilon), 80).gradient.deviation for epsilon in (0.5, 1, 3, 8)]
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[0] > 5 * deviations[-1]


def test_a_table_of_too_many_columns_has_no_plan() -> None:
    with pytest.raises(ValueError, match="16384 features"):
        EVERY[0].statistics(MOST_FEATURES + 1)


def test_a_share_of_noise_is_an_exact_number_of_grains(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def drawn(variance: Fraction, size: int, randomness: object) -> np.ndarray:
        asked.append(variance)
        return np.arange(size)

    monkeypatch.setattr("fl_app.privacy.shares.discrete_gaussian", drawn)
    values = noised(np.array([[16, 32], [-16, 0]]), Noise(grains=16, variance=10_001), honest=2)
    assert values.tolist() == [[1.0, 2 + 1 / 16], [-1 + 2 / 16, 3 / 16]]
    assert asked == [5001]


def test_rounds_follow_from_epsilon() -> None:
    assert rounds_for(0.5) == rounds_for(1) == 80
    assert rounds_for(3) == rounds_for(8) == 120


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "setting"),
        ("3", "unknown setting"),
        ("epsilon=", "epsilon"),
        ("delta=1e-6", "epsilon: required, but missing"),
        ("epsilon=0", "epsilon"),
        ("epsilon=nan", "epsilon"),
        ("epsilon=65", "epsilon"),
        ("epsilon=3,delta=0.1", "delta"),
        ("epsilon=3,eps=2", "unknown setting"),
    ],
)
def test_a_privacy_that_cannot_be_read_says_so(text: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        Privacy.from_text(text)


def test_the_privacy_of_a_command_line() -> None:
    assert Privacy.from_text("epsilon=3") == Privacy(epsilon=3)
    assert Privacy.from_text(" delta = 1e-6 , epsilon = 0.5 ") == Privacy(epsilon=0.5, delta=1e-6)
    assert Privacy(epsilon=0.5, delta=1e-6).text == "epsilon 0.5, delta 1e-06"


def test_the_grains_of_gradients_get_coarser_only_where_the_sampler_ends() -> None:
    assert Plan(Privacy(epsilon=1), 80).gradient.grains == 1 << plans._GRADIENT_BITS
    assert Plan(Privacy(epsilon=LEAST_EPSILON, delta=1e-15), 10_000).gradient.grains < 1 << plans._GRADIENT_BITS
