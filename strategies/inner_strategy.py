"""Talking to the inner strategy: one request that stands for all, one virtual reply that stands for all."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run

from fl_app.errors import UsageError
from fl_app.flower.names import METRICS_RECORD, NUM_EXAMPLES
from fl_app.flower.records import array_from, array_of
from fl_app.secagg import npy

_STATE: Mapping[str, type] = {"m_t": dict, "v_t": dict, "momentum_vector": list}
"""Where Flower's strategies keep what they carry from round to round: arrays by name, or in the model's order."""

_SPAN = 1 << 16
"""Elements of the model that are added at once, in float64."""


def check_minima(inner: Strategy, pods: int) -> None:
    """Raise `UsageError` if the inner strategy wants more nodes than there are: it would wait for them for ever."""
    for setting in ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"):
        if (wanted := getattr(inner, setting, 0)) > pods:
            raise UsageError(f"{type(inner).__name__} has {setting}={wanted}, and there are {pods} pods; lower it")


def common_request(inner: Strategy, messages: Sequence[Message], kind: str, pods: int) -> Message:
    """Return the message that stands for all; raises `UsageError` unless every pod is sent the same."""
    if len(messages) != pods:
        raise UsageError(
            f"{type(inner).__name__} asks {len(messages)} of {pods} pods to {kind}: secure aggregation needs them all"
            f" (fraction_{kind}=1.0, min_{kind}_nodes <= {pods})"
        )
    if any(message.content != messages[0].content for message in messages[1:]):
        raise UsageError(f"{type(inner).__name__} sends different requests to different pods")
    return messages[0]


def virtual_reply(
    inner: Strategy, request: Message, weight: int, metrics: MetricRecord, arrays: Mapping[str, ArrayRecord]
) -> Message:
    """Return the reply that the inner strategy would have got from one pod with all the examples."""
    key = getattr(inner, "weighted_by_key", NUM_EXAMPLES)
    record = MetricRecord({**metrics, key: weight})
    return Message(RecordDict({**arrays, METRICS_RECORD: record}), reply_to=request)


def moved(arrays: ArrayRecord, update: npt.NDArray[Any]) -> ArrayRecord:
    """Return the arrays moved by the flat mean update, each in its own dtype: added in float64, span by span."""
    new, at = {}, 0
    for name, array in arrays.items():
        old = array_of(array)
        new[name] = array_from(npy.filled(old.shape, old.dtype, partial(_add, old.reshape(-1), update[at:])))
        at += old.size
    return ArrayRecord(new)


def _add(old: npt.NDArray[Any], update: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    for start in range(0, len(old), _SPAN):
        span = slice(start, start + _SPAN)
        wide = np.add(old[span], update[: len(old)][span], dtype=np.float64)
        np.copyto(out[span], wide, casting="unsafe")


def server_state(inner: Strategy) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that the strategy carries from round to round, such as momenta, by name; they are its own."""
    state = {}
    for attribute in _STATE:
        arrays = getattr(inner, attribute, None) or {}
        for key, array in arrays.items() if isinstance(arrays, Mapping) else enumerate(arrays):
            state[f"{attribute}.{key}"] = np.asarray(array)
    return state


def restore(inner: Strategy, state: Mapping[str, npt.NDArray[Any]]) -> None:
    """Restore what `server_state` returned; raises `UsageError` if the strategy has no such state."""
    attributes: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, array in state.items():
        attribute, _, key = name.partition(".")
        attributes.setdefault(attribute, {})[key] = np.array(array)
    for attribute, arrays in attributes.items():
        if attribute not in _STATE or not hasattr(inner, attribute):
            raise UsageError(f"{type(inner).__name__} keeps no '{attribute}': the checkpoint is of another strategy")
        ordered = [arrays[key] for key in sorted(arrays, key=int)] if _STATE[attribute] is list else arrays
        setattr(inner, attribute, ordered)


class CohortGrid(Grid):
    """The view of a grid that an inner strategy samples from; it can neither send nor receive.

    Parameters
    ----------
    grid : Grid
        The real one.
    nodes : iterable of int
        The cohort's node ids.
    """

    def __init__(self, grid: Grid, nodes: Iterable[int]) -> None:
        self._grid, self._nodes = grid, list(nodes)

    def get_node_ids(self) -> Iterable[int]:
        """Return the cohort's node ids."""
        return list(self._nodes)

    @property
    def run(self) -> Run:
        """The run of the real grid."""
        return self._grid.run

    def set_run(self, run: Run) -> None:
        """Refuse: the run is the real grid's."""
        raise NotImplementedError("the cohort's grid cannot change its run")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Refuse: messages are made with Flower's Message."""
        raise NotImplementedError("the cohort's grid makes no messages")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Refuse: the outer strategy sends."""
        raise NotImplementedError("the cohort's grid sends nothing: the secure strategy does")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Refuse: the outer strategy receives."""
        raise NotImplementedError("the cohort's grid receives nothing: the secure strategy does")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Refuse: the outer strategy sends and receives."""
        raise NotImplementedError("the cohort's grid sends nothing: the secure strategy does")
