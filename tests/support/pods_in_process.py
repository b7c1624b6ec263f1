"""Pods without a network: the real masked ClientApp over made-up data whose sums are known exactly."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.app.ledger import Ledger
from client.app.masked_app import MaskedApp
from client.app.owner import Owner
from client.app.policy_checks import ImpliedParameters, RequestedTraining, RunCost
from fl_app.identity.key_file import Identity
from fl_app.pod.policy import Policy
from tests.support.in_process import InProcessGrid

NAMES = tuple(f"pod-{letter}" for letter in "abcdefghij")
SIZE = 6


def identity(name: str) -> Identity:
    """Return a key that follows from a name, so that tests can be repeated."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Identity(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"identity of {name}".encode()).digest()))


@dataclass
class Pod:
    """A pod's owner and its data; a test may bend any of it.

    ``update(size)`` is its training result minus what came in; binary fractions, so that sums are exact.
    """

    owner: Owner
    update: Callable[[int], npt.NDArray[np.float64]]
    examples: int
    loss: float = 0.5
    hits: int = 7
    trained: int = 0


@dataclass
class Pods:
    """Pods that approve each other, each with a ledger on disk, behind one in-process grid.

    ``reads`` and ``implies`` are what the app reads of a run's settings, and the parameters that these imply; ``cost``
    is what a run under them costs.
    """

    directory: Path
    names: Sequence[str]
    grid_class: type[InProcessGrid] = InProcessGrid
    reads: RequestedTraining | None = None
    implies: ImpliedParameters | None = None
    cost: RunCost | None = None
    pods: dict[str, Pod] = field(init=False)
    nodes: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.pods = {name: self._pod(place, name) for place, name in enumerate(self.names)}
        self.nodes = {name: 100 + place for place, name in enumerate(self.names)}
        self.grid = self.grid_class(self._app(), {node: {"pod": name} for name, node in self.nodes.items()})

    def _pod(self, place: int, name: str) -> Pod:
        pinned = {other: identity(other).public_bytes for other in self.names if other != name}
        self.directory.mkdir(exist_ok=True, parents=True)
        ledger = Ledger(self.directory / f"{name}.db")
        owner = Owner(name, identity(name), pinned, ledger, Policy(minimum_cohort=2))
        base = (place + 1) / 16

        def update(size: int) -> npt.NDArray[np.float64]:
            return base + np.arange(size) % 64 / 1024

        return Pod(owner, update, examples=10 + place)

    def _app(self) -> ClientApp:
        app = ClientApp()
        masked = MaskedApp(app, lambda context: self.of(context).owner, self.reads, self.implies, cost=self.cost)

        @masked.train()
        def train(message: Message, context: Context) -> Message:
            pod = self.of(context)
            pod.trained += 1
            old = message.content.array_records["arrays"]["w"].numpy()
            arrays = ArrayRecord({"w": Array(old + pod.update(old.size))})
            metrics = MetricRecord({"num-examples": pod.examples, "loss": pod.loss})
            return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

        @masked.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            pod = self.of(context)
            metrics = MetricRecord({"num-examples": pod.examples, "hits": pod.hits})
            return Message(RecordDict({"metrics": metrics}), reply_to=message)

        return app

    def of(self, context: Context) -> Pod:
        """Return the pod that answers on a node."""
        return self.pods[str(context.node_config["pod"])]

    def change_owner(self, name: str, **changes: Any) -> None:
        """Change what a pod answers with: attributes of its owner, or terms of its policy."""
        owner = self.pods[name].owner
        terms = {term: changes.pop(term) for term in Policy.model_fields if term in changes}
        policy = Policy.model_validate(owner.policy.model_dump() | terms)
        self.pods[name].owner = replace(owner, policy=policy, **changes)

    def ask(self, name: str, message_type: str, content: RecordDict) -> RecordDict:
        """Send one message to one pod and return what it answers."""
        message = Message(content, dst_node_id=self.nodes[name], message_type=message_type)
        (reply,) = self.grid.send_and_receive([message])
        return reply.content


def exact_mean(pods: Mapping[str, Pod], names: Sequence[str], size: int = SIZE) -> list[float]:
    """Return the example-weighted mean of the named pods' updates, computed in fractions."""
    total = sum(pods[name].examples for name in names)
    updates = {name: pods[name].update(size) for name in names}
    return [
        float(sum(Fraction(float(updates[name][k])) * pods[name].examples for name in names) / total)
        for k in range(size)
    ]
