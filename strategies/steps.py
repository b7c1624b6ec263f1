"""One step as the server runs it: the same request to every pod, vectors summed as they come, one aggregate."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flwr.app import RecordDict

from fl_app.errors import RunFailed
from fl_app.flower import records
from fl_app.flower.names import MASKED_MESSAGES, PLAIN_MESSAGES, SURVIVORS_MESSAGE, UNMASK_MESSAGE
from fl_app.flower.packing import packed
from fl_app.flower.protocol_settings import Timing
from fl_app.replica.state import Replica
from fl_app.secagg.aggregator import Aggregator, Collection
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.errors import AlreadyAnswered, ProtocolError
from fl_app.secagg.field import Words
from fl_app.secagg.messages import Proof, Step, UnmaskReply, Witness
from fl_app.system.printable import one_line
from strategies.cohort import Cohort
from strategies.polling import Exchange, MadeWhenAsked, OnWait, Quorum, payload_bytes
from strategies.sums import MaskedSum, PlainSum, StepSum

_CONSISTENCY, _UNMASK = "consistency", "unmask"
"""The small trips after the vectors."""


@dataclass(frozen=True)
class Loss:
    """At which trip a pod was lost ("train", "consistency", "unmask"...), and what is known of why.

    ``code`` names the check that failed where the pod itself refused; see `fl_app.secagg.errors`.
    """

    step: str
    why: str
    code: str = ""


class StepFailed(RunFailed):
    """A step could not be completed; ``lost`` says of each pod in the way why. The model stays as it was."""

    def __init__(self, kind: str, round: int, lost: Mapping[str, Loss], why: str = "") -> None:
        self.lost = dict(lost)
        reasons = [*(loss.why for loss in lost.values()), *([why] if why else [])]
        super().__init__(f"the '{kind}' step of round {round} failed: {'; '.join(reasons)}")

    @property
    def spent(self) -> bool:
        """Whether it failed only because pods had answered this round before, in a run that this one resumes."""
        return bool(self.lost) and all(loss.code == AlreadyAnswered.code for loss in self.lost.values())


@dataclass(frozen=True)
class StepResult:
    """A completed step: the aggregate over ``pods``, and of each pod that was lost, at which trip and why.

    ``proof`` is what proves the sum to the pods of a verified session, and that sum.
    """

    aggregate: Aggregate
    pods: tuple[str, ...]
    lost: dict[str, Loss]
    proof: tuple[Proof, Words] | None = None


@dataclass
class Traffic:
    """What one kind of trip has cost so far: messages and payload bytes in both directions, and seconds."""

    messages: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    seconds: list[float] = field(default_factory=list)


class Steps:
    """Runs the steps of one session.

    Parameters
    ----------
    exchange : Exchange
        Sends and receives.
    aggregator : Aggregator
        The session.
    cohort : Cohort
        The pods and their nodes.
    secure : bool
        Whether vectors are masked; if not, pods send their values in the clear (their owners' policy permitting).
    timing : Timing
        Of it, ``grace`` and ``unmask`` apply here.
    traffic : dict
        The cost of each kind of trip so far, which grows with each step.
    on_wait : callable
        Called with a trip and the pods whose replies are outstanding.
    """

    def __init__(
        self,
        exchange: Exchange,
        aggregator: Aggregator,
        cohort: Cohort,
        *,
        secure: bool,
        timing: Timing,
        traffic: dict[str, Traffic],
        on_wait: OnWait,
    ) -> None:
        self._exchange, self._aggregator, self._cohort = exchange, aggregator, cohort
        self._secure, self._timing, self._on_wait = secure, timing, on_wait
        self._names = {node: name for name, node in cohort.nodes.items()}
        self._delivered: set[str] = set()
        self._traffic = traffic

    def run(
        self,
        kind: str,
        round: int,
        content: RecordDict,
        sizes: Mapping[str, int],
        timeout: float,
        replica: Replica | None = None,
    ) -> StepResult:
        """Send ``content`` to every pod as one step and return the decoded sum.

        Parameters
        ----------
        kind : str
            "statistics", "train" or "evaluate".
        round : int
            1 to the declared number.
        sizes : mapping
            Elements of each declared class; 1 where it is not named.
        timeout : float
            Seconds for the pods' answers.
        replica : Replica or None
            The replica on which the step is asked, in a verified session; a pod that lacks it is sent it.

        Raises
        ------
        StepFailed
            If more pods refuse, fail, are late or send what is not their vector than the threshold allows, or the
            sum fails its checks.
        """
        classes = self._aggregator.parameters.step(kind).classes
        names = tuple(c.name for c in classes)
        step = Step(self._aggregator.session, kind, round, names, tuple(sizes.get(name, 1) for name in names))
        request = records.put(RecordDict(dict(content)), step)
        travelling = packed(request)
        contents = {node: self._addressed(travelling, name, replica) for node, name in self._names.items()}
        if self._secure:
            total: StepSum = MaskedSum(self._aggregator, step, request, replica.digest if replica else b"")
            message_type, quorum = MASKED_MESSAGES[kind], Quorum(self._aggregator.threshold, self._timing.grace)
        else:
            total, message_type, quorum = PlainSum(classes, step.sizes), PLAIN_MESSAGES[kind], None
        lost = self._ask(kind, contents, message_type, total.add, timeout, quorum)
        self._delivered |= set(self._cohort.nodes) - set(lost)
        if lost and not total.survives():
            raise StepFailed(kind, round, lost)
        try:
            if isinstance(total, MaskedSum) and total.collection.unmasks:
                is_last = self._aggregator.parameters.is_last(kind, round)
                lost |= self._unmask(total.collection, lost, min(timeout, self._timing.unmask), everyone=is_last)
            aggregate, proof = total.result(), total.proof()
        except ProtocolError as error:
            raise StepFailed(kind, round, lost, str(error)) from error
        return StepResult(aggregate, tuple(name for name in self._cohort.nodes if name not in lost), lost, proof)

    def _unmask(
        self, collection: Collection, lost: Mapping[str, Loss], timeout: float, *, everyone: bool
    ) -> dict[str, Loss]:
        """Have survivors open what the sum needs, after a loss with a signed list of them; returns who is lost."""
        nodes = {node: name for node, name in self._names.items() if name in collection.survivors}
        if lost:
            request = records.put(RecordDict(), collection.survivors_request())

            def take_witness(name: str, content: RecordDict) -> None:
                collection.take_witness(name, records.take(content, Witness))

            self._ask(_CONSISTENCY, dict.fromkeys(nodes, request), SURVIVORS_MESSAGE, take_witness, timeout)
        requests = MadeWhenAsked(nodes, lambda name: records.put(RecordDict(), collection.unmask_request(name)))

        def take_reveal(name: str, content: RecordDict) -> None:
            collection.take_reveal(name, records.take(content, UnmaskReply))

        if lost:
            return self._ask(_UNMASK, requests, UNMASK_MESSAGE, take_reveal, timeout)
        # The sum is whole, so a threshold of answers is enough: as many are asked, and the others only if one is late.
        # In the last step all are, or they would go on remembering the session's secrets.
        asked_first = None if everyone else collection.threshold
        quorum = Quorum(collection.threshold, asked_first=asked_first, hold=self._timing.grace)
        silent = self._ask(_UNMASK, requests, UNMASK_MESSAGE, take_reveal, timeout, quorum)
        return {} if collection.unmasked else silent

    def _ask(
        self,
        trip: str,
        contents: Mapping[int, RecordDict],
        message_type: str,
        take: Callable[[str, RecordDict], None],
        timeout: float,
        quorum: Quorum | None = None,
    ) -> dict[str, Loss]:
        """Ask, pass each good reply to ``take``, count the traffic; returns why each other pod gave none."""
        started = time.monotonic()
        traffic, lost = self._traffic.setdefault(trip, Traffic()), dict[str, Loss]()
        replies = self._exchange.ask(
            contents,
            message_type,
            timeout,
            quorum,
            lambda nodes: self._on_wait(trip, [self._names[node] for node in nodes]),
        )
        for reply in replies:
            name = self._names[reply.node]
            traffic.messages += 1
            traffic.bytes_out += payload_bytes(contents[reply.node])
            traffic.bytes_in += payload_bytes(reply.content) if reply.content is not None else 0
            if refused := reply.refusal():
                lost[name] = Loss(trip, refused.text, refused.code)
            elif reply.content is None:
                lost[name] = Loss(trip, f"pod '{name}': {reply.failure}")
            else:
                try:
                    take(name, reply.content)
                except ProtocolError as error:
                    lost[name] = Loss(trip, one_line(error))
            del reply  # with the vector that it carries, before the next one comes
        traffic.seconds.append(time.monotonic() - started)
        return lost

    def _addressed(self, request: RecordDict, name: str, replica: Replica | None) -> RecordDict:
        """Return the request with what one pod lacks, until it has been delivered: sealed shares, and the replica."""
        if not self._secure or name in self._delivered:
            return request
        addressed = records.put_shares(request, self._aggregator.shares_for(name))
        if replica and replica.place and self._cohort.hellos[name].followed != replica.digest:
            addressed = records.put_replica(addressed, replica.to_bytes())
        return addressed
