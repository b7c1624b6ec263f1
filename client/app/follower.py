"""A pod's own course through a verified session: what it believes of the run is what it has made itself.

The server's part is to prove sums and, to a pod that was away, to pass on the replica that the others have stated the
digest of in their signed hellos. All else that a handler is given comes from the pod's replica.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flwr.app import ArrayRecord, RecordDict

from client.app.call import Call
from client.app.policy_checks import bound_settings
from client.app.replica_store import ReplicaStore
from fl_app.errors import FlAppError
from fl_app.flower import names, records
from fl_app.replica.rule import Rule, requested_model
from fl_app.replica.state import NOTHING, Replica, model_digest
from fl_app.secagg.errors import MalformedMessage, PolicyRefused, RosterRefused, SessionRefused, SumRefused
from fl_app.secagg.messages import Hello, Parameters, Step
from fl_app.secagg.pod_session import PodSession
from fl_app.secagg.verified_sum import check_sum

FOLLOWED = "followed"
"""The ledger's event: a sum was verified, or a replica taken over that the other pods vouch for."""
_ASKED: Mapping[str, frozenset[str]] = {
    names.STATISTICS: frozenset({names.COHORT_RECORD}),
    names.TRAIN: frozenset({names.COHORT_RECORD}),
    names.EVALUATE: frozenset({names.CONFIG_RECORD, names.ARRAYS_RECORD}),
}
"""The records that a request may hold beside its head and what is checked apart. Each is checked, and none of them
reaches a handler as it came."""


@dataclass
class Follower:
    """The replica of a series at one pod, and how it moves on.

    Attributes
    ----------
    rule : Rule
        The app's.
    call : Call
        The message that is answered.
    series : str
        The series.
    settings : str
        The run's settings, as the session binds them.
    """

    rule: Rule
    call: Call
    series: str
    settings: str

    @classmethod
    def of(cls, rule: Rule, call: Call, parameters: Parameters) -> "Follower":
        """Return the follower of a session's series; raises `SessionRefused` if the session binds no settings."""
        settings = bound_settings(parameters)
        if settings is None:
            raise SessionRefused("a verified session must bind the settings of its run")
        return cls(rule, call, parameters.series, settings)

    @cached_property
    def _store(self) -> ReplicaStore:
        return ReplicaStore(self.call.owner.replicas, self.series)

    def stated(self) -> tuple[int, bytes]:
        """Return the place and the digest that the pod states in its hello."""
        replica, _ = self._store.load()
        return (replica.place, replica.digest) if replica.place else (0, NOTHING)

    def take_proof(self, content: RecordDict) -> None:
        """Check the sum that the server proves, if it proves the one that this pod waits for, and move on by it.

        Raises
        ------
        SumRefused
            If the server proves another sum than that of the pods' answers. The pod takes no further part in the run.
        """
        given, pending = records.take_proof(content), self._store.pending()
        replica, label = self._store.load()
        if pending is not None and pending.label == label:  # it was followed, and the pod killed right then
            self._store.forget_pending()
            return
        if given is None or pending is None or given[0].label == label:
            return
        answered = pending.kind, pending.round
        try:
            sums = check_sum(pending, *given)
        except SumRefused:
            self.call.kind, self.call.round = answered  # it is this step that has failed
            raise
        self._move(self.rule.after(self.settings, replica, *answered, sums), pending.label, *answered)

    def check_roster(self, hellos: Sequence[Hello]) -> None:
        """Raise `RosterRefused` unless all pods that have followed the series furthest have followed the same."""
        self._vouched(hellos)

    def prepare(self, content: RecordDict, session: PodSession, step: Step) -> tuple[Replica, RecordDict]:
        """Return the replica on which a step is asked, and what the handlers are given for it.

        Raises
        ------
        ProtocolError
            If the request holds anything that the pod would have to believe, or the owner's terms are not met.
        """
        if unknown := set(content) - _ASKED[step.kind] - names.CHECKED_APART - {names.SECAGG_RECORD}:
            raise MalformedMessage(f"a request of a verified session holds '{min(unknown)}', which no pod asks for")
        hellos = session.joined().hellos
        self.take_proof(content)
        self._catch_up(content, hellos)
        self._store.forget_pending()  # of a step that the server has not proved: it did not come about
        pods = [hello.name for hello in hellos]
        replica = self._begun(content, hellos)
        if objection := self.rule.objection(replica, pods, self.call.owner.policy.minimum_cohort):
            raise PolicyRefused(f"pod '{self.call.owner.name}' takes no part: {objection}")
        sizes = self.rule.sizes(self.settings, replica, step.kind)
        if tuple(sizes.get(name, 1) for name in step.names) != step.sizes:
            raise SessionRefused("the step's vector is not of the size that follows from the run")
        return replica, self._asked(content, replica, step, pods)

    def expect(self, session: PodSession, step: Step) -> None:
        """Keep what the sum of the step just answered is to be checked by, unless it is the last."""
        if not session.parameters.is_last(step.kind, step.round):
            self._store.expect(session.pending(step))

    def _begun(self, content: RecordDict, hellos: Sequence[Hello]) -> Replica:
        """Return the replica; before the first step has come about, the one that the pods' hellos make."""
        replica, _ = self._store.load()
        if replica.place:
            return replica
        published = records.take_cohort(content, hellos)
        try:
            replica = self.rule.begin(self.settings, published)
        except FlAppError as error:  # it is about what all pods publish
            raise SessionRefused(f"no run can be made of what the pods publish: {error}") from error
        self._store.save(replica, b"")
        return replica

    def _catch_up(self, content: RecordDict, hellos: Sequence[Hello]) -> None:
        """Take over the replica that the other pods vouch for, if they have followed the series further."""
        place, vouched = self._vouched(hellos)
        if place <= self._store.load()[0].place:
            return
        # One pod that lies together with the server must not do: as many must vouch as the owner wants beside this one
        # in a sum, or the pod's own ledger.
        me, least = self.call.owner.name, self.call.owner.policy.minimum_cohort - 1
        vouching = [hello.name for hello in hellos if hello.followed == vouched and hello.name != me]
        if len(vouching) < least and self.call.owner.ledger.followed(self.series) != (place, vouched):
            raise SessionRefused(
                f"pod '{me}' takes over what at least {least} other pods have followed, and {len(vouching)} have this"
            )
        data = records.take_replica(content)
        if data is None:
            raise SessionRefused(f"pod '{me}' has not followed this run so far, and is sent no replica")
        given = Replica.from_bytes(data)
        if given.digest != vouched:
            raise SumRefused("the replica that the server sends is not the one that the other pods have followed")
        self._move(given, b"", "", 0)

    def _vouched(self, hellos: Sequence[Hello]) -> tuple[int, bytes]:
        """Return the furthest place in the series of all pods, and the digest there; the ledger vouches too."""
        stated = {(hello.place, hello.followed) for hello in hellos}
        stated.add(self.call.owner.ledger.followed(self.series))
        place = max(place for place, _ in stated)
        furthest = {known for there, known in stated if there == place}
        if len(furthest) > 1:
            raise RosterRefused("pods of this session have followed the series in different ways")
        return place, furthest.pop()

    def _move(self, replica: Replica, label: bytes, kind: str, number: int) -> None:
        detail = f"{replica.place}:{replica.digest.hex()}"
        self.call.owner.ledger.enter(self.call.account, FOLLOWED, kind, round=number, detail=detail)
        self._store.save(replica, label)

    def _asked(self, content: RecordDict, replica: Replica, step: Step, pods: Sequence[str]) -> RecordDict:
        """Return what the handlers are given: of the request at most the model of an earlier round, by its digest."""
        asked = self.rule.request(self.settings, replica, step.kind, step.round, pods)
        number = requested_model(content, step.kind, replica)
        arrays = content.get(names.ARRAYS_RECORD)
        if number is None:
            return asked
        if not isinstance(arrays, ArrayRecord):
            raise MalformedMessage("an evaluation of an earlier round came without its model")
        model = {name: records.array_of(array) for name, array in arrays.items()}
        if model_digest(model) != replica.history[number]:
            raise SumRefused(f"the model that the server sends is not that of round {number}")
        return RecordDict({**asked, names.ARRAYS_RECORD: arrays})
