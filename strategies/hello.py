"""The hello: the first message to every node. Pods answer with a key for the session, their schema and approvals."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from flwr.app import RecordDict

from fl_app.flower import records
from fl_app.flower.names import HELLO_MESSAGE
from fl_app.flower.packing import packed
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.errors import MalformedMessage, ProtocolError
from fl_app.secagg.field import Words
from fl_app.secagg.messages import Hello, Proof
from fl_app.secagg.roster import verify_hello
from strategies.cohort import Cohort, CohortRefused
from strategies.polling import Exchange, OnWait, Reply


def say_hello(
    exchange: Exchange,
    aggregator: Aggregator,
    *,
    secure: bool,
    timeout: float,
    at_least: int | None = None,
    on_wait: OnWait | None = None,
    without: Mapping[str, int] = MappingProxyType({}),
    proposal: str = "",
    proof: tuple[Proof, Words] | None = None,
) -> Cohort:
    """Ask every node, as it connects, until all requested pods have answered or ``timeout`` seconds are over.

    Parameters
    ----------
    at_least : int or None
        Fewest pods that make a cohort; None: every requested pod.
    on_wait : callable
        Called at each poll with "hello" and the pods that have yet to answer.
    without : mapping of name to node id
        Pods that are not asked.
    proposal : str
        What is proposed to the pods for what they publish.
    proof : pair or None
        The proof of the step that was completed last, and its sum, for the pods to follow before they answer.

    Raises
    ------
    CohortRefused
        If fewer answer and agree.
    """
    requested = aggregator.parameters.pods
    replies = HelloReplies(aggregator, exchange.registered, requested)
    for _, unanswered in poll_hellos(exchange, replies, secure, timeout, without.values(), proposal, proof):
        settled = replies.settled(unanswered) | without.keys()
        pending = [name for name in requested if name not in settled]
        if not pending:
            break
        if on_wait:
            on_wait("hello", pending)
    misnamed = replies.admit_misnamed()
    agreed = [name for name in requested if name in replies.hellos and name not in replies.refusals]
    if len(agreed) < (len(requested) if at_least is None else at_least):
        raise CohortRefused(replies.reasons(requested, timeout), requested, replies.approvals)
    return replies.cohort(agreed, misnamed)


def poll_hellos(
    exchange: Exchange,
    replies: "HelloReplies",
    secure: bool,
    timeout: float,
    without: Collection[int] = (),
    proposal: str = "",
    proof: tuple[Proof, Words] | None = None,
) -> Iterator[tuple[set[int], Collection[int]]]:
    """Send the hello to every node as it connects, and sort its reply in.

    Yields, after each poll, the nodes that have newly connected and those that have yet to answer.
    """
    session = replies.aggregator
    request = records.put(RecordDict(), records.HelloRequest(session.session, session.parameters, secure, proposal))
    if proof:
        request = packed(records.put_proof(request, *proof))
    asked, waiting = set(without), dict[str, int]()
    changed = time.monotonic()
    deadline = changed + timeout
    while time.monotonic() < deadline:
        new = exchange.nodes() - asked
        if new:
            asked, changed = asked | new, time.monotonic()
        left = max(1.0, deadline - time.monotonic())
        waiting |= exchange.send(dict.fromkeys(new, request), HELLO_MESSAGE, left)
        polled = time.monotonic()
        for reply in exchange.receive(waiting):
            replies.take(reply)
        yield new, waiting.values()
        exchange.pause(polled, changed)


class _Answer(NamedTuple):
    """A hello that was verified, the node that sent it, and what the pod publishes in it."""

    node: int
    hello: Hello
    published: records.Published


@dataclass
class HelloReplies:
    """The replies to a hello, sorted by the pod for which each speaks.

    Attributes
    ----------
    aggregator : Aggregator
        The session to which hellos must belong.
    registered : mapping of node id to name
        The names under which an authenticating SuperLink knows the nodes.
    requested : sequence of str or None
        The pods whose replies count; None: everyone's.
    hellos, refusals, approvals : dicts by pod
        What each pod answered.
    misnamed : dict by pod
        Hellos of nodes that are registered under another name; they count only while the pod's own node is silent.
    bystanders : set of str
        Pods that are connected and were not requested.
    unusable : list of str
        A line for each reply that speaks for no requested pod.
    """

    aggregator: Aggregator
    registered: Mapping[int, str]
    requested: Sequence[str] | None
    hellos: dict[str, _Answer] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    approvals: dict[str, tuple[str, ...]] = field(default_factory=dict)
    misnamed: dict[str, _Answer] = field(default_factory=dict)
    bystanders: set[str] = field(default_factory=set)
    unusable: list[str] = field(default_factory=list)

    def take(self, reply: Reply) -> None:
        """Sort one reply in."""
        if reply.content is None:
            name = self.registered.get(reply.node)
            node = f"the node registered as '{name}'" if name else "a node"
            self.unusable.append(f"{node} could not answer: {reply.failure}")
            return
        try:
            message = records.take(reply.content, Hello, records.Bystander, records.Refusal)
            if isinstance(message, records.Bystander):
                self.bystanders.add(message.name)
            elif isinstance(message, records.Refusal):
                self._take_refusal(reply.node, message)
            elif isinstance(message, Hello) and (self.requested is None or message.name in self.requested):
                self._take_hello(reply.node, message, reply.content)
        except ProtocolError as error:
            self.unusable.append(f"a node's reply to the hello cannot be used: {error}")

    def _take_refusal(self, node: int, refusal: records.Refusal) -> None:
        if refusal.name not in (self.requested or ()) or self._is_misnamed(node, refusal.name):
            self.unusable.append(refusal.text)
        else:
            self.refusals[refusal.name] = refusal.text
            self.approvals[refusal.name] = refusal.approves

    def _take_hello(self, node: int, hello: Hello, content: RecordDict) -> None:
        verify_hello(hello)
        session = self.aggregator
        if hello.session != session.session or hello.parameters != session.parameters.digest():
            raise MalformedMessage(f"pod '{hello.name}' answered for another session or other parameters")
        answer = _Answer(node, hello, records.take_published(content, hello))
        if self._is_misnamed(node, hello.name):
            self.misnamed.setdefault(hello.name, answer)
            return
        if hello.name in self.hellos:
            self.refusals[hello.name] = f"two nodes answer as pod '{hello.name}'"
        self.hellos[hello.name] = answer
        self.approvals[hello.name] = answer.published.approves

    def _is_misnamed(self, node: int, name: str) -> bool:
        return self.registered.get(node, name) != name

    def settled(self, unanswered: Collection[int]) -> set[str]:
        """Return the pods from which nothing more is to come; ``unanswered`` are the nodes that have yet to reply."""
        expected = {self.registered.get(node) for node in unanswered}
        return self.hellos.keys() | self.refusals.keys() | (self.misnamed.keys() - expected)

    def admit_misnamed(self) -> dict[str, str]:
        """Admit the misnamed hellos of silent pods, so that the others see their keys; returns the problems by pod."""
        problems = {}
        for name, answer in self.misnamed.items():
            if name not in self.hellos and name not in self.refusals:
                self.hellos[name] = answer
                self.approvals[name] = answer.published.approves
                problems[name] = (
                    f"the node registered as '{self.registered[answer.node]}' says that it is pod '{name}': "
                    "the pod's own node is not there, and another may not take its name"
                )
        return problems

    def reasons(self, requested: Sequence[str], timeout: float) -> list[str]:
        """Return why the cohort does not form: every refusal, and who is missing."""
        reasons = list(self.refusals.values())
        if missing := [name for name in requested if name not in self.hellos and name not in self.refusals]:
            online = ", ".join(sorted(self.bystanders | self.hellos.keys())) or "none"
            listed = ", ".join(f"pod '{name}'" for name in missing)
            reasons.append(f"{listed} did not answer within {timeout:.0f} seconds (online: {online})")
            reasons += self.unusable
        return reasons

    def cohort(self, names: Sequence[str], misnamed: dict[str, str]) -> Cohort:
        """Return the cohort of the pods ``names``, each of which has answered."""
        answers = {name: self.hellos[name] for name in names}
        return Cohort(
            nodes={name: answer.node for name, answer in answers.items()},
            hellos={name: answer.hello for name, answer in answers.items()},
            schemas={name: answer.published.schema for name, answer in answers.items()},
            approvals=self.approvals,
            versions={name: answer.published.versions for name, answer in answers.items()},
            misnamed=misnamed,
            published={name: answer.published for name, answer in answers.items()},
        )
