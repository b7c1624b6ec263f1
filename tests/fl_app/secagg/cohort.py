"""A cohort without a network: seeded identities, ledgers in memory and one session, for tests to bend."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_app.secagg.aggregator import Aggregator, Collection
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.crypto import HELLO, statement
from fl_app.secagg.errors import AlreadyAnswered, SumRefused
from fl_app.secagg.field import FIELD_61
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import ElementClass, Hello, MaskedReply, Parameters, Proof, Step, StepPlan
from fl_app.secagg.pod_session import PodSession
from fl_app.secagg.roster import CohortPolicy, Roster
from fl_app.secagg.unmasking import unmask, witness
from fl_app.secagg.verified_sum import Pending, check_sum

RUN = "run-7"
REQUEST = hashlib.sha256(b"the whole common request").digest()
FOLLOWED = hashlib.sha256(b"what the pods of a verified session have followed").digest()
CLASSES = (ElementClass("update", "update", 8.0), ElementClass("loss", "mean", 64.0), ElementClass("n", "count", 1e4))
Values = Mapping[str, npt.NDArray[Any]]


class Identity:
    """An Ed25519 key that follows from a name."""

    def __init__(self, name: str) -> None:
        self.secret = hashlib.sha256(f"identity of {name}".encode()).digest()
        self._key = Ed25519PrivateKey.from_private_bytes(self.secret)

    @property
    def public_bytes(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class MemoryLedger:
    """The least a session asks of a ledger: one beginning and one answer per (run, kind, round)."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, int]] = []
        self.answers: list[tuple[str, str, int]] = []

    def enter_begin(self, account: Account, kind: str, round: int, label: bytes, head: bytes) -> bytes:
        self._once(self.begun, (account.run, kind, round))
        return b"head"

    def enter_answer(self, account: Account, kind: str, round: int, label: bytes, head: bytes, size: int) -> bytes:
        self._once(self.answers, (account.run, kind, round))
        return b"head of " + label

    def enter_survivors(self, account: Account, event: str, label: bytes, head: bytes, size: int) -> bytes:
        return b"head of survivors"

    def _once(self, entered: list[tuple[str, str, int]], step: tuple[str, str, int]) -> None:
        if step in entered:
            raise AlreadyAnswered("answered before")
        entered.append(step)


def parameters(names: Sequence[str], **changes: Any) -> Parameters:
    """Return parameters for a complete cohort of ``names``: three training rounds, one of statistics."""
    plans = (StepPlan("statistics", 1, (ElementClass("s", "sum", 50.0),)), StepPlan("train", 3, CLASSES))
    whole = Parameters(RUN, RUN, "", b"", FIELD_61.prime, tuple(names), len(names), 1000, "examples", plans, False)
    return replace(whole, **changes)


def signed(hello: Hello, signer: Identity) -> Hello:
    """Return ``hello`` with a good signature by ``signer``."""
    message = statement(HELLO, hello.session, hello.name, "", hello.unsigned())
    return replace(hello, signature=signer.sign(message))


def policy_of(name: str, names: Sequence[str], **changes: Any) -> CohortPolicy:
    """Return a policy that approves ``names`` by their own keys."""
    pinned = {other: Identity(other).public_bytes for other in names if other != name}
    return replace(CohortPolicy(pinned, minimum_cohort=2), **changes)


class World:
    """One session of a complete cohort, up to delivered shares; ``sessions`` may be replaced on the way."""

    def __init__(self, names: Sequence[str] = ("a", "b", "c"), *, deliver: bool = True, **changes: Any) -> None:
        self.names = tuple(names)
        self.parameters = parameters(names, **changes)
        self.followed = FOLLOWED if self.parameters.verified else b""
        self.identities = {name: Identity(name) for name in names}
        self.ledgers = {name: MemoryLedger() for name in names}
        self.aggregator = Aggregator(self.parameters)
        self.sessions = {
            name: PodSession.open(name, self.identities[name], self.aggregator.session, self.parameters, bytes(32), b"")
            for name in names
        }
        self.roster: Roster = self.aggregator.make_roster([session.own for session in self.sessions.values()])
        for name in names:
            policy = policy_of(name, names)
            self.sessions[name] = self.sessions[name].accept_roster(self.roster.hellos, self.identities[name], policy)
            self.aggregator.take_shares(name, self.sessions[name].sealed)
        if deliver:
            for name in names:
                self.deliver(name)

    def deliver(self, name: str) -> None:
        self.sessions[name] = self.sessions[name].accept_shares(self.aggregator.shares_for(name))

    def step(self, size: int = 5, round: int = 1) -> Step:
        return Step(self.aggregator.session, "train", round, ("update", "loss", "n"), (size, 1, 2))

    def collect(self, step: Step, request: bytes = REQUEST) -> Collection:
        return self.aggregator.collect(step, request, self.followed)

    def answer(
        self, name: str, step: Step, values: Values | None = None, weight: int = 10, request: bytes = REQUEST
    ) -> tuple[npt.NDArray[Any], MaskedReply]:
        """Return the masked vector and reply of one pod, its state moved on."""
        values = constant(step) if values is None else values
        ledger, signer = self.ledgers[name], self.identities[name]
        self.sessions[name] = begun = self.sessions[name].begin(step, request, ledger, self.followed)
        self.sessions[name], vector, reply = begun.mask(step, request, weight, values, ledger, signer, self.followed)
        return vector, reply

    def unmask(self, collection: Collection) -> None:
        """Have the survivors of a step open what its sum still holds, after their witness if some pod was lost."""
        for name in collection.survivors if collection.lost else ():
            self.sessions[name], signed = witness(
                self.sessions[name], collection.survivors_request(), *self._terms(name)
            )
            collection.take_witness(name, signed)
        for name in collection.survivors:
            self.sessions[name], opened = unmask(
                self.sessions[name], collection.unmask_request(name), *self._terms(name)
            )
            collection.take_reveal(name, opened)

    def _terms(self, name: str) -> tuple[CohortPolicy, MemoryLedger, Identity]:
        return policy_of(name, self.names), self.ledgers[name], self.identities[name]

    def sum(self, step: Step, values: Mapping[str, Values], weights: Mapping[str, int]) -> Aggregate:
        """Run one whole step and return its aggregate."""
        collection = self.collect(step)
        for name in self.names:
            collection.add(name, *self.answer(name, step, values[name], weights[name]))
        return collection.result()


def constant(step: Step, value: float = 0.5) -> dict[str, npt.NDArray[Any]]:
    """Return values for a training step, the same everywhere."""
    return {"update": np.full(step.sizes[0], value), "loss": np.array([value]), "n": np.array([3, 4])}


def refusal(pending: Pending, proof: Proof, words: npt.NDArray[Any]) -> str:
    """Return why a pod refuses the proof of a sum, "" if it takes it."""
    try:
        check_sum(pending, proof, words)
    except SumRefused as error:
        return str(error)
    return ""
