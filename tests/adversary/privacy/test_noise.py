"""The noise in what is summed: as much as promised, of the distribution promised, and of nothing but chance.

All draws come from fixed streams, so that a result is the same in every run. For streams drawn at random each of these
tests would fail once in ten thousand times or less often.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fl_app.config import RunConfig
from fl_app.flower.names import NUM_EXAMPLES, TEST_PREFIX
from fl_app.flower.records import Published
from fl_app.privacy.plan import Plan
from fl_app.privacy.settings import Privacy
from fl_app.replica import private
from fl_app.replica.declared import Declared
from fl_app.replica.tabular import TabularRule
from fl_app.run_plan import implied_parameters
from fl_app.secagg.codec import Layout, Segment
from fl_app.secagg.field import FIELD_61
from fl_app.secagg.roster import default_threshold
from fl_app.tabular.schema import Schema
from tests.adversary.privacy.answers import (
    COLUMNS,
    TARGET,
    Grains,
    evaluation,
    gradient,
    network,
    no_noise,
    noises,
    people,
    plan,
    statistics,
    stream,
)

PLAN, HONEST = plan(rounds=80), 2
PODS = ("one", "two", "three")
TABLES = {pod: people(12, seed) for seed, pod in enumerate(PODS)}
LINEAR = network("linear", 0.3)
P_VALUE = 1e-4
Answer = Callable[..., Grains]
ANSWERS: dict[str, tuple[Answer, int]] = {
    "statistics": (lambda rows, randomness=None: statistics(PLAN, rows, HONEST, randomness), 40),
    "gradient": (lambda rows, randomness=None: gradient(PLAN, rows, LINEAR, HONEST, randomness), 20),
    "evaluation": (lambda rows, randomness=None: evaluation(PLAN, rows, LINEAR, HONEST, randomness), 60),
}
"""What a pod answers to each kind of step, and how often it is asked here."""


@cache
def exact(kind: str, pod: str) -> Grains:
    with no_noise():
        return ANSWERS[kind][0](TABLES[pod])


@cache
def shares(kind: str) -> dict[str, dict[str, NDArray[np.int64]]]:
    """Return each pod's shares of the noise of all its answers, by the sum's name."""
    answer, times = ANSWERS[kind]
    drawn: dict[str, dict[str, NDArray[np.int64]]] = {}
    for place, pod in enumerate(PODS):
        given = [answer(TABLES[pod], stream(1000 * place + number)) for number in range(times)]
        drawn[pod] = {
            name: np.concatenate([one[name] - known for one in given]) for name, known in exact(kind, pod).items()
        }
    return drawn


def standard(kind: str, pods: Sequence[str], variance_of: Callable[[str], float]) -> NDArray[np.float64]:
    """Return the noise in the sum over some pods, in the deviations that it should have."""
    parts = shares(kind)
    sums = {name: np.sum([parts[pod][name] for pod in pods], axis=0) for name in parts[pods[0]]}
    rng = np.random.default_rng(7)
    sums = {name: drawn + rng.uniform(-0.5, 0.5, drawn.shape) for name, drawn in sums.items()}
    return np.concatenate([sums[name] / np.sqrt(variance_of(name)) for name in sums])


def misfit(deviations: NDArray[np.float64]) -> float:
    """Return the p-value of the chi-square test against the normal distribution, in forty cells of equal weight.

    The discrete Gaussian of these variances, 1,000 and more, differs from it by less than one part in 2^1000, but for
    that its draws are whole: `standard` spreads each over its unit.
    """
    counts = np.histogram(deviations, stats.norm.ppf(np.linspace(0, 1, 41)))[0]
    return float(stats.chisquare(counts).pvalue)


def at_least(deviations: NDArray[np.float64]) -> bool:
    """Say whether these may have a variance of 1 or more."""
    return bool(stats.chi2.cdf(np.square(deviations).sum(), len(deviations)) > P_VALUE)


kinds = pytest.mark.parametrize("kind", ANSWERS)


@kinds
def test_the_noise_in_the_sum_of_all_pods_is_the_discrete_gaussian_of_the_shares_together(kind: str) -> None:
    drawn = standard(kind, PODS, lambda name: len(PODS) * noises(PLAN)[name].share(HONEST))
    assert len(drawn) > 2000
    assert misfit(drawn) > P_VALUE
    assert abs(np.var(drawn) - 1) < 4 * np.sqrt(2 / len(drawn))


@kinds
def test_without_a_colluding_pods_share_or_a_lost_pods_the_noise_is_still_all_that_was_promised(kind: str) -> None:
    for left in itertools.combinations(PODS, HONEST):
        drawn = standard(kind, left, lambda name: noises(PLAN)[name].variance)
        assert at_least(drawn), left
        assert misfit(drawn) > P_VALUE, left
    alone = standard(kind, PODS[:1], lambda name: noises(PLAN)[name].variance)
    assert not at_least(alone)  # one pod alone has half of it: the test would see that


@kinds
def test_no_share_depends_on_the_rows(kind: str) -> None:
    answer, _ = ANSWERS[kind]
    others = [people(12, 9), people(12, 9).assign(y=None), people(12, 9).assign(age=64.0, town="Celle")]
    noise = []
    for rows in (TABLES["one"], *others):
        with no_noise() as asked:
            known = answer(rows)
        given = answer(rows, stream(5))
        noise.append((asked, {name: (given[name] - known[name]).tolist() for name in known}))
    assert all(drawn == noise[0] for drawn in noise)


def test_shares_of_unlike_pods_and_steps_have_nothing_to_do_with_each_other() -> None:
    """From the system's randomness: twice the same answer has other noise."""
    rows = TABLES["one"]
    once, again = (statistics(PLAN, rows, HONEST)["marginals"] for _ in range(2))
    assert (once != again).mean() > 0.9


# -- on how many pods' shares a run relies


def replica_of(config: RunConfig, declared: dict[str, int]) -> private.Replica:
    schemas = {pod: Schema(name=pod, columns=COLUMNS).to_json() for pod in declared}
    terms = {
        pod: Declared(minimum_cohort=2, least_rows=5, honest_pods=honest, validation=True, test=True).to_json()
        for pod, honest in declared.items()
    }
    published = {pod: Published(schemas[pod], tuple(declared), {}, terms[pod]) for pod in declared}
    return TabularRule().begin(config.to_json(), published)


def settings(pods: Sequence[str], **changes: object) -> RunConfig:
    usual = {"pods": pods, "datastructure": TARGET, "privacy": Privacy(epsilon=3.0), "local_epochs": 1}
    return RunConfig.model_validate(usual | changes)


@pytest.mark.parametrize("count", range(2, 13))
def test_whoever_answers_the_shares_relied_on_are_as_much_noise_as_was_promised(count: int) -> None:
    names = tuple(f"pod-{place:02}" for place in range(count))
    thresholds = [0] if count <= 3 else [0, *range(count // 2 + 1, count + 1)]
    for threshold, least in itertools.product(thresholds, (1, 2, count - 1, count, 10**9)):
        config = settings(names, threshold=threshold)
        declared = dict.fromkeys(names, count) | {names[-1]: least}
        replica = replica_of(config, declared)
        honest = private.relied_on(config, replica, names)
        answering = threshold or default_threshold(count)
        assert 1 <= honest <= min(declared.values())  # no owner's share is smaller than that owner said
        assert honest < answering  # whoever colludes, if it is one at least
        for noise in noises(config.plan or PLAN).values():
            assert honest * noise.share(honest) >= noise.variance


@pytest.mark.parametrize("said", [0, -5])
def test_a_pod_that_declares_nonsense_makes_more_noise_and_not_less(said: int) -> None:
    config = settings(PODS)
    assert private.relied_on(config, replica_of(config, dict.fromkeys(PODS, 2) | {"two": said}), PODS) == 1


# -- what the codec makes of it


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 64.0])
@pytest.mark.parametrize("most", [1 << 20, 1 << 28])
@pytest.mark.parametrize("rounds", [1, 10_000])
def test_the_codec_cuts_no_grain_off_and_clips_no_sum(epsilon: float, most: int, rounds: int) -> None:
    """Rounded off at each pod, the noise of a sum would not be that of the accounting any more."""
    names = tuple(f"pod-{place:03}" for place in range(100))
    config = settings(names, privacy=Privacy(epsilon=epsilon, delta=1e-15), rounds=rounds, max_weight=most)
    of = Plan(Privacy(epsilon=epsilon, delta=1e-15), rounds)
    fixed = implied_parameters(config.to_json(), rounds, 0)
    assert fixed["prime_q"] == FIELD_61.prime
    for step in fixed["steps"]:
        segments = [Segment(c.name, c.kind, c.bound) for c in step.classes]
        layout = Layout(FIELD_61, len(names), fixed["max_weight"], segments)
        for segment in segments:
            name = segment.name.rpartition(".")[2].removeprefix(TEST_PREFIX)
            noise = noises(of)["gradient" if name == "update" else name] if name != NUM_EXAMPLES else None
            if noise:
                assert layout.scales[segment.name] >= noise.grains, segment.name
                assert segment.bound >= noise.tail, segment.name
