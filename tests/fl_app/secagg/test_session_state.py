"""The table of phases: what it says, and that no order of events leads a real session anywhere else."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fl_app.secagg.binding import label, self_share_key, survivors_statement
from fl_app.secagg.canonical import decode, encode
from fl_app.secagg.crypto import box
from fl_app.secagg.errors import (
    AlreadyAnswered,
    MalformedMessage,
    OutOfPhase,
    ProtocolError,
    SessionRefused,
    ShareRefused,
)
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import Step, SurvivorsRequest, UnmaskRequest, Witness
from fl_app.secagg.pod_session import PodSession
from fl_app.secagg.session_state import TRANSITIONS, Event, Phase
from fl_app.secagg.unmasking import unmask, witness
from tests.fl_app.secagg.cohort import REQUEST, MemoryLedger, World, constant, policy_of

NAMES = ("a", "b", "c", "d")
ENDS = {Phase.OVER, Phase.CLOSED}


class ForgivingLedger(MemoryLedger):
    """A ledger that forbids nothing but a second list of survivors, so that the table alone decides."""

    def __init__(self) -> None:
        super().__init__()
        self.survivors: dict[bytes, object] = {}

    def _once(self, entered: list[tuple[str, str, int]], step: tuple[str, str, int]) -> None:
        entered.append(step)

    def enter_survivors(self, account: Account, event: str, label: bytes, head: bytes, size: int) -> bytes:
        if self.survivors.setdefault(label, account.cohort) != account.cohort:
            raise AlreadyAnswered("other survivors")
        return b"head of survivors"


# --- the table itself


def test_every_event_has_its_row() -> None:
    assert set(TRANSITIONS) == set(Event)


def test_every_phase_is_reached_from_the_first() -> None:
    reached = {Phase.OPENED}
    for _ in Phase:
        reached |= {after for row in TRANSITIONS.values() for before, after in row.items() if before in reached}
    assert reached == set(Phase)


def test_nothing_leads_back_from_the_end() -> None:
    for event, row in TRANSITIONS.items():
        assert row.get(Phase.CLOSED, Phase.CLOSED) is Phase.CLOSED, event
        assert row.get(Phase.OVER, Phase.OVER) in ENDS, event


def test_no_masked_step_begins_without_pair_keys_or_after_the_end() -> None:
    assert not {Phase.OPENED, Phase.JOINED, *ENDS} & set(TRANSITIONS[Event.BEGIN])


def test_only_an_answered_step_is_signed_for_or_unmasked() -> None:
    for event in (Event.SIGN_SURVIVORS, Event.UNMASK, Event.UNMASK_AFTER_LOSS):
        assert set(TRANSITIONS[event]) == {Phase.ANSWERED, Phase.OVER}


@pytest.mark.parametrize(("event", "phase"), list(itertools.product(Event, Phase)), ids=lambda each: each.name)
def test_an_event_leads_where_the_table_says_or_is_refused_by_name(event: Event, phase: Phase) -> None:
    session = replace(World().sessions["a"], phase=phase)
    if phase in TRANSITIONS[event]:
        assert session.phase_after(event) is TRANSITIONS[event][phase]
        return
    with pytest.raises(OutOfPhase, match=rf"pod 'a' cannot {event.value} in phase '{phase.value}'") as refused:
        session.phase_after(event)
    assert (refused.value.event, refused.value.phase) == (event.name, phase.name)
    missing = event is Event.BEGIN and phase is Phase.JOINED
    repeated = event is Event.ACCEPT_SHARES and phase not in (Phase.OPENED, Phase.CLOSED)
    assert refused.value.code == ("share" if missing or repeated else "session")
    assert isinstance(refused.value, SessionRefused)
    assert isinstance(refused.value, ShareRefused) == (missing or repeated)


# --- the state in memory


verified = pytest.mark.parametrize("verified", [False, True], ids=["plain", "verified"])


def session_in(phase: Phase, verified: bool = False) -> PodSession:
    """Return a session of pod "a" of four that has come to a phase by the honest way."""
    world = World(NAMES, deliver=False, threshold=3, verified=verified)
    if phase is Phase.OPENED:
        return PodSession.open(
            "a", world.identities["a"], world.aggregator.session, world.parameters, bytes(32), b"head"
        )
    if phase is not Phase.JOINED:
        world.deliver("a")
    if phase is Phase.BEGUN:
        return world.sessions["a"].begin(world.step(), REQUEST, world.ledgers["a"], world.followed)
    if phase in (Phase.ANSWERED, Phase.OVER):
        world.answer("a", world.step(round=3 if phase is Phase.OVER else 1))
    return world.sessions["a"].closed() if phase is Phase.CLOSED else world.sessions["a"]


@verified
@pytest.mark.parametrize("phase", Phase)
def test_the_state_comes_back_from_its_bytes_in_every_phase(phase: Phase, verified: bool) -> None:
    session = session_in(phase, verified)
    assert session.phase is phase
    assert PodSession.from_bytes(session.to_bytes()) == session


@pytest.mark.parametrize("phase", Phase)
def test_a_verified_session_holds_its_share_of_the_group_key_and_then_the_key(phase: Phase) -> None:
    session, early = session_in(phase, verified=True), phase in (Phase.OPENED, Phase.JOINED)
    assert (len(session.group_share), len(session.group_key)) == (
        (32, 0) if early else (0, 0 if phase is Phase.CLOSED else 32)
    )
    secret = session.group_share or session.group_key
    assert not secret or repr(secret) not in repr(session)
    other: Any = {"group_share": bytes(32), "group_key": bytes(32)}
    for change in (
        other,
        {"group_share": b"", "group_key": b""} if secret else other,
        {"group_share": bytes(31)},
        {"group_key": bytes(33)},
    ):
        with pytest.raises(MalformedMessage, match="not the state of a session"):
            PodSession.from_bytes(encode(decode(session.to_bytes()) | change))  # type: ignore[operator]


@verified
@pytest.mark.parametrize("phase", Phase)
def test_a_state_of_another_phase_than_it_says_is_refused(phase: Phase, verified: bool) -> None:
    state: Any = decode(session_in(phase, verified).to_bytes())
    alike = {Phase.BEGUN, Phase.ANSWERED, Phase.OVER}  # these three hold the same
    for other in set(Phase) - (alike if phase in alike else {phase}):
        with pytest.raises(MalformedMessage, match="not the state of a session"):
            PodSession.from_bytes(encode(state | {"phase": other.value}))


WRONG: dict[str, dict[str, Any]] = {
    "a phase that is none": {"phase": "finished"},
    "a phase of another type": {"phase": 3},
    "a label cut short": {"label": b"short"},
    "a key cut short": {"sealing_secret": bytes(31)},
    "a head that is text": {"head": "head"},
    "a pair key too few": {"pair_keys": {"b": bytes(32), "c": bytes(32)}},
    "a pair key of a stranger": {"pair_keys": {"b": bytes(32), "c": bytes(32), "x": bytes(32)}},
    "a pair key cut short": {"pair_keys": {"b": bytes(32), "c": bytes(32), "d": bytes(8)}},
    "shares beside the pair keys": {"shares": {"b": bytes(32), "c": bytes(32), "d": bytes(32)}},
    "no roster": {"roster": None},
    "keys in a list": {"pair_keys": [1, 2]},
    "a group key where sessions have none": {"group_key": bytes(32)},
    "a group share where sessions have none": {"group_share": bytes(32)},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_state_that_no_session_has_is_refused(what: str) -> None:
    state: Any = decode(session_in(Phase.ANSWERED).to_bytes())
    with pytest.raises(MalformedMessage, match="not the state of a session"):
        PodSession.from_bytes(encode(state | WRONG[what]))


# --- any sequence of events


MOSTLY, RARELY = st.sampled_from([True] * 5 + [False]), st.sampled_from([False] * 5 + [True])
ROUNDS = st.sampled_from([1, 1, 2, 2, 3, 0, 4])


class AnyOrder(RuleBasedStateMachine):
    """Pod "a" of four, of which one may be lost, is asked for anything in any order.

    Each rule knows the table only. Where the table has no place for the event, the pod must refuse, by `OutOfPhase`,
    and stay as it was; where it has one, the pod does it or refuses for what the event carries.
    """

    @initialize(honest=st.integers(0, 5))
    def open(self, honest: int) -> None:
        self.world, self.ledger = World(NAMES, deliver=False, threshold=3), ForgivingLedger()
        self.signer, self.round = self.world.identities["a"], 0
        joined = self.world.sessions["a"]  # back to where it had said hello
        self.session = PodSession(joined.own, joined.parameters, b"", sealing_secret=joined.sealing_secret)
        start = [
            lambda: self.join(True),
            lambda: self.open_shares(True),
            lambda: self.begin(1),
            lambda: self.answer(False),
            lambda: self.open_sum(True, "", False),
        ]
        for move in start[:honest]:  # or chance would hardly ever come beyond the roster
            move()

    def attempt(self, event: Event, action: Callable[[], PodSession]) -> bool:
        """Do ``action`` and say whether it took place; the table alone says where it may lead."""
        before, bytes_before = self.session, self.session.to_bytes()
        following = TRANSITIONS[event].get(before.phase)
        try:
            self.session = action()
        except OutOfPhase:
            assert following is None
        except ProtocolError:
            assert following is not None
        else:
            assert self.session.phase is following
            return True
        finally:
            assert before.to_bytes() == bytes_before  # a transition leaves the old session alone
        return False

    def step(self, round: int) -> Step:
        return self.world.step(3, round)

    @rule(complete=MOSTLY)
    def join(self, complete: bool) -> None:
        hellos = self.world.roster.hellos[: None if complete else 3]
        self.attempt(
            Event.ACCEPT_ROSTER, lambda: self.session.accept_roster(hellos, self.signer, policy_of("a", NAMES))
        )

    @rule(complete=MOSTLY)
    def open_shares(self, complete: bool) -> None:
        shares = self.world.aggregator.shares_for("a")[: None if complete else 2]
        self.attempt(Event.ACCEPT_SHARES, lambda: self.session.accept_shares(shares))

    @rule(round=ROUNDS)
    def begin(self, round: int) -> None:
        if self.attempt(Event.BEGIN, lambda: self.session.begin(self.step(round), REQUEST, self.ledger)):
            self.round = round

    @rule(other=RARELY)
    def answer(self, other: bool) -> None:
        round = self.round % 3 + 1 if other else self.round
        step = self.step(round)

        def mask() -> PodSession:
            session, _, _ = self.session.mask(step, REQUEST, 1, constant(step), self.ledger, self.signer)
            return session

        if self.attempt(Event.MASK_LAST if round == 3 else Event.MASK, mask):
            assert not other

    def label(self, current: bool) -> bytes:
        return label(self.world.roster, self.step(self.round if current else self.round + 1), REQUEST)

    @rule(current=MOSTLY, lost=st.sampled_from(["", "b", "b", "a"]))
    def sign_survivors(self, current: bool, lost: str) -> None:
        survivors = tuple(name for name in self.world.roster.names if name != lost)
        request = SurvivorsRequest(self.world.aggregator.session, self.label(current), survivors)

        def sign() -> PodSession:
            return witness(self.session, request, policy_of("a", NAMES), self.ledger, self.signer)[0]

        if self.attempt(Event.SIGN_SURVIVORS, sign):
            assert (current, lost != "a") == (True, True)

    @rule(current=MOSTLY, lost=st.sampled_from(["", "b", "b", "a"]), signed=MOSTLY)
    def open_sum(self, current: bool, lost: str, signed: bool) -> None:
        bound, world = self.label(current), self.world
        survivors = tuple(name for name in world.roster.names if name != lost)
        witnesses = tuple(
            Witness(name, world.identities[name].sign(survivors_statement(bound, name, survivors)))
            for name in survivors
            if signed
        )
        shares = tuple(self.self_share(name, bound) for name in survivors)
        request = UnmaskRequest(world.aggregator.session, bound, survivors, shares, witnesses)

        def open_it() -> PodSession:
            return unmask(self.session, request, policy_of("a", NAMES), self.ledger, self.signer)[0]

        if self.attempt(Event.UNMASK_AFTER_LOSS if lost else Event.UNMASK, open_it):
            assert (current, lost != "a", signed or not lost) == (True, True, True)

    def self_share(self, name: str, bound: bytes) -> bytes:
        known = self.session.roster is not None and (name == "a" or name in self.session.pair_keys)
        return box(bytes(32), self_share_key(self.session.key_with(name) if known else bytes(32), bound, name, "a"))

    @rule(round=ROUNDS)
    def answer_in_clear(self, round: int) -> None:
        def check() -> PodSession:
            self.session.check_step_in_clear(self.step(round))
            return self.session

        self.attempt(Event.ANSWER_IN_CLEAR, check)

    @rule(really=RARELY)
    def close(self, really: bool) -> None:
        if really:
            self.attempt(Event.CLOSE, self.session.closed)

    @rule()
    def forget_and_read(self) -> None:
        self.session = PodSession.from_bytes(self.session.to_bytes())

    @invariant()
    def holds_what_the_phase_holds(self) -> None:
        if hasattr(self, "session"):
            assert self.session.is_consistent()

    @invariant()
    def answers_no_more_than_begun(self) -> None:
        if hasattr(self, "session"):
            assert len(self.ledger.answers) <= len(self.ledger.begun)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
