"""What a run of the tabular app asks of the pods, as it follows from its settings alone.

The server asks so, and a pod refuses whatever is asked otherwise. Pods take neither bounds nor weights nor numbers of
rounds from a request: they compute them here, from the settings that the session is bound to.
"""

from collections.abc import Sequence
from typing import Any

from fl_app.config import RunConfig
from fl_app.flower.declared import Count, Declaration, Mean, Metric, Sum, fixed_parameters
from fl_app.flower.names import LOSS, OWN, TEST_PREFIX
from fl_app.flower.protocol_settings import Dropouts
from fl_app.privacy.plan import MAX_PRIVATE_LOSS, MOST_CLASSES, MOST_FEATURES, Plan
from fl_app.replica.comparison import PART_LOSSES, compares
from fl_app.tabular.balance import TAIL
from fl_app.tabular.description import BALANCE, CATEGORIES, ROWS
from fl_app.tabular.evaluation import MAX_BRIER, MAX_LOSS, Counts
from fl_app.tabular.groups import CONFUSIONS, HISTOGRAMS
from fl_app.tabular.importance import IMPORTANCE
from fl_app.tabular.label_counts import LABELS
from fl_app.tabular.marginals import MARGINALS
from fl_app.tabular.regression import ERRORS, PAIRS
from fl_app.tabular.score_cells import MAX_EVALUATIONS
from fl_app.tabular.statistics import HISTOGRAM, MOMENTS, NOISE_TAIL


def reported_metrics(config: RunConfig) -> dict[str, Sequence[Metric]]:
    """Return what the pods report in each kind of step, by the names of `SecureAggregation`'s arguments."""
    if plan := config.plan:
        return _private_metrics(plan, float(config.max_weight))
    if config.describes:
        return _description_metrics(float(config.max_weight))
    own, noised = config.network is not None, float(config.max_weight + NOISE_TAIL)
    evaluate = _evaluation_metrics(config.max_weight, own=own)
    # Of a numeric target it is a sum of errors of 1 a row at most.
    parts = [Sum(PART_LOSSES, bound=MAX_LOSS * config.max_weight)] if compares(config) else []
    more: list[Metric] = [Count(name) for name in (CONFUSIONS, HISTOGRAMS)] if config.group_by else []
    more += [Sum(IMPORTANCE, bound=float(config.max_weight))] if config.importance else []
    return {
        "statistics": [
            Sum(MOMENTS, bound=noised),
            Count(HISTOGRAM, bound=noised + NOISE_TAIL),
            Count(LABELS, bound=noised + NOISE_TAIL),
        ],
        "train_metrics": [Mean(LOSS, bound=MAX_LOSS)],
        "evaluate_metrics": [*evaluate, *parts],
        "final_metrics": [*evaluate, *_evaluation_metrics(config.max_weight, TEST_PREFIX, own=own), *more],
    }


def implied_parameters(settings: str, declared: int, begun: int) -> dict[str, Any]:
    """Return the parameters that a session under these settings has, by the names of `Parameters`' fields.

    Parameters
    ----------
    settings : str
        A `RunConfig` as JSON.
    declared : int
        The number that the last training round may have, as the session declares it. It depends on where a resumed run
        goes on, and so is no constant: it comes back as it is, unless it is more than the settings can need.
    begun : int
        The last round of the series that has begun at this pod.

    Raises
    ------
    UsageError
        If the settings cannot be read.
    """
    config = RunConfig.from_json(settings)
    spare = Dropouts.membership_changes  # rounds whose numbers are spent: this run's, and those of before without us
    return fixed_parameters(
        Declaration.of(config.aggregation, **reported_metrics(config)),
        config.aggregation,
        config.dropouts,
        config.pods,
        rounds=0 if config.describes else min(declared, max(begun, spare) + config.most_rounds + spare),
        evaluations=evaluations(config),
    )


def evaluations(config: RunConfig) -> int:
    """Return how many final evaluations a run may ask for: of a private one each would cost as much."""
    if config.describes:
        return 0
    return 1 if config.privacy else MAX_EVALUATIONS


def _private_metrics(plan: Plan, most: float) -> dict[str, Sequence[Metric]]:
    """Return the metrics of a private run: sums with noise, which may be below zero, of at most ``most`` rows a pod.

    The pods' schemas are not known yet, so that the bounds are those of the largest.
    """
    counts = plan.statistics(MOST_FEATURES).tail
    final = {
        "confusion": most + plan.confusion.tail,
        "histograms": most + plan.histograms(MOST_CLASSES).tail,
        "loss_sum": MAX_PRIVATE_LOSS * most + plan.loss.tail,
        "brier_sum": MAX_BRIER * most + plan.brier(MAX_BRIER).tail,
    }
    return {
        "statistics": [Sum(MARGINALS, bound=most + counts), Sum(LABELS, bound=most + counts)],
        "train_metrics": [],
        "evaluate_metrics": [],
        "final_metrics": [Sum(part + name, bound=bound) for part in ("", TEST_PREFIX) for name, bound in final.items()],
    }


def _description_metrics(most: float) -> dict[str, Sequence[Metric]]:
    """Return the metrics of a description: the sums of the statistics, and more counts with noise."""
    noised = most + NOISE_TAIL
    return {
        "statistics": [
            Sum(MOMENTS, bound=noised),
            Count(HISTOGRAM, bound=noised + NOISE_TAIL),
            Count(CATEGORIES, bound=noised + NOISE_TAIL),
            Sum(ROWS, bound=noised),
            Sum(BALANCE, bound=most + TAIL),
        ],
        "train_metrics": [],
        "evaluate_metrics": [],
        "final_metrics": [],
    }


def _evaluation_metrics(max_weight: int, prefix: str = "", *, own: bool) -> list[Metric]:
    """Return the metrics of one set of rows: the arrays of `Counts` and of `Errors`, their sizes still to be declared.

    Which of the two are empty depends on the target, whose kind is not known yet. With ``own``, those of a network of
    the modeller's own come last.
    """
    bounds = {"loss_sum": MAX_LOSS, "brier_sum": MAX_BRIER, ERRORS: 1.0, OWN: 1.0}
    return [
        Sum(prefix + name, bound=bounds[name] * max_weight) if name in bounds else Count(prefix + name)
        for name in (*Counts.zeros(2).arrays(), ERRORS, PAIRS, *((OWN,) if own else ()))
    ]
