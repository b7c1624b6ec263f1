"""What the vectors of a run are made of, said before it begins: the server can decode that and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from flwr.app import ArrayRecord

from fl_app.secagg.messages import ElementClass, StepPlan
from strategies.metrics import Metric, element_class

UPDATE = "update"


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

    def plans(self, rounds: int) -> tuple[StepPlan, ...]:
        """Return the steps of a run of so many rounds, in order; those without elements are left out."""
        update = ElementClass(UPDATE, "update", float(self.update_bound))
        training = (update, *self._classes("train", self.train), *self._classes("evaluate", self.evaluate))
        plans = (
            StepPlan("statistics", 1, self._classes("statistics", self.statistics)),
            StepPlan("train", rounds, training),
            StepPlan("evaluate", 1, self._classes("evaluate", self.final)),
        )
        return tuple(plan for plan in plans if plan.classes)

    def train_sizes(self, arrays: ArrayRecord) -> dict[str, int]:
        """Return the number of elements of each class in a training step."""
        update = sum(int(np.prod(array.shape)) for array in arrays.values())
        return {UPDATE: update} | self._sizes("train", self.train) | self._sizes("evaluate", self.evaluate)

    def final_sizes(self) -> dict[str, int]:
        """Return the number of elements of each class in the final evaluation."""
        return self._sizes("evaluate", self.final)

    def _classes(self, handler: str, metrics: Sequence[Metric]) -> tuple[ElementClass, ...]:
        return tuple(element_class(metric, handler, self.examples) for metric in metrics)

    def _sizes(self, handler: str, metrics: Sequence[Metric]) -> dict[str, int]:
        classes = self._classes(handler, metrics)
        return {c.name: metric.size for c, metric in zip(classes, metrics, strict=True)}
