"""Metrics declared before a run, so that every pod's vector has the same known parts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import MetricRecord

from fl_app.errors import UsageError
from fl_app.secagg.fixed_point import Aggregate
from fl_app.secagg.messages import ElementClass

EXAMPLES = "num-examples"


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
    name = f"{handler}.{metric.name}"
    match metric:
        case Count():
            return ElementClass(name, "count", float(max_weight if metric.bound is None else metric.bound))
        case Sum():
            return ElementClass(name, "sum", float(metric.bound))
        case Mean() if handler == "train":
            return ElementClass(name, "mean", float(metric.bound))
        case Mean() if handler == "evaluate":
            return ElementClass(f"evaluate-mean.{metric.name}", "sum", float(metric.bound * max_weight))
    raise UsageError(f"statistics are sums and counts: declare '{metric.name}' as one of them")


def with_examples(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Return the metrics of an evaluation, its count of examples first; none if there are none."""
    return (Count(EXAMPLES), *metrics) if metrics else ()


def metric_record(aggregate: Aggregate, metrics: Sequence[Metric], handler: str) -> MetricRecord:
    """Return the aggregated metrics of one handler under their own names; a mean over no examples is NaN."""
    values, record = aggregate.values, MetricRecord()
    for metric in metrics:
        if isinstance(metric, Mean) and handler == "evaluate":
            examples = float(values[f"evaluate.{EXAMPLES}"][0])
            array = values[f"evaluate-mean.{metric.name}"] / (examples or np.nan)
        else:
            array = values[f"{handler}.{metric.name}"]
        plain = array.tolist()
        record[metric.name] = plain[0] if metric.size == 1 else plain
    return record
