"""The phases of a pod's session, the events that lead from one to the next, and what the pod holds in each.

The whole state machine is `TRANSITIONS`: an event it does not list for a phase is refused, whatever the event carries.
What an event does where it is listed is in `pod_session` (joining and masking) and `unmasking`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, Self, TypeVar

from fl_app.secagg.binding import own_key
from fl_app.secagg.canonical import decode, encode
from fl_app.secagg.errors import MalformedMessage, OutOfPhase, SessionRefused, SharesOutOfPhase
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import Hello, Parameters, Record, SealedShare
from fl_app.secagg.roster import Roster, threshold_for

R = TypeVar("R", bound=Record)


class Phase(Enum):
    """Where a session stands."""

    OPENED = "opened"  # the hello is out
    JOINED = "joined"  # the roster is checked, and a share sealed to each neighbour
    READY = "ready"  # the neighbours' shares are opened: every pair has its key
    BEGUN = "begun"  # a step is spent, and not answered yet
    ANSWERED = "answered"  # the last step begun is answered; its sum may be unmasked
    OVER = "over"  # no further step: that was the last, or a sum was unmasked without some pod
    CLOSED = "closed"  # the secrets are erased


class Event(Enum):
    """What may happen to a session, by a message from the server or by the owner's will."""

    ACCEPT_ROSTER = "join a roster"
    ACCEPT_SHARES = "open shares"
    BEGIN = "begin a step"
    MASK = "mask a step"
    MASK_LAST = "mask the last step"
    SIGN_SURVIVORS = "sign survivors"
    UNMASK = "unmask the whole cohort's sum"
    UNMASK_AFTER_LOSS = "unmask the survivors' sum"
    ANSWER_IN_CLEAR = "answer a step in the clear"
    CLOSE = "close"


OPENED, JOINED, READY, BEGUN, ANSWERED, OVER, CLOSED = Phase

TRANSITIONS: Mapping[Event, Mapping[Phase, Phase]] = {
    # The same roster asked for again gets the same answer, at any time.
    Event.ACCEPT_ROSTER: {
        OPENED: JOINED, JOINED: JOINED, READY: READY, BEGUN: BEGUN, ANSWERED: ANSWERED, OVER: OVER},
    # Once: other shares would give other pair keys, and so a second vector under one label.
    Event.ACCEPT_SHARES: {JOINED: READY},
    # Not after a step that was not answered: whoever asks chooses on what a step fails, and learns that it did.
    Event.BEGIN: {READY: BEGUN, ANSWERED: BEGUN},
    Event.MASK: {BEGUN: ANSWERED},
    Event.MASK_LAST: {BEGUN: OVER},
    # Of the step answered last only: never of one under way, whose vector may still be kept back.
    Event.SIGN_SURVIVORS: {ANSWERED: ANSWERED, OVER: OVER},
    Event.UNMASK: {ANSWERED: ANSWERED, OVER: OVER},
    # A sum of fewer pods is a change of membership. A server that lost another pod in each round of one session would
    # learn the difference of their sums, and the owner's limit on sessions would count nothing.
    Event.UNMASK_AFTER_LOSS: {ANSWERED: OVER, OVER: OVER},
    # A run in the clear has no roster and no secrets; the plan and the ledger alone bound its steps.
    Event.ANSWER_IN_CLEAR: {
        OPENED: OPENED, JOINED: JOINED, READY: READY, BEGUN: BEGUN, ANSWERED: ANSWERED},
    Event.CLOSE: dict.fromkeys(Phase, CLOSED),
}  # fmt: skip

_STANDING: Mapping[Phase, str] = {
    OPENED: "it has not joined a roster in this session",
    JOINED: "it has not received its neighbours' shares",
    READY: "it has opened its neighbours' shares already, and has not begun this step",
    BEGUN: "it has begun a step and not answered it",
    ANSWERED: "it has opened its neighbours' shares already, and answered the step that had begun",
    OVER: "this session is over: pods were lost, or it was the last step",
    CLOSED: "this session has ended",
}

_HOLDINGS: Mapping[Phase, frozenset[str]] = {
    OPENED: frozenset({"sealing_secret"}),
    JOINED: frozenset({"sealing_secret", "roster", "sealed", "shares"}),
    READY: frozenset({"sealing_secret", "roster", "sealed", "pair_keys"}),
    BEGUN: frozenset({"sealing_secret", "roster", "sealed", "pair_keys", "label"}),
    ANSWERED: frozenset({"sealing_secret", "roster", "sealed", "pair_keys", "label"}),
    OVER: frozenset({"sealing_secret", "roster", "sealed", "pair_keys", "label"}),
    CLOSED: frozenset(),
}
"""The fields that are not empty in each phase, besides ``own``, ``parameters`` and ``head``."""

_GROUP_HOLDINGS: Mapping[Phase, frozenset[str]] = {
    **dict.fromkeys((OPENED, JOINED), frozenset({"group_share"})),
    **dict.fromkeys((READY, BEGUN, ANSWERED, OVER), frozenset({"group_key"})),
    CLOSED: frozenset(),
}
"""The same, for the fields that verified sessions alone have."""


@dataclass(frozen=True)
class SessionState:
    """What a pod remembers of a session between two messages.

    Attributes
    ----------
    own, parameters : Hello, Parameters
        What this pod signed at the session's start.
    head : bytes
        Last head of the ledger's chain that this session knows.
    phase : Phase
        Where the session stands.
    sealing_secret : bytes
        X25519 key of this session that shares are sealed to; secret, 32 bytes.
    roster : Roster or None
        The cohort.
    sealed : tuple of SealedShare
        The share for each neighbour, as it was sent.
    shares, pair_keys : mapping of name to bytes
        By neighbour, 32 bytes each, and secret: the shares in ``sealed`` until the neighbour's own has come; from then
        on the key that the two have in common.
    label : bytes
        Label of the step begun last, 32 bytes.
    group_share, group_key : bytes
        In a verified session, 32 bytes each, and secret: this pod's share of the key that the whole cohort has in
        common, until the others' shares have come; from then on that key.
    """

    own: Hello
    parameters: Parameters
    head: bytes
    phase: Phase = OPENED
    sealing_secret: bytes = field(default=b"", repr=False)
    roster: Roster | None = None
    sealed: tuple[SealedShare, ...] = ()
    shares: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    pair_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    label: bytes = b""
    group_share: bytes = field(default=b"", repr=False)
    group_key: bytes = field(default=b"", repr=False)

    def phase_after(self, event: Event) -> Phase:
        """Return the phase that ``event`` leads to; raises `OutOfPhase` if this one has no place for it."""
        following = TRANSITIONS[event].get(self.phase)
        if following is None:
            text = f"pod '{self.own.name}' cannot {event.value} in phase '{self.phase.value}': {_STANDING[self.phase]}"
            raise _refusal_class(event, self.phase)(text, event.name, self.phase.name)
        return following

    @property
    def over(self) -> bool:
        """Whether the session answers no further masked step, while its last sum may still be unmasked."""
        return self.phase is OVER

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

    def key_with(self, name: str) -> bytes:
        """Return the key that this pod has in common with a pod of the roster, which may be itself: 32 bytes."""
        return own_key(self.joined(), self.sealing_secret) if name == self.own.name else self.pair_keys[name]

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
                "phase": self.phase.value,
                "sealing_secret": self.sealing_secret,
                "roster": [_written(hello) for hello in self.roster.hellos] if self.roster else None,
                "sealed": [_written(share) for share in self.sealed],
                "shares": dict(self.shares),
                "pair_keys": dict(self.pair_keys),
                "label": self.label,
                "group_share": self.group_share,
                "group_key": self.group_key,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the state that `to_bytes` wrote; raises `MalformedMessage` for anything else."""
        value: Any = decode(data)
        try:
            roster = value["roster"]
            state = cls(
                own=Hello.from_bytes(value["own"]),
                parameters=_read(Parameters, value["parameters"]),
                head=value["head"],
                phase=Phase(value["phase"]),
                sealing_secret=value["sealing_secret"],
                roster=Roster.of([_read(Hello, raw) for raw in roster]) if roster is not None else None,
                sealed=tuple(_read(SealedShare, raw) for raw in value["sealed"]),
                shares=dict(value["shares"]),
                pair_keys=dict(value["pair_keys"]),
                label=value["label"],
                group_share=value["group_share"],
                group_key=value["group_key"],
            )
            if not state.is_consistent():
                raise ValueError("fields that do not belong to the phase")
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessage("not the state of a session") from error
        return state

    def is_consistent(self) -> bool:
        """Say whether the pod holds what it holds in this phase, and nothing else."""
        known = frozenset.union(*_HOLDINGS.values(), *_GROUP_HOLDINGS.values())
        held = {name for name in known if getattr(self, name)}
        wanted = _HOLDINGS[self.phase] | (_GROUP_HOLDINGS[self.phase] if self.parameters.verified else frozenset())
        neighbours = {hello.name for hello in self.roster.neighbours(self.own.name)} if self.roster else set()
        keys = [self.sealing_secret, self.label, self.group_share, self.group_key]
        secrets = [*keys, *self.shares.values(), *self.pair_keys.values()]
        return (
            held == wanted
            and all(set(names) in (neighbours, set()) for names in (self.shares, self.pair_keys))
            and all(isinstance(secret, bytes) and len(secret) in (0, 32) for secret in secrets)
            and isinstance(self.head, bytes)
        )


def _refusal_class(event: Event, phase: Phase) -> type[OutOfPhase]:
    missing = event is Event.BEGIN and phase is JOINED
    repeated = event is Event.ACCEPT_SHARES and phase in (READY, BEGUN, ANSWERED, OVER)
    return SharesOutOfPhase if missing or repeated else OutOfPhase


# A session is written and read at every message. Its public parts are the same in all of them, and parsed once; the
# secrets do not go through here, where they would outlive the session.
@lru_cache(maxsize=512)
def _written(part: Record) -> bytes:
    return part.to_bytes()


@lru_cache(maxsize=512)
def _read(kind: type[R], raw: bytes) -> R:
    return kind.from_bytes(raw)
