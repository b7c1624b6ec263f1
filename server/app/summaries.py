"""What results.json says of the strategy's own objects: cohorts, sums, losses and traffic."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from fl_app.config import RunConfig, Settled
from fl_app.errors import DataError
from fl_app.replica.comparison import LEAST_ROWS
from fl_app.replica.tabular import own_in
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.crypto import fingerprint
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import Counts, metrics_of
from fl_app.tabular.network_source import Bounds
from fl_app.tabular.regression import Errors, NumericTarget, metrics_of_errors
from fl_app.tabular.settings import PAIR_ARCHITECTURE
from server.app.results import (
    AggregationResult,
    ComparisonResult,
    Loss,
    Metrics,
    PodResult,
    RegressionResult,
    RoundResult,
    StepCost,
    TrainingResult,
)
from strategies import SecureAggregation
from strategies.cohort import Cohort
from strategies.steps import Loss as PodLoss


def metrics_from(counts: Counts, positive: int | None = None) -> Metrics:
    """Return the metrics of summed counts; ``positive`` as for `metrics_of`."""
    return defined_metrics(metrics_of(counts, positive), max(counts.scored, 0))


def metrics_from_errors(errors: Errors, numeric: NumericTarget) -> Metrics:
    """Return the metrics of summed errors of a numeric target."""
    return defined_metrics(metrics_of_errors(errors, numeric), errors.rows)


def with_own(metrics: Metrics, bounds: Bounds, sums: Aggregate, prefix: str = "") -> Metrics:
    """Return the metrics of an evaluation with those that a network's own file computes, if it has any."""
    if not bounds:
        return metrics
    from fl_app.tabular.own_metrics import means  # torch

    return metrics.changed(own=means(bounds, own_in(sums, prefix), metrics.num_examples or 0))


def position_of(positive: str | None, encoding: Encoding) -> int | None:
    """Return the place of the class that the modeller has named among the target's, None if none was.

    Raises
    ------
    DataError
        The target has no such class.
    """
    if positive is None:
        return None
    classes = list(encoding.labels)
    if positive not in classes:
        listed = ", ".join(map(repr, classes[:20])) + (" ..." if len(classes) > 20 else "")
        raise DataError(f"the target {encoding.target.name!r} has no class {positive!r}: its classes are {listed}")
    return classes.index(positive)


def regression_of(encoding: Encoding) -> RegressionResult | None:
    """Return what is known of a numeric target before training; None where classes are learnt."""
    if encoding.numeric is None:
        return None
    low, high = encoding.target.bounds
    told = encoding.numeric.model_dump()
    return RegressionResult(target=encoding.target.name, unit=encoding.target.unit, low=low, high=high, **told)


def no_figures(metrics: Metrics, why: Sequence[str] = ()) -> str:
    """Return why figures over the pods' rows are not there, "" where they are; ``why`` is what keeps rows out."""
    rows, noise = metrics.num_examples or 0, metrics.deviations.get("num_examples", 0.0)
    if rows > 3 * noise:
        return ""
    if noise:
        return "the noise hides all of the rows: a larger epsilon needs less, and further pods add rows"
    return f"no pod adds rows: {'; '.join(why) or 'no pod has one whose label is published'}"


def defined_metrics(values: Mapping[str, float], num_examples: int) -> Metrics:
    """Return metrics by name as results.json has them: None for those that no row defines."""
    defined = {name: finite(value) for name, value in values.items()}
    return Metrics.model_validate({**defined, "num_examples": num_examples})


TRAINING = (
    "architecture",
    "rounds",
    "local_epochs",
    "local_steps",
    "batch_size",
    "optimizer",
    "lr_decay",
    "early_stopping",
)
"""The settings of the training, in the order in which they are told."""
_UNFIT_OF_PRIVACY = ("local_epochs", "local_steps", "batch_size", "optimizer", "lr_decay", "early_stopping")


def comparison_of(chosen: str, rounds: Sequence[RoundResult]) -> ComparisonResult | None:
    """Return what came of comparing networks, of which ``chosen`` goes on; None where none were compared."""
    last = next((entry for entry in reversed(rounds) if entry.part_losses), None)
    if last is None:
        return None
    rows, losses = last.num_examples or 0, {**last.part_losses, PAIR_ARCHITECTURE: last.loss}
    why = f"its loss is the smallest on {rows:,} validation rows"
    if rows < LEAST_ROWS:
        why = f"{rows:,} validation rows are too few to choose by, fewer than {LEAST_ROWS}"
    return ComparisonResult(round=last.round, losses=losses, rows=rows, chosen=chosen, why=why)


def training_of(config: RunConfig, run: Settled, rows: int) -> TrainingResult:
    """Return how a run trains, once the pods' table is known to have so many labelled rows."""
    names = [name for name in TRAINING if not (config.privacy and name in _UNFIT_OF_PRIVACY)]
    values = run.model_dump(mode="json", include=set(names))
    left_open = [name for name in names if name in config.left_open and getattr(run, name) is not None]
    return TrainingResult(rows=rows, follows=tuple(left_open), settings={name: values[name] for name in names})


def finite(value: object) -> float | None:
    """Return a finite number, or None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def losses_of(lost: Mapping[str, PodLoss]) -> dict[str, Loss]:
    """Return at which point and why pods were lost, by their names."""
    return {name: Loss(**asdict(loss)) for name, loss in lost.items()}


def pods_of(cohort: Cohort) -> tuple[PodResult, ...]:
    """Return the pods of a cohort, in its order."""
    return tuple(
        PodResult(
            name=name,
            key=fingerprint(hello.identity_key),
            approves=tuple(cohort.approvals.get(name, ())),
            versions=dict(text.split(" ", 1) for text in cohort.versions.get(name, ()) if " " in text),
        )
        for name, hello in cohort.hellos.items()
    )


def aggregation_of(strategy: SecureAggregation, before: AggregationResult) -> AggregationResult:
    """Return the settings of the secure sums and their cost, that of a run ``before`` it was resumed included."""
    steps = {
        kind: StepCost(
            messages=traffic.messages,
            bytes_out=traffic.bytes_out,
            bytes_in=traffic.bytes_in,
            seconds=tuple(round(seconds, 3) for seconds in traffic.seconds),
        )
        for kind, traffic in strategy.traffic().items()
    }
    for kind, cost in before.steps.items():
        steps[kind] = cost.plus(steps[kind]) if kind in steps else cost
    sessions = strategy.sessions
    return AggregationResult(
        enabled=strategy.secure,
        prime_q=strategy.aggregation.prime_q,
        update_bound=strategy.aggregation.update_bound,
        max_weight=strategy.aggregation.largest_weight,
        weighting=strategy.aggregation.weighting,
        threshold=sessions.aggregator.threshold if sessions and strategy.secure else None,
        sessions=before.sessions + (sessions.opened if sessions else 0),
        steps=steps,
    )
