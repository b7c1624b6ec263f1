"""The cohort as the server sees it: who answered the hello, who approves whom, and why a cohort cannot be formed."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from flwr.app import RecordDict

from fl_app.errors import RunFailed
from fl_app.flower import records
from fl_app.flower.names import HELLO_MESSAGE, ROSTER_MESSAGE
from fl_app.secagg.aggregator import Aggregator
from fl_app.secagg.errors import MalformedMessage, ProtocolError
from fl_app.secagg.messages import Hello
from fl_app.secagg.roster import verify_hello
from strategies.polling import Exchange, Reply

Watch = Callable[[str, Sequence[str]], None]
"""Is told of which trip the server waits for which pods: ``watch("train", ["hospital-b"])``."""


class CohortRefused(RunFailed):
    """The requested pods do not form a cohort: one refuses, is missing, or shows a wrong key.

    Attributes
    ----------
    reasons : tuple of str
        One line for each pod that stands in the way.
    approvals : mapping of name to names
        For each pod that answered, the requested pods it approves.
    requested : tuple of str
        The pods requested.
    lost : tuple of str
        The pods that agreed to the hello and failed at the roster, where that is how far it came.
    """

    def __init__(
        self,
        reasons: Sequence[str],
        requested: Sequence[str],
        approvals: Mapping[str, Sequence[str]] | None = None,
        lost: Sequence[str] = (),
    ) -> None:
        self.reasons, self.requested, self.lost = tuple(reasons), tuple(requested), tuple(lost)
        self.approvals = {name: tuple(found) for name, found in (approvals or {}).items()}
        super().__init__("no cohort: " + "; ".join(self.reasons))

    def matrix(self) -> list[list[str]]:
        """Return the `approval_matrix` of the requested pods."""
        return approval_matrix(self.requested, self.approvals)


def approval_matrix(pods: Sequence[str], approvals: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Return who approves whom as rows of text: a header, then one row for each pod.

    Parameters
    ----------
    pods
        Names, in the order of rows and columns.
    approvals
        For each pod that answered, the pods it approves.

    Returns
    -------
    list of rows
        A cell is "yes" or "no", "?" where the row's pod did not answer, and "-" on the diagonal.
    """

    def cell(pod: str, other: str) -> str:
        if other == pod:
            return "-"
        if pod not in approvals:
            return "?"
        return "yes" if other in approvals[pod] else "no"

    return [["approves", *pods], *([pod, *(cell(pod, other) for other in pods)] for pod in pods)]


@dataclass(frozen=True)
class Cohort:
    """Pods that answered the hello: their nodes, and what each published.

    ``foreign`` holds, for each whose node's key is registered under another name than the pod's, a line that says so.
    """

    nodes: dict[str, int]
    hellos: dict[str, Hello]
    schemas: dict[str, str]
    approvals: dict[str, tuple[str, ...]]
    foreign: dict[str, str] = field(default_factory=dict)
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def check_names(self) -> None:
        """Raise `CohortRefused` if a node says that it is a pod under whose name it is not registered."""
        if self.foreign:
            raise CohortRefused(list(self.foreign.values()), list(self.nodes), self.approvals, list(self.foreign))


@dataclass
class _Answers:
    """What has come in while the hello is under way.

    ``registered`` tells under which names nodes are registered. What a node says in another's name is kept in
    ``foreign`` and counts only while that pod's own node says nothing.
    """

    registered: Mapping[int, str]

    hellos: dict[str, tuple[int, Hello, records.Published]] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    approvals: dict[str, tuple[str, ...]] = field(default_factory=dict)
    bystanders: set[str] = field(default_factory=set)
    strays: list[str] = field(default_factory=list)
    foreign: dict[str, tuple[int, Hello, records.Published]] = field(default_factory=dict)

    def take(self, reply: Reply, aggregator: Aggregator) -> None:
        """Sort one reply in."""
        requested = aggregator.parameters.pods
        if reply.content is None:
            name = self.registered.get(reply.node)
            node = f"the node registered as '{name}'" if name else "a node"
            self.strays.append(f"{node} could not answer: {reply.failure}")
            return
        try:
            said = records.take(reply.content, Hello, records.Bystander, records.Refusal)
            if isinstance(said, records.Bystander):
                self.bystanders.add(said.name)
            elif isinstance(said, records.Refusal) and (said.name not in requested or self._foreign(reply, said.name)):
                self.strays.append(said.text)
            elif isinstance(said, records.Refusal):
                self.refusals[said.name] = said.text
                self.approvals[said.name] = said.approves
            elif isinstance(said, Hello) and said.name in requested and self._is_good(said, aggregator):
                published = records.Published.from_bytes(said.published)
                if self._foreign(reply, said.name):
                    self.foreign.setdefault(said.name, (reply.node, said, published))
                    return
                if said.name in self.hellos:
                    self.refusals[said.name] = f"two nodes answer as pod '{said.name}'"
                self.hellos[said.name] = (reply.node, said, published)
                self.approvals[said.name] = published.approves
        except ProtocolError as error:
            self.strays.append(f"a node sent what is not an answer: {error}")

    def settled(self, waiting: Collection[int]) -> set[str]:
        """Return the pods from which nothing more is to come; ``waiting`` are the nodes that have yet to answer."""
        expected = {self.registered.get(node) for node in waiting}
        return self.hellos.keys() | self.refusals.keys() | (self.foreign.keys() - expected)

    def admit_foreign(self) -> dict[str, str]:
        """Let in the nodes that speak for pods not heard of: the others shall see their keys. Return what is wrong."""
        wrong = {}
        for name, (node, said, published) in self.foreign.items():
            if name not in self.hellos and name not in self.refusals:
                self.hellos[name] = (node, said, published)
                self.approvals[name] = published.approves
                wrong[name] = (
                    f"the node registered as '{self.registered[node]}' says that it is pod '{name}': "
                    "the pod's own node is not there, and another may not take its name"
                )
        return wrong

    def _foreign(self, reply: Reply, name: str) -> bool:
        return self.registered.get(reply.node, name) != name

    def reasons(self, requested: Sequence[str], timeout: float) -> list[str]:
        """Return why the cohort does not form: every refusal, and who is missing."""
        found = list(self.refusals.values())
        if missing := [name for name in requested if name not in self.hellos and name not in self.refusals]:
            online = ", ".join(sorted(self.bystanders | self.hellos.keys())) or "none"
            found.append(f"{_listed(missing)} did not answer within {timeout:.0f} seconds (online: {online})")
            found += self.strays
        return found

    @staticmethod
    def _is_good(hello: Hello, aggregator: Aggregator) -> bool:
        verify_hello(hello)
        if hello.session != aggregator.session or hello.parameters != aggregator.parameters.digest():
            raise MalformedMessage(f"pod '{hello.name}' answered for another session or other parameters")
        return True


def say_hello(
    exchange: Exchange,
    aggregator: Aggregator,
    *,
    secure: bool,
    timeout: float,
    least: int | None = None,
    poll: float = 0.1,
    watch: Watch | None = None,
    without: Mapping[str, int] = MappingProxyType({}),
) -> Cohort:
    """Ask every node, as they connect, until all requested pods have answered or ``timeout`` seconds are over.

    Parameters
    ----------
    least : int or None
        Fewest pods that make a cohort; None: every requested pod is needed, and one that refuses ends it at once.
    watch : callable
        Called at each look with "hello" and the pods that have yet to answer.
    without : mapping of name to node id
        Pods that are not asked.

    Raises
    ------
    CohortRefused
        If fewer answer and agree.
    """
    requested = aggregator.parameters.pods
    request = records.put(RecordDict(), records.HelloRequest(aggregator.session, aggregator.parameters, secure))
    answers, asked, waiting = _Answers(exchange.registered), set(without.values()), dict[str, int]()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        new = exchange.nodes() - asked
        asked |= new
        left = max(1.0, deadline - time.monotonic())
        waiting |= exchange.send(dict.fromkeys(new, request), HELLO_MESSAGE, left)
        for reply in exchange.receive(waiting):
            answers.take(reply, aggregator)
        if set(requested) <= answers.settled(waiting.values()) | without.keys():
            break
        if watch:
            said = answers.settled(waiting.values()) | without.keys()
            watch("hello", [name for name in requested if name not in said])
        time.sleep(poll)
    foreign = answers.admit_foreign()
    agreed = [name for name in requested if name in answers.hellos and name not in answers.refusals]
    if len(agreed) < (len(requested) if least is None else least):
        raise CohortRefused(answers.reasons(requested, timeout), requested, answers.approvals)
    return Cohort(
        nodes={name: answers.hellos[name][0] for name in agreed},
        hellos={name: answers.hellos[name][1] for name in agreed},
        schemas={name: answers.hellos[name][2].schema for name in agreed},
        approvals=answers.approvals,
        foreign=foreign,
        versions={name: answers.hellos[name][2].versions for name in agreed},
    )


def exchange_shares(
    exchange: Exchange, aggregator: Aggregator, cohort: Cohort, timeout: float, watch: Watch | None = None
) -> None:
    """Send the roster to all, and take from each its sealed shares for the others; ``watch``: see `say_hello`.

    Raises
    ------
    CohortRefused
        If a pod refuses the roster or does not answer in time, or if a node has taken a pod's name.
    """
    roster = aggregator.make_roster(list(cohort.hellos.values()))
    names = {node: name for name, node in cohort.nodes.items()}
    request = records.put(RecordDict(), records.RosterRequest(roster.hellos))
    reasons = dict[str, str]()
    waited_for = names_of(names, "roster", watch)
    for reply in exchange.ask(dict.fromkeys(names, request), ROSTER_MESSAGE, timeout, watch=waited_for):
        name = names[reply.node]
        if refused := reply.refusal():
            reasons[name] = refused.text
        elif reply.content is None:
            reasons[name] = f"pod '{name}': {reply.failure}"
        else:
            try:
                aggregator.take_shares(name, records.take(reply.content, records.RosterReply).shares)
            except ProtocolError as error:
                reasons[name] = f"pod '{name}': {error}"
    if cohort.foreign:  # only now: the pods have seen the roster too, and what they said of it is in their ledgers
        said = [text for text in reasons.values() if text not in cohort.foreign.values()]
        raise CohortRefused(
            [*cohort.foreign.values(), *said], roster.names, cohort.approvals, list({**cohort.foreign, **reasons})
        )
    if reasons:
        raise CohortRefused(list(reasons.values()), roster.names, cohort.approvals, list(reasons))


def names_of(names: Mapping[int, str], trip: str, watch: Watch | None) -> Callable[[Collection[int]], None] | None:
    """Return what tells ``watch`` of the nodes waited for in one trip by their pods' names."""
    return (lambda nodes: watch(trip, [names[node] for node in nodes])) if watch else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"pod '{name}'" for name in names)
