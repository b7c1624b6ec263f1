"""What all parties of a run know of a network of the modeller's own: how large it may be, and its metrics.

It may be as large as every owner allows who was there when the run's series began. With each message a pod asks for its
own owner's term again: it may have joined since, or the term may have changed.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.replica.declared import Declared
from fl_app.replica.state import Replica
from fl_app.secagg.canonical import Value
from fl_app.secagg.errors import PolicyRefused
from fl_app.tabular.encoding import Encoding, summed_columns
from fl_app.tabular.network_source import Bounds, find_source
from fl_app.tabular.regression import DEFAULT_LOSS
from fl_app.tabular.schema import Schema
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import Statistics

MOST, METRICS = "most-parameters", "own-metrics"


def begun(
    config: RunConfig, schema: Schema, datastructure: DataStructure, declared: Mapping[str, Declared]
) -> dict[str, Value]:
    """Return the facts about a network of the modeller's own; none where a run has none.

    How many bins the table's numbers have is not known yet. A network that is too large for one each is refused here,
    before anything is summed; any other once its size is known, see `check_size`.

    Raises
    ------
    PolicyRefused
        If the network has more parameters than an owner allows.
    """
    if config.network is None:
        return {}
    limits = {pod: terms.maximum_parameters for pod, terms in declared.items() if terms.maximum_parameters is not None}
    blank = Statistics.zeros(summed_columns(schema, datastructure))
    encoding = Encoding.of(schema, datastructure, blank, loss=config.loss or DEFAULT_LOSS)
    metrics: Bounds = {}
    with suppress(UsageError):  # it cannot be run: told where it is tried out, or built
        metrics = _metrics(config.network)
        _check(config.network, encoding, limits)
    return {MOST: dict(limits), METRICS: json.dumps(metrics)}


def metrics_in(replica: Replica) -> Bounds | None:
    """Return the bounds of a network's own metrics, by name; None where the run has no network of its own."""
    told = replica.facts.get(METRICS)
    return None if told is None else {name: (low, high) for name, (low, high) in json.loads(str(told)).items()}


def _metrics(digest: str) -> Bounds:
    from fl_app.tabular.own_module import OwnNetwork  # torch

    metrics = OwnNetwork.of(find_source(digest)).metrics
    return metrics.bounds if metrics else {}


def check_size(config: RunConfig, replica: Replica, encoding: Encoding) -> None:
    """Raise `PolicyRefused` if the run's own network has more parameters than an owner allows, before it is built."""
    if config.network is not None:
        limits: Any = replica.facts[MOST]
        _check(config.network, encoding, limits)


def _check(digest: str, encoding: Encoding, limits: Mapping[str, int]) -> None:
    from fl_app.tabular.own_module import parameters_of  # torch

    if not limits:
        return
    pod = min(limits, key=lambda name: (limits[name], name))
    check_limit(pod, limits[pod], parameters_of(find_source(digest), encoding))


def check_limit(pod: str, most: int | None, size: int) -> None:
    """Raise `PolicyRefused` if a network of the modeller's own has more parameters than the pod's owner allows."""
    if most is not None and size > most:
        raise PolicyRefused(
            f"pod '{pod}' takes part with networks of at most {most:,} parameters (maximum_parameters); "
            f"this run's own has {size:,}"
        )
