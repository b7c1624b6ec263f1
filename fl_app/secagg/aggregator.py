"""The server's side of a session: it makes the roster, passes shares on, sums masked vectors and decodes the sum."""

import secrets
from collections.abc import Sequence

from fl_app.secagg.binding import check_followed, label, layout_for, reply_statement, survivors_statement
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.crypto import UNMASK, box_bytes, statement, verify
from fl_app.secagg.errors import AggregateRefused, RosterRefused, ShareRefused
from fl_app.secagg.field import Words
from fl_app.secagg.keystream import SEED_BYTES
from fl_app.secagg.masking import Sum, check_vector
from fl_app.secagg.messages import (
    Hello,
    MaskedReply,
    Parameters,
    Proof,
    SealedShare,
    Step,
    SurvivorsRequest,
    UnmaskReply,
    UnmaskRequest,
    Witness,
)
from fl_app.secagg.roster import Roster, threshold_for, verify_hello
from fl_app.secagg.shamir import combine

_SHARE_BOX = box_bytes(SEED_BYTES)


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

    @property
    def threshold(self) -> int:
        """Answers needed for a sum of this session's roster."""
        return threshold_for(self.parameters.threshold, len(self.roster.hellos))

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
        wanted = sorted(hello.name for hello in self.roster.neighbours(sender))
        if sorted(share.receiver for share in shares) != wanted or any(share.sender != sender for share in shares):
            raise ShareRefused(f"pod '{sender}' did not send exactly one share for each neighbour")
        self._shares[sender] = {share.receiver: share for share in shares}

    def shares_for(self, receiver: str) -> list[SealedShare]:
        """Return the sealed shares meant for one pod, in the roster's order."""
        senders = [hello.name for hello in self.roster.neighbours(receiver)]
        if missing := [name for name in senders if name not in self._shares]:
            raise ShareRefused(f"no shares have come from {', '.join(missing)}")
        return [self._shares[name][receiver] for name in senders]

    def collect(self, step: Step, request: bytes, followed: bytes = b"") -> "Collection":
        """Return the place where the masked vectors of one step are summed."""
        return Collection(self, step, request, followed)


class Collection:
    """The masked vectors of one step, summed as they come in; where losses are allowed, also what unmasks the sum.

    Parameters
    ----------
    aggregator : Aggregator
        The session.
    step : Step
        The step.
    request : bytes
        Digest of the common request, as the pods compute it from what they received.
    followed : bytes
        In a verified session the digest of what the pods have followed, as they compute it themselves, 32 bytes.
    """

    def __init__(self, aggregator: Aggregator, step: Step, request: bytes, followed: bytes = b"") -> None:
        check_followed(aggregator.parameters, followed)
        self._session, self._roster, self.threshold = aggregator.session, aggregator.roster, aggregator.threshold
        self.layout = layout_for(aggregator.parameters, step, len(self._roster.hellos))
        self.label = label(self._roster, step, request, followed)
        self._verified = aggregator.parameters.verified
        self._words: Words | None = None
        self._sum = Sum(self.layout.field, self.layout.length)
        self._replies: dict[str, MaskedReply] = {}
        self._witnesses: dict[str, Witness] = {}
        self._reveals: dict[str, UnmaskReply] = {}

    def add(self, sender: str, vector: Words, reply: MaskedReply) -> None:
        """Add the vector of one pod; raises a `ProtocolError` naming the pod if it is not to be used."""
        if sender in self._replies or sender not in self._roster.names:
            raise AggregateRefused(f"a vector of pod '{sender}' came twice or from outside the roster")
        check_vector(self.layout, vector, sender)
        verify(self._key(sender), reply.signature, reply_statement(self.label, sender, vector, reply), sender)
        holders = self._roster.names if self.unmasks else ()
        if len(reply.shares) != len(holders):
            raise ShareRefused(f"pod '{sender}' did not send one share of its self mask for each pod")
        # A box that cannot be one would be found by its holder alone, which would then refuse to unmask: the step would
        # fail at the honest pod. Here it is its maker that is lost. What is in a box only its holder can tell.
        if any(len(boxed) != _SHARE_BOX for boxed in reply.shares):
            raise ShareRefused(f"pod '{sender}' sent a share of its self mask that is not {_SHARE_BOX} bytes long")
        # Last of all, since nothing can be taken out of a sum by name.
        try:
            self._sum.add(vector)
        except AggregateRefused as error:
            raise AggregateRefused(f"pod '{sender}' sent {error}") from error
        self._replies[sender] = reply

    @property
    def unmasks(self) -> bool:
        """Whether vectors carry self masks, so that the sum needs unmasking and survives losses."""
        return self.threshold < len(self._roster.hellos)

    @property
    def survivors(self) -> tuple[str, ...]:
        """The pods whose vectors are in the sum, in the roster's order."""
        return tuple(name for name in self._roster.names if name in self._replies)

    @property
    def lost(self) -> tuple[str, ...]:
        """The pods whose vectors are not in the sum, in the roster's order."""
        return tuple(name for name in self._roster.names if name not in self._replies)

    @property
    def unmasked(self) -> bool:
        """Whether enough has been revealed: by a threshold of pods, or after a loss by every survivor."""
        return len(self._reveals) >= (len(self.survivors) if self.lost else self.threshold)

    def survivors_request(self) -> SurvivorsRequest:
        """Return what the survivors are asked to sign after a loss."""
        return SurvivorsRequest(self._session, self.label, self.survivors)

    def take_witness(self, sender: str, witness: Witness) -> None:
        """Keep one pod's signature over the survivors."""
        if witness.name != sender:
            raise AggregateRefused(f"pod '{sender}' signed in another's name")
        verify(self._key(sender), witness.signature, survivors_statement(self.label, sender, self.survivors), sender)
        self._witnesses[sender] = witness

    def unmask_request(self, receiver: str) -> UnmaskRequest:
        """Return what one survivor is asked to open."""
        place = self._roster.position(receiver)
        shares = tuple(self._replies[name].shares[place] for name in self.survivors)
        return UnmaskRequest(self._session, self.label, self.survivors, shares, tuple(self._witnesses.values()))

    def take_reveal(self, sender: str, reveal: UnmaskReply) -> None:
        """Keep what one pod opened; raises a `ProtocolError` naming the pod if it is not to be used."""
        verify(self._key(sender), reveal.signature, statement(UNMASK, self.label, sender, "", reveal.content()), sender)
        sizes = [len(part) for part in (*reveal.self_shares, *reveal.pair_seeds)]
        counts = (len(reveal.self_shares), len(reveal.pair_seeds))
        if counts != (len(self.survivors), len(self.lost)) or any(size != SEED_BYTES for size in sizes):
            raise AggregateRefused(f"pod '{sender}' did not open what it was asked to")
        self._reveals[sender] = reveal

    def result(self) -> Aggregate:
        """Decode the sum of the survivors.

        Raises
        ------
        AggregateRefused
            If a pod is missing that must not be, or a check fails.
        """
        if not self.unmasks:
            if self.lost:
                raise AggregateRefused(f"the sum lacks the vectors of {', '.join(self.lost)}")
            return self._decoded()
        if len(self.survivors) < self.threshold or not self.unmasked:
            raise AggregateRefused("too few pods have answered to unmask the sum")
        # Beside their values the survivors' vectors hold their self masks, and pair masks with lost pods, whose other
        # halves never came. Pair masks between survivors have cancelled.
        opened = {self._roster.position(holder) + 1: reveal.self_shares for holder, reveal in self._reveals.items()}
        commitments = {name: self._replies[name].commitment for name in self.survivors}
        added = list(combine(opened, self.threshold, commitments).values())
        subtracted: list[bytes] = []
        for index, lost in enumerate(self.lost):
            for name in self.survivors:
                first = self._roster.position(name) < self._roster.position(lost)
                (added if first else subtracted).append(self._reveals[name].pair_seeds[index])
        self._sum.remove(added, subtracted)
        return self._decoded()

    def _decoded(self) -> Aggregate:
        """Decode the sum, which is used up; in a verified session keep its words, to be shown to the pods."""
        if self._verified:
            self._words = self._sum.words()
        return self._sum.decoded(self.layout, len(self.survivors))

    def proof(self) -> tuple[Proof, Words]:
        """Return what shows the pods of a verified session that `result` is their sum: whose it is, and its words.

        The words are those of the whole vector, `layout.field.dtype` [layout.length], and lie in the bytes of a .npy
        file (`npy.file_of`).

        Raises
        ------
        AggregateRefused
            Before `result`, and in a session that is not verified.
        """
        if self._words is None:
            raise AggregateRefused("there is no sum here that could be shown to the pods")
        return Proof(self.label, self.survivors), self._words

    def _key(self, name: str) -> bytes:
        return self._roster.hellos[self._roster.position(name)].identity_key
