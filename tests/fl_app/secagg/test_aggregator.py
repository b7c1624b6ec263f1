import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg.aggregator import Aggregator, Collection
from fl_app.secagg.codec import PAYLOAD
from fl_app.secagg.errors import AggregateRefused, BadSignature, ProtocolError, RosterRefused, ShareRefused
from fl_app.secagg.keystream import BLOCK
from tests.fl_app.secagg.cohort import REQUEST, World, constant, parameters, signed


def test_before_there_is_a_roster_it_is_asked_for_by_a_typed_error() -> None:
    with pytest.raises(RosterRefused, match="no roster yet"):
        Aggregator(parameters(("a", "b"))).take_shares("a", [])


def test_sessions_have_names_of_their_own() -> None:
    assert Aggregator(parameters(("a", "b"))).session != Aggregator(parameters(("a", "b"))).session


def test_hellos_of_another_session_or_parameters_or_unsigned_are_refused_by_name() -> None:
    world, other = World(deliver=False), World(deliver=False)
    hellos = list(world.roster.hellos)
    changed = signed(replace(hellos[0], parameters=bytes(32)), world.identities[hellos[0].name])
    for bad, error in ((other.roster.hellos[0], RosterRefused), (changed, RosterRefused),
                       (replace(hellos[0], published=bytes([1]) * 32), BadSignature)):  # fmt: skip
        with pytest.raises(error, match=f"pod '{bad.name}'"):
            world.aggregator.make_roster([bad, *hellos[1:]])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda shares: shares[1:],
        lambda shares: [],
        lambda shares: [*shares, shares[0]],
        lambda shares: [shares[0], shares[0]],
        lambda shares: [replace(shares[0], receiver="x"), *shares[1:]],
        lambda shares: [replace(shares[0], sender="b"), *shares[1:]],
        lambda shares: [replace(shares[0], receiver="a"), *shares[1:]],
    ],
)
def test_a_pod_sends_exactly_one_share_for_each_neighbour(spoil: Callable[[list[Any]], list[Any]]) -> None:
    world = World(deliver=False)
    with pytest.raises(ShareRefused, match="pod 'a' did not send exactly one share"):
        world.aggregator.take_shares("a", spoil(list(world.sessions["a"].sealed)))


def test_shares_that_have_not_come_are_named() -> None:
    world = World(deliver=False)
    fresh = Aggregator(world.parameters)
    fresh.session = world.aggregator.session
    fresh.make_roster(world.roster.hellos)
    fresh.take_shares("b", world.sessions["b"].sealed)
    with pytest.raises(ShareRefused, match="from c"):
        fresh.shares_for("a")


# --- collecting one step


@given(st.permutations("abcd"))
def test_the_order_of_arrival_does_not_matter(order: list[str]) -> None:
    world = WORLD
    collection = world.collect(STEP)
    for name in order:
        collection.add(name, *ANSWERS[name])
    aggregate = collection.result()
    assert (aggregate.pods, aggregate.weight) == (4, 100)
    np.testing.assert_allclose(aggregate.values["update"], np.full(5, 3.0), atol=1e-12)  # (1 + 4 + 9 + 16) / 10


WORLD = World(("a", "b", "c", "d"))
STEP = WORLD.step()
ANSWERS = {
    name: WORLD.answer(name, STEP, constant(STEP, float(value)), 10 * value)
    for name, value in zip("abcd", (1, 2, 3, 4), strict=True)
}


def all_but(name: str) -> Collection:
    collection = WORLD.collect(STEP)
    for other in set("abcd") - {name}:
        collection.add(other, *ANSWERS[other])
    return collection


@pytest.mark.parametrize("name", "abcd")
def test_a_missing_pod_is_named_and_no_sum_is_made(name: str) -> None:
    with pytest.raises(AggregateRefused, match=f"lacks the vectors of {name}$"):
        all_but(name).result()


def test_a_vector_that_comes_twice_or_from_outside_is_refused() -> None:
    collection = all_but("d")
    for name, answer in (("a", ANSWERS["a"]), ("x", ANSWERS["d"])):
        with pytest.raises(AggregateRefused, match=f"pod '{name}' came twice or from outside"):
            collection.add(name, *answer)
    collection.add("d", *ANSWERS["d"])  # what was refused has left no trace
    assert collection.result().pods == 4


def test_a_vector_under_another_pods_name_is_refused() -> None:
    with pytest.raises(BadSignature, match="pod 'd'"):
        all_but("d").add("d", *ANSWERS["a"])


@given(st.integers(0, 9 * 61 - 1))
def test_a_vector_with_a_flipped_bit_is_refused(bit: int) -> None:
    vector, reply = ANSWERS["d"]
    bad = vector.copy()
    bad[bit // 61 % len(bad)] ^= np.uint64(1 << bit % 61)
    with pytest.raises(ProtocolError, match="pod 'd'"):
        all_but("d").add("d", bad, reply)


def test_a_vector_signed_for_another_step_or_session_is_refused() -> None:
    later = WORLD.collect(WORLD.step(round=2))
    with pytest.raises(BadSignature):
        later.add("a", *ANSWERS["a"])
    with pytest.raises(BadSignature):
        WORLD.collect(STEP, bytes(32)).add("a", *ANSWERS["a"])
    other = World(("a", "b", "c", "d"))
    with pytest.raises(BadSignature):
        other.collect(other.step()).add("a", *ANSWERS["a"])


# --- what the roll call finds, where every signature is good


def collected(world: World, answers: dict[str, Any], step: Any) -> Collection:
    """Sum vectors whatever their signatures say: what a roll call alone finds."""
    collection = world.collect(step)
    for vector, _ in answers.values():
        collection._sum.add(vector)
    collection._replies = {name: reply for name, (_, reply) in answers.items()}
    return collection


def test_pods_that_were_told_different_things_have_masks_that_do_not_cancel() -> None:
    for requests in itertools.product((REQUEST, bytes(32)), repeat=3):
        world = World()
        step = world.step()
        answers = {
            name: world.answer(name, step, request=request) for name, request in zip(world.names, requests, strict=True)
        }
        collection = collected(world, answers, step)
        if len(set(requests)) == 1:
            assert collection.result().pods == 3
        else:
            with pytest.raises(AggregateRefused, match="roll call"):
                collection.result()


def test_pods_with_different_rosters_have_masks_that_do_not_cancel() -> None:
    world, other = World(), World()
    step = world.step()
    other_step = replace(step, session=other.aggregator.session)
    answers = {name: world.answer(name, step) for name in "ab"} | {"c": other.answer("c", other_step)}
    with pytest.raises(AggregateRefused, match="roll call"):
        collected(world, answers, step).result()


def test_a_pod_with_an_altered_pair_key_is_found() -> None:
    world = World()
    session = world.sessions["b"]
    world.sessions["b"] = replace(session, pair_keys={**session.pair_keys, "c": bytes(32)})
    answers = {name: world.answer(name, world.step()) for name in world.names}
    with pytest.raises(AggregateRefused, match="roll call"):
        collected(world, answers, world.step()).result()


@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize("how", ["lost", "doubled", "corrupted"])
def test_a_block_that_was_lost_doubled_or_corrupted_is_found(how: str, block: int) -> None:
    world = World(("a", "b"))
    step = world.step(2 * PAYLOAD + 10)
    answers = {name: world.answer(name, step) for name in world.names}
    collection = collected(world, answers, step)
    part = slice(block * BLOCK, (block + 1) * BLOCK)
    vector = answers["a"][0][part].astype(np.int64)
    summed = collection._sum._total[part].view(np.int64)
    if how == "corrupted":
        summed += np.int64(1) << 40
    else:
        summed += vector if how == "doubled" else -vector
    with pytest.raises(AggregateRefused, match="roll call"):
        collection.result()
