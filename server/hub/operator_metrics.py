"""What monitoring gets of a SuperLink, in Prometheus' format; docs/reference/metrics.md lists it."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from server.hub.parties import Sources, View

_PREFIX = "fl_app_superlink_"


class OperatorMetrics:
    """A collector of `prometheus_client`: it reads when it is scraped, and never otherwise."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Any]:
        """Yield the metrics."""
        view = self._sources.view()
        yield _gauge("up", "Whether the SuperLink answers on its machine", float(view.up is not False))
        yield _gauge("pods_registered", "Pods that are registered", len(view.of_role("pod")))
        yield _gauge("modellers_registered", "Modellers that are registered", len(view.of_role("modeller")))
        yield _gauge("cards_revoked", "Cards that were revoked", len(view.revoked))
        yield _gauge("cards_damaged", "Files that should register a party and are no cards", len(view.damaged))
        yield _gauge("certificate_days_left", "Days until its certificate expires", view.certificate_days)
        yield _gauge("authority_days_left", "Days until its authority expires", view.authority_days)
        yield _last_seen(view)
        started = CounterMetricFamily(f"{_PREFIX}runs_started", "Runs that modellers have started here")
        started.add_metric([], view.runs_started)
        yield started
        if view.up:
            yield from _of_state(view)


def _of_state(view: View) -> Iterator[Any]:
    """Yield what only the SuperLink itself knows; while it does not answer, these are not there."""
    yield _gauge("pods_online", "Pods that are online", len(view.online))
    online = GaugeMetricFamily(f"{_PREFIX}pod_online", "Whether the pod is online", labels=["pod"])
    busy = GaugeMetricFamily(f"{_PREFIX}pod_at_work", "Whether the pod works on a message", labels=["pod"])
    for pod in view.of_role("pod"):
        online.add_metric([pod.name], float(pod.state in ("online", "at work")))
        busy.add_metric([pod.name], float(pod.state == "at work"))
    yield online
    yield busy
    runs = GaugeMetricFamily(f"{_PREFIX}runs", "Runs under way", labels=["status"])
    for status in ("pending", "starting", "running"):
        runs.add_metric([status], sum(run.status == status for run in view.under_way))
    yield runs
    waits = [one.seconds for run in view.under_way for one in run.waits_for if one.seconds is not None]
    yield _gauge("longest_wait_seconds", "For how long a run has waited for a pod's answer", max(waits, default=0.0))


def _last_seen(view: View) -> GaugeMetricFamily:
    text = "When the party was last admitted and served"
    made = GaugeMetricFamily(f"{_PREFIX}last_seen_timestamp_seconds", text, labels=["party", "role"])
    for party in view.parties:
        if party.last_seen is not None:
            made.add_metric([party.name, party.role], party.last_seen)
    return made


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", text, value=value)
