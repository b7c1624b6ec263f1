"""What grows with the number of pods: processor time of the server and of a pod in whole rounds within one process.

The strategy, the pods' app and their ledgers are the real ones, and each pod publishes a text as long as the schema of
20 columns. Between server and pods lies an in-process grid, so that no message is written, sent or waited for.
"""

import itertools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message
from flwr.serverapp.strategy import FedAvg

from fl_app.flower import names
from fl_app.flower.protocol_settings import Timing
from strategies import Count, Hooks, Mean, SecureAggregation
from tests.support.in_process import InProcessGrid
from tests.support.pods_in_process import Pods

JOIN, FIRST, LATER, UNMASK = "join", "first round", "later round", "unmask"
_MASKED = names.MASKED_MESSAGES["train"]
_SCHEMA_BYTES = 12_000


@dataclass(frozen=True)
class Work:
    """Milliseconds of processor time that one party takes for one part of a run: median, least and most.

    The server's part is for the whole cohort, and its rounds include the unmasking; a pod's part is its own.
    """

    who: str
    what: str
    pods: int
    elements: int
    median: float
    least: float
    most: float


class _Clocked(InProcessGrid):
    """Delivers at once, keeps no copies, and takes the pods' processor time apart from all the rest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pods_took: dict[str, list[float]] = defaultdict(list)
        self.apart = 0.0

    def _push(self, message: Message) -> str:
        started = time.process_time()
        self._sent += 1
        identifier = f"message-{self._sent}"
        message.metadata.__dict__["_message_id"] = identifier
        self._ready[identifier] = self.app(message, self.contexts[message.metadata.dst_node_id])
        took = time.process_time() - started
        self.pods_took[message.metadata.message_type].append(took)
        self.apart += took
        return identifier

    def push_messages(self, messages: Sequence[Message]) -> list[str]:  # type: ignore[override]
        return [self._push(message) for message in messages]


def work(pods: Sequence[int], elements: int, rounds: int) -> Iterator[Work]:
    """Run ``rounds`` rounds in cohorts of each size and yield what server and pods did in them."""
    for count in pods:
        yield from _cohort(count, elements, rounds)


def _cohort(count: int, elements: int, rounds: int) -> Iterator[Work]:
    with tempfile.TemporaryDirectory() as directory:
        pods = Pods(Path(directory), [f"hospital-{number:03}" for number in range(count)], _Clocked)
        for name in pods.names:
            pods.change_owner(name, schema=lambda proposal, name=name: name.ljust(_SCHEMA_BYTES, "."))
        grid, server = pods.grid, list[float]()
        if not isinstance(grid, _Clocked):
            raise TypeError("the pods answer on another grid")
        strategy = SecureAggregation(
            FedAvg(fraction_evaluate=0),
            list(pods.names),
            train_metrics=[Mean("loss")],
            evaluate_metrics=[Count("hits")],
            timing=Timing(hello=3600.0, grace=0.0, poll=0.01),
            hooks=Hooks(on_round=lambda done: server.append(time.process_time() - grid.apart)),
        )
        began = time.process_time() - grid.apart
        strategy.form_cohort(grid, rounds)
        joined = time.process_time() - grid.apart
        initial = ArrayRecord({"w": Array(np.zeros(elements, np.float32))})
        strategy.start(grid, initial, rounds, train_config=ConfigRecord({"lr": 0.1}))
    ends = [joined, *server]
    steps = [1e3 * (end - start) for start, end in itertools.pairwise(ends)]
    yield _row("server", JOIN, count, elements, [1e3 * (joined - began)])
    yield _row("server", FIRST, count, elements, steps[:1])
    yield _row("server", LATER, count, elements, steps[1:])
    for what, took in _by_part(grid, count).items():
        yield _row("pod", what, count, elements, [1e3 * seconds for seconds in took])


def _by_part(grid: _Clocked, count: int) -> dict[str, list[float]]:
    hellos, rosters = grid.pods_took[names.HELLO_MESSAGE], grid.pods_took[names.ROSTER_MESSAGE]
    masked = grid.pods_took[_MASKED]
    parts = {
        JOIN: [sum(both) for both in zip(hellos, rosters, strict=True)],
        FIRST: masked[:count],
        LATER: masked[count:],
    }
    return parts | ({UNMASK: took} if (took := grid.pods_took[names.UNMASK_MESSAGE]) else {})


def _row(who: str, what: str, pods: int, elements: int, took: Sequence[float]) -> Work:
    return Work(who, what, pods, elements, statistics.median(took), min(took), max(took))
