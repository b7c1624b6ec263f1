"""What monitoring is told of a pod: its counts and its state, never a value or a name of what is in its table."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

COUNTS = {
    "messages": "messages that were answered",
    "bytes": "bytes of content that left the pod",
    "runs": "runs that began",
    "rounds": "training rounds that were answered",
    "other_steps": "other steps that were answered",
    "looks": "looks at what the pod publishes",
    "refusals": "messages that were refused",
    "failures": "messages that the pod could not answer",
}
GAUGES = {
    "online": "1 while a SuperLink has taken the pod's node",
    "paused": "1 while the owner has paused the pod",
    "apps_waiting": "refused versions of the app that its owner may look at",
    "ledger_readable": "1 if the ledger could be read; without it the counts are missing",
    "ledger_verified": "1 if each entry follows from the one before",
    "last_answer_age_seconds": "since something that was asked for left last; missing before that",
    "epsilon_spent": "what private runs have told of a row, at the owner's delta",
    "epsilon_left": "what one more run may cost; missing without a budget",
}


@dataclass(frozen=True)
class PodCollector:
    """Collects ``fl_app_pod_*``.

    Attributes
    ----------
    name : str
        The pod's.
    counts : callable
        Returns the ledger's totals by name; {} if it cannot be read.
    gauges : callable
        Returns the gauges that have a value.
    """

    name: str
    counts: Callable[[], dict[str, int]]
    gauges: Callable[[], dict[str, float]]

    def collect(self) -> Iterable[Metric]:
        """Yield the families."""
        counts, gauges = self.counts(), self.gauges()
        for name, text in COUNTS.items():
            if name in counts:
                counter = CounterMetricFamily(f"fl_app_pod_{name}", text, labels=["pod"])
                counter.add_metric([self.name], counts[name])
                yield counter
        for name, text in GAUGES.items():
            if name in gauges:
                gauge = GaugeMetricFamily(f"fl_app_pod_{name}", text, labels=["pod"])
                gauge.add_metric([self.name], gauges[name])
                yield gauge
