import base64
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_app.secagg.binding import field_for, label, layout_for, share_info
from fl_app.secagg.canonical import encode
from fl_app.secagg.crypto import SHARE, seal, statement, unseal
from fl_app.secagg.errors import (
    AlreadyAnswered,
    BadSignature,
    LedgerRefused,
    MalformedMessage,
    NotApproved,
    OutOfPhase,
    ProtocolError,
    RosterRefused,
    SessionRefused,
    ShareRefused,
    ValueRefused,
)
from fl_app.secagg.field import FIELD_31, FIELD_61
from fl_app.secagg.messages import SealedShare
from fl_app.secagg.pod_session import PodSession
from tests.fl_app.secagg.cohort import REQUEST, Identity, World, constant, parameters, policy_of
from tests.fl_app.secagg.test_canonical import values as canonical_values

# --- the roster and the shares sent


def test_the_same_roster_asked_for_again_gives_the_same_bytes() -> None:
    world = World(deliver=False)
    before = world.sessions["a"]
    again = before.accept_roster(world.roster.hellos, world.identities["a"], policy_of("a", world.names))
    assert [share.to_bytes() for share in again.sealed] == [share.to_bytes() for share in before.sealed]


def test_a_second_roster_in_a_session_is_refused() -> None:
    world = World(deliver=False)
    with pytest.raises(RosterRefused, match="another roster"):
        world.sessions["a"].accept_roster(world.roster.hellos[:2], world.identities["a"], policy_of("a", world.names))


def test_no_share_is_sealed_for_a_roster_that_is_refused() -> None:
    world = World(deliver=False)
    fresh = PodSession.open("a", world.identities["a"], world.aggregator.session, world.parameters, bytes(32), b"")
    hellos = world.aggregator.make_roster([fresh.own, *(world.sessions[n].own for n in "bc")]).hellos
    with pytest.raises(NotApproved, match="'a' does not approve pod 'c'"):
        fresh.accept_roster(hellos, world.identities["a"], policy_of("a", ("a", "b")))
    assert fresh.sealed == ()
    assert fresh.roster is None


def test_every_share_is_fresh_and_sealed_to_its_receiver_alone() -> None:
    world = World(("a", "b", "c", "d"), deliver=False)
    opened = []
    for name, session in world.sessions.items():
        assert [share.receiver for share in session.sealed] == [n for n in world.roster.names if n != name]
        for share in session.sealed:
            info = share_info(world.roster, name, share.receiver)
            opened.append(unseal(share.sealed, world.sessions[share.receiver].sealing_secret, info, name))
            for other in set(world.names) - {share.receiver}:
                with pytest.raises(ShareRefused):
                    unseal(share.sealed, world.sessions[other].sealing_secret, info, name)
    assert len(set(opened)) == 12
    assert all(len(secret) == 32 for secret in opened)


# --- the shares received

Change = Callable[[World, list[SealedShare]], list[SealedShare]]


def resealed(world: World, share: SealedShare, secret: bytes, signer: str) -> SealedShare:
    """Return ``share`` with another content, sealed rightly and signed by ``signer``."""
    info = share_info(world.roster, share.sender, share.receiver)
    box = seal(secret, world.sessions[share.receiver].own.sealing_key, info)
    message = statement(SHARE, world.roster.digest, share.sender, share.receiver, box)
    return replace(share, sealed=box, signature=world.identities[signer].sign(message))


def flipped(share: SealedShare, field: str, bit: int) -> SealedShare:
    data = bytearray(getattr(share, field))
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    return replace(share, **{field: bytes(data)})


def first(change: Callable[[World, SealedShare], SealedShare]) -> Change:
    return lambda world, shares: [change(world, shares[0]), *shares[1:]]


SPOILED: dict[str, tuple[type[ProtocolError], Change]] = {
    "missing": (ShareRefused, lambda w, s: s[1:]),
    "none": (ShareRefused, lambda w, s: []),
    "doubled": (ShareRefused, lambda w, s: [s[0], s[0]]),
    "one too many": (ShareRefused, lambda w, s: [*s, s[0]]),
    "of a stranger": (ShareRefused, lambda w, s: [*s, replace(s[0], sender="x")]),
    "own": (ShareRefused, lambda w, s: [*s, w.sessions["a"].sealed[0]]),
    "redirected": (ShareRefused, lambda w, s: [w.aggregator.shares_for("b")[1], *s[1:]]),
    "redirected, relabelled": (BadSignature, first(lambda w, s: replace(w.aggregator._shares[s.sender][
        next(n for n in w.names if n not in ("a", s.sender))], receiver="a"))),
    "under another sender's name": (BadSignature, lambda w, s: [replace(s[0], sender=s[1].sender),
                                                                  replace(s[1], sender=s[0].sender)]),
    "of another session": (ShareRefused, lambda w, s: replay(w)),
    "of another session, relabelled": (BadSignature, lambda w, s: [replace(r, session=w.aggregator.session)
                                                                     for r in replay(w)]),
    "sealed bit flipped": (BadSignature, first(lambda w, s: flipped(s, "sealed", 300))),
    "signature bit flipped": (BadSignature, first(lambda w, s: flipped(s, "signature", 13))),
    "signed by another pod": (BadSignature, first(lambda w, s: resealed(w, s, bytes(32), "a"))),
    "signed, but too short": (ShareRefused, first(lambda w, s: resealed(w, s, bytes(31), s.sender))),
    "signed, but not sealed": (ShareRefused, first(lambda w, s: signed_box(w, s, b"in the clear, thirty-two bytes!!"))),
}  # fmt: skip


def replay(world: World) -> list[SealedShare]:
    """Return the shares for "a" of another session of the same pods."""
    return World(world.names, deliver=False).aggregator.shares_for("a")


def signed_box(world: World, share: SealedShare, box: bytes) -> SealedShare:
    message = statement(SHARE, world.roster.digest, share.sender, share.receiver, box)
    return replace(share, sealed=box, signature=world.identities[share.sender].sign(message))


@pytest.mark.parametrize("what", SPOILED)
def test_spoiled_shares_end_the_session_for_their_receiver(what: str) -> None:
    world = World(deliver=False)
    error, change = SPOILED[what]
    with pytest.raises(error) as refused:
        world.sessions["a"].accept_shares(change(world, world.aggregator.shares_for("a")))
    assert type(refused.value) is error
    with pytest.raises(ShareRefused, match="has not received its neighbours' shares"):
        world.answer("a", world.step())
    assert world.ledgers["a"].answers == []


def test_shares_are_opened_once() -> None:
    world = World()
    with pytest.raises(ShareRefused, match=r"cannot open shares in phase 'ready': .* already"):
        world.deliver("a")


@given(st.permutations(range(3)))
def test_the_order_in_which_shares_come_does_not_matter(order: list[int]) -> None:
    world = World(("a", "b", "c", "d"), deliver=False)
    shares = world.aggregator.shares_for("a")
    straight = world.sessions["a"].accept_shares(shares)
    assert world.sessions["a"].accept_shares([shares[i] for i in order]).pair_keys == straight.pair_keys


def test_both_ends_of_a_pair_derive_one_key_and_every_pair_its_own() -> None:
    world = World(("a", "b", "c", "d"))
    keys = [world.sessions[one].pair_keys[other] for one, other in itertools.permutations(world.names, 2)]
    assert all(
        world.sessions[one].pair_keys[other] == world.sessions[other].pair_keys[one]
        for one, other in itertools.combinations(world.names, 2)
    )
    assert len(set(keys)) == 6
    assert not world.sessions["a"].shares  # the shares themselves are gone


# --- masked steps


@settings(max_examples=25)
@given(
    size=st.integers(1, 6),
    count=st.integers(2, 5),
    prime_q=st.sampled_from([FIELD_61.prime, FIELD_31.prime]),
    data=st.data(),
)
def test_a_whole_session_gives_the_weighted_mean(size: int, count: int, prime_q: int, data: st.DataObject) -> None:
    names = data.draw(st.permutations("abcde"[:count]))
    world = World(names, prime_q=prime_q)
    step, reals = world.step(size), st.floats(-8, 8)
    weights = {name: data.draw(st.integers(1, 1000)) for name in names}
    values = {
        name: {
            "update": np.array(data.draw(st.lists(reals, min_size=size, max_size=size))),
            "loss": np.array([data.draw(reals)]),
            "n": np.array(data.draw(st.lists(st.integers(0, 10_000), min_size=2, max_size=2))),
        }
        for name in names
    }
    aggregate, total = world.sum(step, values, weights), sum(weights.values())
    layout = layout_for(world.parameters, step, count)
    assert (aggregate.pods, aggregate.weight, aggregate.clipped) == (count, total, 0)
    assert aggregate.values["n"].tolist() == sum(values[name]["n"] for name in names).tolist()  # type: ignore[union-attr]
    for what in ("update", "loss"):
        want = sum(weights[name] * values[name][what] for name in names) / total
        step_size = count / 2 / total / layout.scales[what]
        np.testing.assert_allclose(aggregate.values[what], want, rtol=0, atol=step_size + 1e-14)


def test_statistics_and_evaluation_use_the_large_field_whatever_training_uses() -> None:
    compact = parameters(("a", "b"), prime_q=FIELD_31.prime)
    assert [field_for(compact, kind).bits for kind in ("train", "statistics", "evaluate")] == [31, 61, 61]


def test_a_label_covers_roster_step_and_request() -> None:
    world, other = World(), World()
    step = world.step()
    labels = [label(world.roster, step, REQUEST), label(other.roster, step, REQUEST),
              label(world.roster, step, bytes(32)),
              *(label(world.roster, replace(step, **{field: value}), REQUEST) for field, value in
                (("session", bytes(32)), ("kind", "evaluate"), ("round", 2), ("names", ("update", "loss", "m")),
                 ("sizes", (4, 1, 2))))]  # fmt: skip
    assert len(set(labels)) == len(labels)


def test_the_same_values_masked_in_two_rounds_share_no_word() -> None:
    world = World()
    one, _ = world.answer("a", world.step(50, round=1))
    other, _ = world.answer("a", world.step(50, round=2))
    assert not set(one.tolist()) & set(other.tolist())


STEPS: dict[str, tuple[type[ProtocolError], dict[str, Any]]] = {
    "of another session": (SessionRefused, {"session": bytes(32)}),
    "of round 0": (SessionRefused, {"round": 0}),
    "of a negative round": (SessionRefused, {"round": -1}),
    "of a round that was not declared": (SessionRefused, {"round": 4}),
    "of a kind that was not declared": (MalformedMessage, {"kind": "evaluate"}),
    "of other segments": (MalformedMessage, {"names": ("update", "loss", "other")}),
    "of another size than the values": (ValueRefused, {"sizes": (6, 1, 2)}),
}


@pytest.mark.parametrize("what", STEPS)
def test_a_step_that_does_not_fit_is_refused_before_it_is_entered(what: str) -> None:
    world = World()
    error, changes = STEPS[what]
    with pytest.raises(error):
        world.answer("a", replace(world.step(), **changes), constant(world.step()))
    assert world.ledgers["a"].answers == []


def test_statistics_are_answered_once_however_often_they_are_declared() -> None:
    plans = tuple(replace(plan, rounds=5) for plan in parameters(("a",)).steps)
    world = World(steps=plans)
    step = replace(world.step(), kind="statistics", names=("s",), sizes=(1,), round=2)
    with pytest.raises(SessionRefused, match="round 2 of 'statistics'"):
        world.answer("a", step, {"s": np.zeros(1)})


def test_final_evaluations_are_answered_twice_at_most_however_many_are_declared() -> None:
    """Each is a question about a model that the server names; the second has the cells cut by the first's sums."""
    (statistics,) = (plan for plan in parameters(("a",)).steps if plan.kind == "statistics")
    world = World(steps=(*parameters(("a",)).steps, replace(statistics, kind="evaluate", rounds=5)))
    step = replace(world.step(), kind="evaluate", names=("s",), sizes=(1,))
    with pytest.raises(SessionRefused, match="round 3 of 'evaluate'"):
        world.answer("a", replace(step, round=3), {"s": np.zeros(1)})
    for round in (1, 2):
        world.answer("a", replace(step, round=round), {"s": np.zeros(1)})


def test_a_round_is_answered_once() -> None:
    world = World()
    world.answer("a", world.step())
    with pytest.raises(AlreadyAnswered):
        world.answer("a", world.step())
    with pytest.raises(AlreadyAnswered):
        world.answer("a", world.step(), request=bytes(32))
    world.answer("a", world.step(round=2))


def test_nothing_is_returned_when_the_ledger_refuses() -> None:
    world = World()

    class Broken:
        def enter_begin(self, *entry: Any) -> bytes:
            raise LedgerRefused("full disk")

        enter_answer = enter_begin

    before = world.sessions["a"]
    with pytest.raises(LedgerRefused):
        before.begin(world.step(), REQUEST, Broken())  # type: ignore[arg-type]
    begun = before.begin(world.step(), REQUEST, world.ledgers["a"])
    with pytest.raises(LedgerRefused):
        begun.mask(world.step(), REQUEST, 1, constant(world.step()), Broken(), world.identities["a"])  # type: ignore[arg-type]
    assert world.sessions["a"] is before


def test_no_step_is_answered_but_the_one_that_has_begun() -> None:
    world = World()
    begun = world.sessions["a"].begin(world.step(), REQUEST, world.ledgers["a"])
    early = world.sessions["a"]
    attempts = (early, world.step(), REQUEST), (begun, world.step(round=2), REQUEST), (begun, world.step(), bytes(32))
    for session, step, request in attempts:
        with pytest.raises(SessionRefused, match="has not begun this step"):
            session.mask(step, request, 1, constant(step), world.ledgers["a"], world.identities["a"])
    assert world.ledgers["a"].answers == []


def test_after_values_that_do_not_fit_no_step_begins() -> None:
    world = World()
    with pytest.raises(ValueRefused):
        world.answer("a", world.step(), weight=1001)
    for round in (1, 2):
        with pytest.raises(OutOfPhase, match="has begun a step and not answered it"):
            world.answer("a", world.step(round=round))


BAD_VALUES: dict[str, dict[str, Any]] = {
    "nan": {"update": np.full(5, np.nan)},
    "infinity": {"update": np.full(5, np.inf)},
    "metric past its bound": {"loss": np.array([64.1])},
    "count past its bound": {"n": np.array([0, 10_001])},
    "negative count": {"n": np.array([0, -1])},
    "integers for reals": {"update": np.zeros(5, int)},
    "reals for counts": {"n": np.zeros(2)},
    "length": {"update": np.zeros(4)},
    "shape": {"update": np.zeros((5, 1))},
    "one more": {"extra": np.zeros(1)},
}


@pytest.mark.parametrize("what", BAD_VALUES)
def test_values_that_do_not_fit_give_no_vector(what: str) -> None:
    world = World()
    with pytest.raises(ValueRefused):
        world.answer("a", world.step(), constant(world.step()) | BAD_VALUES[what])


@pytest.mark.parametrize("weight", [-1, 1001])
def test_a_weight_beyond_the_maximum_gives_no_vector(weight: int) -> None:
    world = World()
    with pytest.raises(ValueRefused, match="0 to 1000"):
        world.answer("a", world.step(), weight=weight)


def test_before_the_roster_nothing_but_the_roster_is_accepted() -> None:
    world = World()
    early = PodSession.open("a", world.identities["a"], world.aggregator.session, world.parameters, bytes(32), b"")
    with pytest.raises(SessionRefused, match="not joined"):
        early.accept_shares(world.aggregator.shares_for("a"))
    with pytest.raises(SessionRefused, match="not joined"):
        early.mask(world.step(), REQUEST, 1, constant(world.step()), world.ledgers["a"], world.identities["a"])


# --- the state between messages


def stages() -> Iterator[PodSession]:
    world = World(deliver=False)
    yield PodSession.open("a", world.identities["a"], world.aggregator.session, world.parameters, bytes(32), b"head")
    yield world.sessions["a"]
    world.deliver("a")
    yield world.sessions["a"]
    yield world.sessions["a"].begin(world.step(), REQUEST, world.ledgers["a"])
    yield world.sessions["a"].closed()


def test_the_state_comes_back_from_its_bytes_at_every_stage() -> None:
    for session in stages():
        assert PodSession.from_bytes(session.to_bytes()) == session


@given(st.binary(max_size=60) | canonical_values.map(encode))
def test_arbitrary_bytes_are_not_a_state(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        PodSession.from_bytes(data)


def test_a_closed_session_keeps_no_secret_and_answers_nothing() -> None:
    world = World()
    secrets = secrets_of(world)
    closed = world.sessions["a"].closed()
    assert not any(secret in closed.to_bytes() for secret in secrets)
    with pytest.raises(SessionRefused):
        closed.mask(world.step(), REQUEST, 1, constant(world.step()), world.ledgers["a"], world.identities["a"])


# --- secrets stay where they are


def secrets_of(world: World) -> list[bytes]:
    """Return every secret of pod "a", some of them of before the shares were opened."""
    session = world.sessions["a"]
    held = [session.sealing_secret, *session.shares.values(), *session.pair_keys.values()]
    assert all(len(secret) == 32 for secret in held)
    return held


def shown(secret: bytes, text: str) -> bool:
    """Say whether ``text`` shows ``secret`` in any of the usual forms, or a good part of it."""
    forms = [secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1], str(list(secret))[1:-1]]
    return any(form[: len(form) // 2] in text for form in forms)


def test_neither_repr_nor_errors_show_a_secret() -> None:
    world = World(deliver=False)
    before, secrets = world.sessions["a"], secrets_of(world)
    texts = [repr(session) for session in stages()] + [repr(before), str(before), repr(world.roster)]
    for error, change in SPOILED.values():
        with pytest.raises(error) as refused:
            before.accept_shares(change(world, world.aggregator.shares_for("a")))
        texts += [str(refused.value), repr(refused.value)]
    world.deliver("a")
    secrets += secrets_of(world)
    texts += [repr(world.sessions["a"]), repr(world.aggregator.__dict__)]
    for error, changes in STEPS.values():
        with pytest.raises(error) as refused:
            world.answer("a", replace(world.step(), **changes), constant(world.step()))
        texts += [str(refused.value), repr(refused.value)]
    assert shown(before.own.sealing_key, repr(before))  # public, and so shows that the search can find
    assert len(secrets) == 3 + 3
    for secret, text in itertools.product(secrets, texts):
        assert not shown(secret, text)


def test_errors_about_values_hold_no_value() -> None:
    world = World()
    marker = 8765.4321
    for change in ({"update": np.array([marker, np.nan, 0, 0, 0])}, {"loss": np.array([marker])},
                   {"n": np.array([87654321, 1])}):  # fmt: skip
        with pytest.raises(ValueRefused) as refused:
            world.answer("a", world.step(), constant(world.step()) | change)
        assert "8765" not in str(refused.value)
        world = World()


def test_messages_on_the_way_hold_no_secret() -> None:
    world = World(deliver=False)
    secrets = secrets_of(world)
    sent = [hello.to_bytes() for hello in world.roster.hellos]
    sent += [share.to_bytes() for session in world.sessions.values() for share in session.sealed]
    world.deliver("a")
    vector, reply = world.answer("a", world.step(40))
    sent += [vector.tobytes(), reply.to_bytes()]
    for secret in secrets + secrets_of(world) + [Identity("a").secret]:
        assert not any(secret[:8] in message for message in sent)
