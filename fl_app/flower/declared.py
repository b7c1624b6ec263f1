"""What a run declares before it begins: its metrics, and with them the parameters of its sessions.

Server and pods compute them here, each from the settings that are bound into the session: a bound that the server could
choose would be a question about the largest value at one pod, whose refusal is the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord

from fl_app.errors import UsageError
from fl_app.flower.names import EVALUATE, EVALUATE_MEAN, NUM_EXAMPLES, STATISTICS, TRAIN, UPDATE, segment
from fl_app.flower.protocol_settings import Aggregation, Dropouts
from fl_app.secagg.messages import ElementClass, StepPlan


@dataclass(frozen=True)
class Mean:
    """A float metric, averaged over examples; a pod whose value is past ``bound`` refuses."""

    name: str
    bound: float = 1024.0
    size: int = 1


@dataclass(frozen=True)
class Sum:
    """A float metric, or a list of them, summed; a pod whose value is past ``bound`` refuses."""

    name: str
    bound: float
    size: int = 1


@dataclass(frozen=True)
class Count:
    """An integer metric, or a list of them, summed; each at most ``bound`` at one pod (None: the largest weight)."""

    name: str
    size: int = 1
    bound: float | None = None


Metric = Mean | Sum | Count


def element_class(metric: Metric, handler: str, max_weight: int) -> ElementClass:
    """Return the class of a metric's elements in the vector.

    A training mean shares the vector's weight. Evaluation has examples of its own, so its means travel as sums over
    examples, under the name ``evaluate-mean``, beside the count of those examples.
    """
    name = segment(handler, metric.name)
    match metric:
        case Count():
            return ElementClass(name, "count", float(max_weight if metric.bound is None else metric.bound))
        case Sum():
            return ElementClass(name, "sum", float(metric.bound))
        case Mean() if handler == TRAIN:
            return ElementClass(name, "mean", float(metric.bound))
        case Mean() if handler == EVALUATE:
            return ElementClass(segment(EVALUATE_MEAN, metric.name), "sum", float(metric.bound * max_weight))
    raise UsageError(f"statistics are sums and counts: declare '{metric.name}' as one of them")


def with_examples(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Return the metrics of an evaluation, its count of examples first; none if there are none."""
    return (Count(NUM_EXAMPLES), *metrics) if metrics else ()


@dataclass(frozen=True)
class Declaration:
    """The metrics that each of a pod's handlers reports, and the bounds of what it sends.

    Attributes
    ----------
    statistics, train, evaluate, final : tuples of Metric
        ``evaluate`` rides in training steps, ``final`` is the evaluation at the end.
    update_bound : float
        Largest magnitude of an element of an update.
    examples : int
        Largest number of examples at one pod.
    """

    statistics: tuple[Metric, ...]
    train: tuple[Metric, ...]
    evaluate: tuple[Metric, ...]
    final: tuple[Metric, ...]
    update_bound: float
    examples: int

    @classmethod
    def of(
        cls,
        aggregation: Aggregation,
        *,
        statistics: Sequence[Metric] = (),
        train_metrics: Sequence[Metric] = (),
        evaluate_metrics: Sequence[Metric] = (),
        final_metrics: Sequence[Metric] | None = None,
    ) -> "Declaration":
        """Return what a run declares that reports these metrics, its evaluations with their counts of examples.

        ``final_metrics`` are by default those of the other evaluations.
        """
        return cls(
            statistics=tuple(statistics),
            train=tuple(train_metrics),
            evaluate=with_examples(evaluate_metrics),
            final=with_examples(evaluate_metrics if final_metrics is None else final_metrics),
            update_bound=aggregation.update_bound,
            examples=aggregation.max_weight,
        )

    def sized(self, sizes: Mapping[str, int]) -> "Declaration":
        """Return the same with the sizes of metrics, by name, that could not be known before."""

        def sized(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
            return tuple(replace(metric, size=sizes.get(metric.name, metric.size)) for metric in metrics)

        return replace(
            self,
            statistics=sized(self.statistics),
            train=sized(self.train),
            evaluate=sized(self.evaluate),
            final=sized(self.final),
        )

    def plans(self, rounds: int, evaluations: int = 1) -> tuple[StepPlan, ...]:
        """Return the steps of a run of so many rounds and final evaluations, in order, those that have elements."""
        update = ElementClass(UPDATE, "update", float(self.update_bound))
        training = (update, *self._classes(TRAIN, self.train), *self._classes(EVALUATE, self.evaluate))
        plans = (
            StepPlan(STATISTICS, 1, self._classes(STATISTICS, self.statistics)),
            StepPlan(TRAIN, rounds, training),
            StepPlan(EVALUATE, evaluations, self._classes(EVALUATE, self.final)),
        )
        return tuple(plan for plan in plans if plan.classes and plan.rounds)

    def train_sizes(self, arrays: ArrayRecord) -> dict[str, int]:
        """Return the number of elements of each class in a training step."""
        update = sum(int(np.prod(array.shape)) for array in arrays.values())
        return {UPDATE: update} | self._sizes(TRAIN, self.train) | self._sizes(EVALUATE, self.evaluate)

    def final_sizes(self) -> dict[str, int]:
        """Return the number of elements of each class in the final evaluation."""
        return self._sizes(EVALUATE, self.final)

    def _classes(self, handler: str, metrics: Sequence[Metric]) -> tuple[ElementClass, ...]:
        return tuple(element_class(metric, handler, self.examples) for metric in metrics)

    def _sizes(self, handler: str, metrics: Sequence[Metric]) -> dict[str, int]:
        classes = self._classes(handler, metrics)
        return {c.name: metric.size for c, metric in zip(classes, metrics, strict=True)}


def fixed_parameters(
    declared: Declaration,
    aggregation: Aggregation,
    dropouts: Dropouts,
    pods: Sequence[str],
    *,
    rounds: int,
    evaluations: int = 1,
) -> dict[str, Any]:
    """Return the session's parameters that follow from a run's settings, by the names of `Parameters`' fields.

    Parameters
    ----------
    declared, aggregation, dropouts : Declaration, Aggregation, Dropouts
        What the pods report, how it is bounded and summed, and which losses are survived.
    pods : sequence of str
        The pods requested.
    rounds, evaluations : int
        Most training rounds, by their numbers, and most final evaluations.
    """
    return {
        "prime_q": aggregation.prime_q,
        "pods": tuple(pods),
        "threshold": dropouts.threshold,
        "max_weight": aggregation.largest_weight,
        "weighting": aggregation.weighting,
        "steps": declared.plans(rounds, evaluations),
    }
