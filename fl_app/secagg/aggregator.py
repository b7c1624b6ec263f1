"""The server's side of a session: it makes the roster, passes shares on, sums masked vectors and decodes the sum."""

import secrets
from collections.abc import Sequence

from fl_app.secagg.errors import AggregateRefused, RosterRefused, ShareRefused
from fl_app.secagg.field import Words
from fl_app.secagg.fixed_point import Aggregate, decode
from fl_app.secagg.identity import verify
from fl_app.secagg.masking import Sum, check_vector
from fl_app.secagg.messages import Hello, Parameters, SealedShare, Step
from fl_app.secagg.roster import Roster, verify_hello
from fl_app.secagg.session import label, layout_for, reply_statement


class Aggregator:
    """One session as the server sees it: public keys, sealed shares and sums.

    Parameters
    ----------
    parameters : Parameters
        Fixed for the session.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.session = secrets.token_bytes(32)
        self._roster: Roster | None = None
        self._shares: dict[str, dict[str, SealedShare]] = {}

    @property
    def roster(self) -> Roster:
        """The roster, once `make_roster` has made it."""
        if self._roster is None:
            raise RosterRefused("the session has no roster yet")
        return self._roster

    def make_roster(self, hellos: Sequence[Hello]) -> Roster:
        """Put the pods' hellos into the roster; a hello for another session or unsigned is refused by name."""
        for hello in hellos:
            verify_hello(hello)
            if hello.session != self.session or hello.parameters != self.parameters.digest():
                raise RosterRefused(f"pod '{hello.name}' answered for another session or other parameters")
        self._roster = Roster.of(hellos)
        return self._roster

    def take_shares(self, sender: str, shares: Sequence[SealedShare]) -> None:
        """Keep the sealed shares of one pod until they are passed on."""
        wanted = {hello.name for hello in self.roster.neighbours(sender)}
        if {share.receiver for share in shares} != wanted or any(share.sender != sender for share in shares):
            raise ShareRefused(f"pod '{sender}' did not send exactly one share for each neighbour")
        self._shares[sender] = {share.receiver: share for share in shares}

    def shares_for(self, receiver: str) -> list[SealedShare]:
        """Return the sealed shares meant for one pod, in the roster's order."""
        return [self._shares[hello.name][receiver] for hello in self.roster.neighbours(receiver)]

    def collect(self, step: Step, request: bytes) -> "Collection":
        """Return the place where the masked vectors of one step are summed."""
        return Collection(self, step, request)


class Collection:
    """The masked vectors of one step, summed as they come in.

    Parameters
    ----------
    aggregator : Aggregator
        The session.
    step : Step
        The step.
    request : bytes
        Digest of the common request, as the pods compute it from what they received.
    """

    def __init__(self, aggregator: Aggregator, step: Step, request: bytes) -> None:
        self._roster = aggregator.roster
        self.layout = layout_for(aggregator.parameters, step, len(self._roster.hellos))
        self._label = label(self._roster, step, request)
        self._sum = Sum(self.layout.field, self.layout.length)
        self.received: set[str] = set()

    def add(self, sender: str, vector: Words, signature: bytes) -> None:
        """Add the vector of one pod; raises a `ProtocolError` naming the pod if it is not to be used."""
        if sender in self.received or sender not in self._roster.names:
            raise AggregateRefused(f"a vector of pod '{sender}' came twice or from outside the roster")
        check_vector(self.layout, vector, sender)
        key = self._roster.hellos[self._roster.position(sender)].identity_key
        verify(key, signature, reply_statement(self._label, sender, vector), sender)
        self._sum.add(vector)
        self.received.add(sender)

    def missing(self) -> tuple[str, ...]:
        """Return the pods whose vectors have not come, in the roster's order."""
        return tuple(name for name in self._roster.names if name not in self.received)

    def result(self) -> Aggregate:
        """Decode the sum of the whole cohort; raises `AggregateRefused` if a pod is missing or a check fails."""
        if self.missing():
            raise AggregateRefused(f"the sum lacks the vectors of {', '.join(self.missing())}")
        return decode(self.layout, self._sum.centred())
