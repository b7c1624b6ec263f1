"""What a run promises about any one row: in numbers where it is private, and in words in any case."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from fl_app.config import RunConfig
from fl_app.errors import FlAppError
from fl_app.flower.names import EVALUATE, STATISTICS, TRAIN
from fl_app.privacy.cost import UNIT
from fl_app.privacy.plan import EVALUATIONS, Noise, Plan
from fl_app.privacy.settings import Privacy
from fl_app.replica.private import relied_on
from fl_app.tabular.evaluation import MAX_BRIER, scored_classes
from fl_app.validation import counted
from server.app.privacy_result import PrivacyResult, StepPrivacy
from server.app.results import Results
from strategies import ReplicatedAggregation

NOT_COVERED = (
    "what pods publish of their tables before a run: names and kinds of columns, categories that enough rows share, "
    "bounds rounded to powers of two",
    "several rows together: a person with more than one row, in one pod or in several, pays for each of them",
    "that a row is there, and whether it is for training or held out: what is in it is hidden",
    "other runs over the same rows: what each of them costs adds up",
)
_SUMS_ONLY = (
    "Whoever ran the server has read only sums over the pods of the cohort, and nothing of a pod alone; about a row "
    "nothing is promised: what the sums of training, and with them the model, tell of single rows is not bounded."
)
_DESCRIBED = (
    "Whoever ran the server has read only sums over the pods of the cohort, with noise that hides a row in each, and "
    "nothing of a pod alone. No bound is promised: what is told of a row adds up over columns, and rows alike show."
)
_NOTHING = "Nothing is promised, about a pod or about a row: whoever ran the server has read each pod's own values."
Noises = Mapping[str, Mapping[str, float]]
_NONE: Noises = MappingProxyType({})


def deviation(noise: Noise, honest: int, pods: int) -> float:
    """Return the standard deviation of the noise in a sum of so many pods, each of which relies on ``honest`` ones."""
    return math.sqrt(noise.share(honest) * pods) / noise.grains


def noise_of(plan: Plan, kind: str, size: int, honest: int, pods: int) -> dict[str, float]:
    """Return the standard deviations of the noise in a step's sum over so many pods, by what is summed.

    Parameters
    ----------
    kind : str
        "statistics", "train" or "evaluate".
    size : int
        The features of statistics, the classes of an evaluation; of no account in training.
    """
    if kind == STATISTICS:
        noises = {"rows by value": plan.statistics(size)}
    elif kind == TRAIN:
        noises = {"gradient": plan.gradient}
    else:
        noises = {
            "rows by class and prediction": plan.confusion,
            "rows by score": plan.histograms(scored_classes(size)),
            "loss": plan.loss,
            "brier": plan.brier(MAX_BRIER),
        }
    return {name: float(f"{deviation(noise, honest, pods):.4g}") for name, noise in noises.items()}


def honest_in(config: RunConfig, strategy: ReplicatedAggregation | None) -> int:
    """Return on how many pods the noise of the current session relies.

    Raises
    ------
    FlAppError
        If there is no session yet.
    """
    if strategy is None or strategy.sessions is None:
        raise FlAppError("no cohort has been formed yet")
    return relied_on(config, strategy.replica, list(strategy.sessions.cohort.nodes))


def promise_of(
    config: RunConfig,
    strategy: ReplicatedAggregation | None,
    results: Results,
    kind: str = "",
    size: int = 0,
    pods: int = 0,
) -> PrivacyResult:
    """Return what a run promises as it stands: after a step of a kind, see `noise_of`, or after none."""
    if (plan := config.plan) is None:
        if config.describes and config.secure:
            return PrivacyResult(epsilon=None, guarantee=_DESCRIBED)
        return PrivacyResult(epsilon=None, guarantee=_SUMS_ONLY if config.secure else _NOTHING)
    honest = honest_in(config, strategy)
    threshold = strategy.sessions.aggregator.threshold if strategy and strategy.sessions else 0
    noises = {kind: noise_of(plan, kind, size, honest, pods)} if kind else {}
    return promised(plan, results.privacy, honest, threshold, noises)


def promised(
    plan: Plan, before: PrivacyResult | None, honest: int, threshold: int, noises: Noises = _NONE
) -> PrivacyResult:
    """Return what a private run promises, as it stands.

    Parameters
    ----------
    before : PrivacyResult or None
        What was promised so far: of all the run's sessions, the weakest counts.
    honest, threshold : int
        Pods that are relied on in this session, and answers that make a sum.
    noises : mapping
        Noise that has become known, as `noise_of` gives it, by kind of step.
    """
    cost, privacy = plan.cost, plan.privacy
    colluding = max(threshold - honest, 0)
    noise = {kind: step.noise for kind, step in before.steps.items()} if before else {}
    if before and before.honest_pods is not None and before.colluding_pods is not None:
        honest, colluding = min(honest, before.honest_pods), min(colluding, before.colluding_pods)
    noise |= noises
    each = {STATISTICS: (cost.statistics, 1), TRAIN: (cost.train, cost.rounds), EVALUATE: (cost.evaluate, EVALUATIONS)}
    return PrivacyResult(
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        honest_pods=honest,
        colluding_pods=colluding,
        rho=cost.total / UNIT,
        steps={
            kind: StepPrivacy(rho=units / UNIT, steps=steps, noise=noise.get(kind, {}))
            for kind, (units, steps) in each.items()
        },
        guarantee=_sentence(privacy, colluding),
        not_covered=NOT_COVERED,
    )


def _sentence(privacy: Privacy, colluding: int) -> str:
    parties = ["the server", "the modeller"]
    if colluding:
        parties.append(f"{'up to ' if colluding > 1 else ''}{counted(colluding, 'pod')} colluding with them")
    return (
        f"Whatever is learnt from this run is at most {math.exp(privacy.epsilon):.3g} times as likely with any one row "
        "of any one pod as it is as with that row blank, and the other way round, but for a probability of "
        f"{privacy.delta:g} (differential privacy: {privacy.text}), against "
        f"{', '.join(parties[:-1])} and {parties[-1]}, whatever they do, and against everyone who sees the result."
    )
