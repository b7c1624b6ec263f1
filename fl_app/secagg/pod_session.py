"""The pod's side of a session, as a state machine that takes messages and gives messages.

``open`` makes the hello; ``accept_roster`` checks the roster and seals a share for every neighbour; ``accept_shares``
opens the shares received; ``begin`` spends one step and ``mask`` answers it. The state between two messages is
``to_bytes``: it holds the session's secrets and belongs in memory only. Losing it ends the session and gives nothing
away.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fl_app.secagg.canonical import decode, digest, encode
from fl_app.secagg.codec import Encoder, Layout
from fl_app.secagg.crypto import (
    HELLO,
    REPLY,
    SELF_SHARE,
    SHARE,
    SIGNATURE_BYTES,
    Signer,
    seal,
    statement,
    unseal,
    verify,
)
from fl_app.secagg.errors import MalformedMessage, RosterRefused, SessionRefused, ShareRefused, WrongKey
from fl_app.secagg.field import FIELD_61, Field, Words, field_of
from fl_app.secagg.keystream import SEED_BYTES, derive
from fl_app.secagg.masking import mask, vector_digest
from fl_app.secagg.messages import (
    TRAIN,
    Hello,
    MaskedReply,
    Parameters,
    Record,
    SealedShare,
    Step,
)
from fl_app.secagg.roster import CohortPolicy, Roster, check_approved, check_roster, threshold_for
from fl_app.secagg.shamir import commitment, split

PAIR_KEY = "fl-app/secagg/1/pair-key"
PAIR_SEED = "fl-app/secagg/1/pair-seed"
LABEL = "fl-app/secagg/1/label"
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Account:
    """On whose account an entry is made: the run, the series it belongs to, and the cohort by names and identity keys.

    The cohort is the roster, where there is one, and the survivors, where an entry is about their sum.
    """

    run: str
    series: str = ""
    cohort: Mapping[str, bytes] = field(default_factory=dict)


class Ledger(Protocol):
    """The owner's record. Entries are on disk when the call returns; each returns the new head of the chain."""

    def enter_begin(self, account: Account, kind: str, round: int, label: bytes, head: bytes) -> bytes:
        """Enter that a step begins, and so spend it; raises `AlreadyAnswered` or `LedgerRefused`.

        ``head`` is the last head this pod remembers of the run.
        """

    def enter_answer(self, account: Account, kind: str, round: int, label: bytes, head: bytes, size: int) -> bytes:
        """Enter an answer of ``size`` bytes about to be given to a step that has begun, once."""

    def enter_survivors(self, account: Account, event: str, label: bytes, head: bytes, size: int) -> bytes:
        """Enter that this pod signs ("survivors") or unmasks ("unmask") the account's cohort under a label.

        It is the one list this pod speaks of under the label; the same may come again.
        """


def field_for(parameters: Parameters, kind: str) -> Field:
    """Return the field of a step: the session's for training, 2^61-1 for everything that is sent once."""
    return field_of(parameters.prime_q) if kind == TRAIN else FIELD_61


def layout_for(parameters: Parameters, step: Step, pods: int) -> Layout:
    """Return the layout of a step's vectors in a cohort of ``pods``; both sides derive it from the same request."""
    segments = step.segments(parameters.step(step.kind))
    return Layout(field_for(parameters, step.kind), pods, parameters.max_weight, segments)


def label(roster: Roster, step: Step, request: bytes) -> bytes:
    """Return L, which binds a step to the roster and to the digest of the whole common request."""
    return digest(LABEL, roster.digest, step.to_bytes(), request)


def share_info(roster: Roster, sender: str, receiver: str) -> bytes:
    """Return the HPKE info of a sealed share."""
    return statement(SHARE, roster.digest, sender, receiver, b"")


@dataclass(frozen=True)
class PodSession:
    """A pod's state in one session; every transition returns a new one.

    The fields are public (own hello, parameters, roster, label-independent) but for ``sealing_secret``, ``shares``
    and ``pair_keys``, which never leave the process but through `to_bytes`. ``begun`` and ``answered`` are the labels
    of the step under way and of the last one. Once it is ``over``, because the last step was answered or a sum was
    unmasked without some pod, it answers no further step.
    """

    own: Hello
    parameters: Parameters
    head: bytes
    sealing_secret: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    roster: Roster | None = None
    sealed: tuple[SealedShare, ...] = ()
    shares: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    pair_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    begun: bytes = b""
    answered: bytes = b""
    over: bool = False

    @classmethod
    def open(
        cls, name: str, signer: Signer, session: bytes, parameters: Parameters, published: bytes, head: bytes
    ) -> "PodSession":
        """Begin a session; ``own`` of the result is the hello to send. ``head`` is that of the ledger's entry."""
        sealing, nonce = X25519PrivateKey.generate(), secrets.token_bytes(32)
        hello = Hello(
            session=session,
            name=name,
            identity_key=signer.public_bytes,
            sealing_key=sealing.public_key().public_bytes_raw(),
            nonce_commitment=digest("fl-app/secagg/1/nonce", nonce),
            parameters=parameters.digest(),
            published=published,
            signature=bytes(64),
        )
        said = statement(HELLO, session, name, "", hello.unsigned())
        return cls(replace(hello, signature=signer.sign(said)), parameters, head, sealing.private_bytes_raw(), nonce)

    def accept_roster(self, hellos: Sequence[Hello], signer: Signer, policy: CohortPolicy) -> "PodSession":
        """Join the roster; ``sealed`` of the result holds one share for each neighbour, the same when asked again.

        Raises
        ------
        ProtocolError
            If the roster is not one this pod may join, or another one was joined before.
        """
        if self.roster is not None:
            if list(self.roster.hellos) != list(hellos):
                raise RosterRefused(f"pod '{self.own.name}' has joined another roster in this session")
            return self
        if not self.sealing_secret:
            raise SessionRefused(f"this session of pod '{self.own.name}' has ended")
        wanted = self.parameters
        roster = check_roster(hellos, self.own, wanted.pods, wanted.threshold, policy)
        shares, sealed = {}, []
        for other in roster.neighbours(self.own.name):
            shares[other.name] = secrets.token_bytes(SEED_BYTES)
            box = seal(shares[other.name], other.sealing_key, share_info(roster, self.own.name, other.name))
            said = statement(SHARE, roster.digest, self.own.name, other.name, box)
            sealed.append(SealedShare(self.own.session, self.own.name, other.name, box, signer.sign(said)))
        return replace(self, roster=roster, sealed=tuple(sealed), shares=shares)

    def accept_shares(self, received: Sequence[SealedShare]) -> "PodSession":
        """Open the shares of all neighbours and derive the pair keys.

        Raises
        ------
        ShareRefused, BadSignature
            Unless there is exactly one good share from every neighbour.
        """
        roster, me = self.joined(), self.own.name
        if self.pair_keys:
            raise ShareRefused(f"pod '{me}' has opened its shares of this session already")
        senders = [share.sender for share in received]
        if sorted(senders) != sorted(hello.name for hello in roster.neighbours(me)):
            raise ShareRefused(f"pod '{me}' did not receive exactly one share from each neighbour")
        keys = {}
        for other in roster.neighbours(me):
            share = received[senders.index(other.name)]
            if share.receiver != me or share.session != self.own.session:
                raise ShareRefused(f"a share from pod '{other.name}' was meant for another pod or session")
            said = statement(SHARE, roster.digest, other.name, me, share.sealed)
            verify(other.identity_key, share.signature, said, other.name)
            info = share_info(roster, other.name, me)
            theirs = unseal(share.sealed, self.sealing_secret, info, other.name)
            if len(theirs) != SEED_BYTES:
                raise ShareRefused(f"the share from pod '{other.name}' is not {SEED_BYTES} bytes long")
            first, second = sorted((me, other.name), key=roster.position)
            both = self.shares[other.name] + theirs if first == me else theirs + self.shares[other.name]
            keys[other.name] = derive(both, PAIR_KEY, first, second, salt=roster.digest)
        return replace(self, pair_keys=keys, shares={})

    def begin(self, step: Step, request: bytes, ledger: Ledger) -> "PodSession":
        """Spend one step, before anything is computed for it: whatever goes wrong later, it is not asked again.

        Parameters
        ----------
        step : Step
            Which step, and the layout of its vector.
        request : bytes
            Digest of the whole common request.

        Raises
        ------
        ProtocolError
            If the step may not be answered; then it is not spent.
        """
        roster, me = self.joined(), self.own.name
        self.check_step(step)
        if set(self.pair_keys) != {other.name for other in roster.neighbours(me)}:
            raise ShareRefused(f"pod '{me}' has not received its neighbours' shares")
        layout_for(self.parameters, step, len(roster.hellos))
        bound = label(roster, step, request)
        head = ledger.enter_begin(self.account, step.kind, step.round, bound, self.head)
        return replace(self.at(head), begun=bound)

    def mask(
        self,
        step: Step,
        request: bytes,
        weight: int,
        values: Mapping[str, npt.NDArray[Any]],
        ledger: Ledger,
        signer: Signer,
    ) -> tuple["PodSession", Words, MaskedReply]:
        """Answer the step that has begun: return the new state, the masked vector and what goes with it.

        The answer is in the ledger when this returns.

        Parameters
        ----------
        step, request : Step, bytes
            As they were given to `begin`.
        weight : int
            This pod's weight; ``values`` are its flat arrays by segment name.

        Raises
        ------
        ProtocolError
            If it has not begun or the values do not fit; then nothing is returned.
        """
        roster, me = self.joined(), self.own.name
        bound = label(roster, step, request)
        if self.begun != bound:
            raise SessionRefused(f"pod '{me}' has not begun this step")
        layout = layout_for(self.parameters, step, len(roster.hellos))
        encoder = Encoder(layout, weight, values)
        seeds = {name: derive(key, PAIR_SEED, bound) for name, key in self.pair_keys.items()}
        place = roster.position(me)
        add = [seed for name, seed in seeds.items() if place < roster.position(name)]
        subtract = [seed for name, seed in seeds.items() if place > roster.position(name)]
        committed, shares = b"", tuple[bytes, ...]()
        if self.threshold < len(roster.hellos):
            own = secrets.token_bytes(SEED_BYTES)
            add.append(own)
            committed, shares = commitment(own), self._self_shares(own, bound, signer)
        vector = mask(layout, encoder, add, subtract)
        reply = MaskedReply(committed, shares, bytes(SIGNATURE_BYTES))
        reply = replace(reply, signature=signer.sign(reply_statement(bound, me, vector, reply)))
        size = vector.nbytes + len(reply.to_bytes())
        head = ledger.enter_answer(self.account, step.kind, step.round, bound, self.head, size)
        over = self.parameters.is_last(step.kind, step.round)
        return replace(self.at(head), begun=b"", answered=bound, over=over), vector, reply

    def _self_shares(self, own: bytes, bound: bytes, signer: Signer) -> tuple[bytes, ...]:
        """Return the packed shares of this step's self mask, sealed to every pod of the roster, this one included."""
        roster, me = self.joined(), self.own.name
        sealed = []
        for holder, share in zip(roster.hellos, split(own, self.threshold, len(roster.hellos)), strict=True):
            box = seal(share, holder.sealing_key, statement(SELF_SHARE, bound, me, holder.name, b""))
            said = statement(SELF_SHARE, bound, me, holder.name, box)
            sealed.append(SealedShare(self.own.session, me, holder.name, box, signer.sign(said)).packed())
        return tuple(sealed)

    @property
    def threshold(self) -> int:
        """Answers needed for a sum of this session's roster."""
        return threshold_for(self.parameters.threshold, len(self.joined().hellos))

    @property
    def account(self) -> Account:
        """On whose account this session's answers are entered: its run, its series and its roster."""
        members = self.roster.hellos if self.roster else ()
        keys = {hello.name: hello.identity_key for hello in members}
        return Account(self.parameters.run, self.parameters.series, keys)

    def check_keys(self, signer: Signer, policy: CohortPolicy) -> None:
        """Raise unless every key of this session is still what it was: the pod's own, and those its owner pins.

        Raises
        ------
        WrongKey, NotApproved
            If a key was replaced or an approval taken back since the session began.
        """
        me = self.own.name
        if signer.public_bytes != self.own.identity_key:
            raise WrongKey(f"pod '{me}' has another identity key than when this session began")
        for other in self.roster.neighbours(me) if self.roster else ():
            check_approved(other.name, other.identity_key, policy, me)

    def check_step(self, step: Step) -> None:
        """Raise unless ``step`` belongs to this session and its plan."""
        if self.over:
            raise SessionRefused(
                f"this session of pod '{self.own.name}' is over: pods were lost, or it was the last step"
            )
        if step.session != self.own.session:
            raise SessionRefused(f"pod '{self.own.name}' was asked for a step of another session")
        declared = self.parameters.step(step.kind).rounds
        if not 1 <= step.round <= (declared if step.kind == TRAIN else 1):  # all else happens once a run
            raise SessionRefused(f"round {step.round} of '{step.kind}' was not declared for this session")

    def at(self, head: bytes) -> "PodSession":
        """Return the same session with another head of the ledger to remember."""
        return replace(self, head=head)

    def closed(self) -> "PodSession":
        """Return what is left when the session ends: the ledger's head, and no secret."""
        return replace(self, sealing_secret=b"", nonce=b"", roster=None, sealed=(), shares={}, pair_keys={}, begun=b"")

    def joined(self) -> Roster:
        """Return the roster this pod has joined; raises `SessionRefused` if there is none."""
        if self.roster is None:
            raise SessionRefused(f"pod '{self.own.name}' has not joined a roster in this session")
        return self.roster

    def to_bytes(self) -> bytes:
        """Return the whole state, secrets included, for the memory of the process that keeps it."""
        return encode(
            {
                "own": self.own.to_bytes(),
                "parameters": _written(self.parameters),
                "head": self.head,
                "sealing_secret": self.sealing_secret,
                "nonce": self.nonce,
                "roster": [_written(hello) for hello in self.roster.hellos] if self.roster else None,
                "sealed": [_written(share) for share in self.sealed],
                "shares": dict(self.shares),
                "pair_keys": dict(self.pair_keys),
                "begun": self.begun,
                "answered": self.answered,
                "over": self.over,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "PodSession":
        """Return the state that `to_bytes` wrote."""
        state: Any = decode(data)
        try:
            roster = state["roster"]
            return cls(
                own=Hello.from_bytes(state["own"]),
                parameters=_read(Parameters, state["parameters"]),
                head=state["head"],
                sealing_secret=state["sealing_secret"],
                nonce=state["nonce"],
                roster=Roster.of([_read(Hello, raw) for raw in roster]) if roster is not None else None,
                sealed=tuple(_read(SealedShare, raw) for raw in state["sealed"]),
                shares=state["shares"],
                pair_keys=state["pair_keys"],
                begun=state["begun"],
                answered=state["answered"],
                over=state["over"],
            )
        except (KeyError, TypeError) as error:
            raise MalformedMessage("not the state of a session") from error


@lru_cache(maxsize=512)
def _written(part: Record) -> bytes:
    return part.to_bytes()


@lru_cache(maxsize=512)
def _read(kind: type[R], raw: bytes) -> R:
    """Return what of a session is public or under a seal, and the same in all its messages."""
    return kind.from_bytes(raw)


def reply_statement(bound: bytes, sender: str, vector: Words, reply: MaskedReply) -> bytes:
    """Return what a pod signs with a masked vector: the vector and all that goes with it."""
    return statement(REPLY, bound, sender, "", reply.content(vector_digest(vector)))
