from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg.crypto import HELLO, statement
from fl_app.secagg.errors import (
    BadSignature,
    NotApproved,
    PolicyRefused,
    ProtocolError,
    RosterRefused,
    WrongKey,
)
from fl_app.secagg.messages import Hello
from fl_app.secagg.roster import Roster, check_cohort, check_roster, default_threshold, threshold_for, verify_hello
from tests.fl_app.secagg.cohort import Identity, World, policy_of, signed

NAMES = ("a", "b", "c", "d")
SESSION, PARAMETERS = b"S" * 32, b"P" * 32


def hello(name: str, **changes: Any) -> Hello:
    """Return the signed hello of ``name``; ``signer`` is another identity that shows its own key under that name."""
    signer = Identity(changes.pop("signer", name))
    sealing = Identity(f"sealing of {name}").public_bytes
    rest = bytes(32), bytes(32), 0, bytes(32), bytes(64)
    plain = Hello(SESSION, name, signer.public_bytes, sealing, PARAMETERS, *rest)
    return signed(replace(plain, **changes), signer)


def canonical(hellos: Sequence[Hello]) -> list[Hello]:
    return sorted(hellos, key=lambda each: each.identity_key)


GOOD = canonical([hello(name) for name in NAMES])
OWN = hello("a")


def check(
    hellos: Sequence[Hello], *, requested: Sequence[str] = NAMES, threshold: int = 4, approved: Sequence[str] = NAMES,
    **policy: Any,
) -> Roster:  # fmt: skip
    return check_roster(hellos, OWN, requested, threshold, policy_of("a", approved, **policy))


def test_a_good_roster_is_joined_in_canonical_order() -> None:
    roster = check(GOOD)
    assert sorted(roster.names) == list(NAMES)
    assert [each.identity_key for each in roster.hellos] == sorted(each.identity_key for each in GOOD)
    assert {each.name for each in roster.neighbours("a")} == {"b", "c", "d"}


def tampered(each: Hello) -> Hello:
    """Return a hello whose content is not what was signed."""
    return replace(each, published=bytes([1]) * 32)


Case = tuple[type[ProtocolError], str, list[Hello], dict[str, Any]]


def cases() -> list[Case]:
    """Return, for every check in the order of PROTOCOL.md, a roster that fails it and all that come after it.

    So each case shows two things: that the check is made, and that it is made before the later ones.
    """
    a, b, c, d = (hello(name) for name in NAMES)
    x = hello("x")
    small = {"minimum_cohort": 9, "threshold": 1}
    other_session = hello("d", session=b"T" * 32)
    other_parameters = hello("d", parameters=b"Q" * 32)
    wrong_key = hello("c", signer="mallory")
    twice = {"name": hello("c", signer="c2"), "identity key": hello("c2", signer="c"),
             "sealing key": hello("e", sealing_key=c.sealing_key)}  # fmt: skip
    mismatch = "'d' was told another session or other parameters"
    backwards = canonical([a, x, other_session])[::-1]
    return [
        (RosterRefused, "own hello", [tampered(a), tampered(b), c, c, other_session, x], small),
        (RosterRefused, "own hello", [hello("a", published=bytes([2]) * 32), tampered(b), x], small),
        (RosterRefused, "own hello", [b, c, d], small),
        (BadSignature, "pod 'b'", [a, tampered(b), c, c, other_session, x], small),
        (BadSignature, "pod 'b'", [a, signed(b, Identity("c")), c, c, other_session], small),
        (BadSignature, "pod 'b'", [a, replace(b, signature=bytes(64)), x], small),
        *((RosterRefused, f"one {what} twice", [a, c, same, other_session, x], small) for what, same in twice.items()),
        (RosterRefused, "one name twice", [a, b, b, other_session, x], small),
        (RosterRefused, "canonical order", backwards, small),
        (RosterRefused, mismatch, canonical([a, wrong_key, other_session]), small),
        (RosterRefused, mismatch, canonical([a, wrong_key, other_parameters]), small),
        (RosterRefused, "'x' was not among the pods requested", canonical([a, x, wrong_key]), small),
        (NotApproved, "'a' does not approve pod 'b'", canonical([a, b]), {**small, "approved": ("c",)}),
        (WrongKey, "'a' knows pod 'c' by another key", canonical([a, wrong_key]), small),
        (PolicyRefused, "at least 9 pods; this one has 4", GOOD, small),
        (PolicyRefused, "at least 2 pods; this one has 1", [a], {"minimum_cohort": 0, "threshold": 1}),
        (PolicyRefused, "whole requested cohort of 5; this one has 4", GOOD,
         {"requested": (*NAMES, "e"), "exact_cohort": True, "threshold": 1}),
        (PolicyRefused, "threshold of 3 to 4 in a cohort of 4; this one is 2", GOOD, {"threshold": 2}),
        (PolicyRefused, "threshold of 3 to 4 in a cohort of 4; this one is 5", GOOD, {"threshold": 5}),
        (PolicyRefused, "threshold of 4 to 4 in a cohort of 4; this one is 3", GOOD,
         {"threshold": 3, "minimum_threshold": 4}),
        (PolicyRefused, "threshold of 3 to 3 in a cohort of 3; this one is 2", canonical([a, b, c]), {"threshold": 2}),
    ]  # fmt: skip


@pytest.mark.parametrize(("error", "text", "hellos", "terms"), cases(), ids=range(len(cases())))
def test_every_check_is_made_in_the_order_of_the_protocol(
    error: type[ProtocolError], text: str, hellos: list[Hello], terms: dict[str, Any]
) -> None:
    with pytest.raises(error, match=text) as refused:
        check(hellos, **terms)
    assert type(refused.value) is error


@given(st.sampled_from(NAMES), st.integers(0, 511))
def test_no_bit_of_a_signature_may_differ(name: str, bit: int) -> None:
    hellos = list(GOOD)
    place = [each.name for each in hellos].index(name)
    flipped = bytearray(hellos[place].signature)
    flipped[bit // 8] ^= 1 << bit % 8
    hellos[place] = replace(hellos[place], signature=bytes(flipped))
    with pytest.raises(RosterRefused if name == "a" else BadSignature):
        check(hellos)


def test_a_hello_signed_for_another_purpose_does_not_verify() -> None:
    plain = hello("b")
    for message in (plain.unsigned(), statement(HELLO + "2", SESSION, "b", "", plain.unsigned())):
        with pytest.raises(BadSignature, match="pod 'b'"):
            verify_hello(replace(plain, signature=Identity("b").sign(message)))


@given(st.permutations(GOOD))
def test_the_roster_is_the_same_whatever_the_order_of_arrival(hellos: list[Hello]) -> None:
    assert Roster.of(hellos) == Roster.of(GOOD)


def test_the_digest_tells_any_two_rosters_apart() -> None:
    rosters = [GOOD, GOOD[:3], [*GOOD[:3], hello("x")], [*GOOD[:3], hello(GOOD[3].name, published=bytes([1]) * 32)],
               [*GOOD[:3], replace(GOOD[3], signature=bytes(64))]]  # fmt: skip
    assert len({Roster.of(hellos).digest for hellos in rosters}) == len(rosters)


def test_the_default_threshold_is_the_protocols() -> None:
    assert [default_threshold(n) for n in (2, 3, 4, 5, 6, 9, 10, 50)] == [2, 3, 3, 4, 5, 7, 7, 34]
    assert [threshold_for(0, 10), threshold_for(9, 10)] == [7, 9]


@given(st.integers(2, 60), st.integers(0, 70))
def test_a_threshold_is_accepted_only_above_half_and_for_three_pods_or_fewer_only_whole(
    pods: int, threshold: int
) -> None:
    policy = policy_of("a", NAMES)
    fits = threshold == pods if pods <= 3 else pods < 2 * threshold <= 2 * pods
    if fits:
        check_cohort("a", pods, pods, threshold, policy)
    else:
        with pytest.raises(PolicyRefused, match="threshold"):
            check_cohort("a", pods, pods, threshold, policy)


def test_a_pod_has_its_place_in_the_canonical_order() -> None:
    roster = World(("a", "b", "c", "d"), deliver=False).roster
    assert [roster.position(name) for name in roster.names] == [0, 1, 2, 3]
    with pytest.raises(KeyError):
        roster.position("stranger")
