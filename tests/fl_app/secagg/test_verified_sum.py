"""Verified sums from hello to check: what is the cohort's is taken, everything else is refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_app.secagg import npy
from fl_app.secagg.aggregator import Collection
from fl_app.secagg.binding import field_for, group_commitment, group_key, layout_for
from fl_app.secagg.codec import PAYLOAD, Aggregate
from fl_app.secagg.errors import AggregateRefused, BadSignature, SessionRefused, ShareRefused
from fl_app.secagg.field import FIELD_31, FIELD_61
from fl_app.secagg.keystream import BLOCK
from fl_app.secagg.messages import Proof, Step
from fl_app.secagg.pod_session import PodSession
from fl_app.secagg.session_state import Phase
from fl_app.secagg.tags import tag_elements
from fl_app.secagg.verified_sum import Pending, check_sum
from tests.fl_app.secagg.cohort import FOLLOWED, REQUEST, Values, World, policy_of, refusal

NAMES = ("a", "b", "c", "d", "e")
PRIMES = (FIELD_61.prime, FIELD_31.prime)
primes = pytest.mark.parametrize("prime", PRIMES, ids=["61 bits", "31 bits"])


def world_of(prime: int = FIELD_61.prime, pods: int = 4, threshold: int = 3, **changes: Any) -> World:
    limits = {"max_weight": 20, "prime_q": prime, "threshold": threshold}
    return World(NAMES[:pods], verified=True, **limits | changes)


def values_of(step: Step, seed: int) -> Values:
    rng = np.random.default_rng(seed)
    return {
        "update": rng.normal(scale=4.0, size=step.sizes[0]).astype(np.float32),
        "loss": rng.uniform(0, 9, 1),
        "n": rng.integers(0, 1000, 2),
    }


def summed(
    world: World, step: Step, lost: Sequence[str] = ()
) -> tuple[Aggregate, Proof, npt.NDArray[Any], dict[str, Pending]]:
    """Run a step and return its aggregate, the server's proof of it, and what each pod keeps of it."""
    collection = world.collect(step)
    for place, name in enumerate(world.names):
        vector, reply = world.answer(name, step, values_of(step, place), weight=place + 1)
        if name not in lost:
            collection.add(name, vector, reply)
    if collection.unmasks:
        world.unmask(collection)
    aggregate = collection.result()
    pending = {name: session.pending(step) for name, session in world.sessions.items()}
    return aggregate, *collection.proof(), pending


def assert_same(one: Aggregate, other: Aggregate) -> None:
    assert (one.pods, one.weight, one.clipped) == (other.pods, other.weight, other.clipped)
    assert one.values.keys() == other.values.keys()
    for name, values in one.values.items():
        np.testing.assert_array_equal(values, other.values[name])


# --- what is the cohort's


@primes
@pytest.mark.parametrize("pods", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [1, PAYLOAD - 7, PAYLOAD - 6, PAYLOAD - 5, 3 * PAYLOAD, 17 * PAYLOAD - 3])
def test_every_pod_takes_the_sum_of_all(prime: int, pods: int, size: int) -> None:
    world = world_of(prime, pods, threshold=0)
    aggregate, proof, words, pending = summed(world, world.step(size))
    assert (aggregate.pods, aggregate.weight) == (pods, pods * (pods + 1) // 2)
    for each in pending.values():
        assert_same(check_sum(each, proof, words), aggregate)


@settings(max_examples=25, deadline=None)
@given(
    prime=st.sampled_from(PRIMES),
    size=st.one_of(st.integers(1, 50), st.integers(PAYLOAD - 10, PAYLOAD + 10), st.integers(BLOCK, 5 * BLOCK)),
    lost=st.sets(st.sampled_from(NAMES), max_size=2),
)
def test_every_pod_takes_the_sum_of_the_survivors(prime: int, size: int, lost: set[str]) -> None:
    world = world_of(prime, 5)
    aggregate, proof, words, pending = summed(world, world.step(size), tuple(lost))
    assert proof.survivors == tuple(name for name in world.roster.names if name not in lost)
    for each in pending.values():  # the lost ones have the key too, and can follow
        assert_same(check_sum(each, proof, words), aggregate)


def test_a_step_in_the_large_field_of_a_run_in_the_small_one() -> None:
    world = world_of(FIELD_31.prime)
    step = Step(world.aggregator.session, "statistics", 1, ("s",), (9,))
    collection = world.collect(step)
    for place, name in enumerate(world.names):
        collection.add(name, *world.answer(name, step, {"s": np.full(9, 0.5 + place)}, weight=0))
    world.unmask(collection)
    aggregate = collection.result()
    assert aggregate.values["s"].tolist() == [8.0] * 9
    assert_same(check_sum(world.sessions["a"].pending(step), *collection.proof()), aggregate)


def test_what_a_pod_keeps_of_a_step_outlives_the_session_and_comes_back_from_its_bytes() -> None:
    world = world_of()
    aggregate, proof, words, pending = summed(world, world.step(round=3))
    assert world.sessions["a"].phase is Phase.OVER
    kept = Pending.from_bytes(pending["a"].to_bytes())
    world.sessions["a"] = world.sessions["a"].closed()
    assert_same(check_sum(kept, proof, words), aggregate)


@primes
def test_the_words_are_sent_without_a_copy(prime: int) -> None:
    world = world_of(prime)
    _, _, words, _ = summed(world, world.step(1000))
    layout = layout_for(world.parameters, world.step(1000), 4)
    assert (words.dtype, words.shape) == (layout.field.dtype, (layout.length,))
    assert int(words.max()) < layout.field.prime
    file = npy.file_of(words)
    assert np.shares_memory(words, np.frombuffer(file, np.uint8))
    assert not words.flags.writeable


# --- what is not: 10,000 at random


@primes
@pytest.mark.parametrize("what", ["sum", "tag", "survivors", "sum and tag", "everything"])
def test_a_thousand_random_forgeries_are_refused(prime: int, what: str) -> None:
    world = world_of(prime, 5)
    step = world.step(3)
    _, proof, words, pending = summed(world, step, lost=("c",))
    layout, rng = layout_for(world.parameters, step, 5), np.random.default_rng(prime % 1000)
    tag, roster = list(layout.tag_places), world.roster.names
    values = [place for place in range(1, layout.length) if place not in tag]
    for _ in range(1000):
        forged, survivors = words.copy(), proof.survivors
        if what in ("sum", "sum and tag", "everything"):
            places = rng.choice(values, rng.integers(1, len(values)), replace=False)
            # Small changes of small sums, so that the tag decides and not the capacity of the layout.
            changed = forged[places].astype(object) + rng.integers(-50, 50, len(places)).astype(object)
            forged[places] = np.array(changed % prime, forged.dtype)
        if what in ("tag", "sum and tag", "everything"):
            forged[tag] = rng.integers(0, prime, len(tag)).astype(forged.dtype)
        if what in ("survivors", "everything"):
            chosen = rng.choice(roster, rng.integers(3, 6), replace=False)
            survivors = tuple(name for name in roster if name in chosen)
        altered = survivors != proof.survivors or (forged != words).any()
        assert bool(refusal(pending["a"], replace(proof, survivors=survivors), forged)) == altered


# --- what is not: by construction


Forge = Callable[[npt.NDArray[Any], int], Mapping[int, int]]
"""From the sum's words, as Python's integers, and q: what to put where."""

FORGERIES: dict[str, Forge] = {
    "twice the sum and twice the tag": lambda words, q: {i: 2 * w % q for i, w in enumerate(words)},
    "the negative of both": lambda words, q: {i: -w % q for i, w in enumerate(words)},
    "both times the inverse of two": lambda words, q: {i: w * pow(2, -1, q) % q for i, w in enumerate(words)},
    "nothing at all": lambda words, q: dict.fromkeys(range(len(words)), 0),
    "one more in an element of the update": lambda words, q: {2: (words[2] + 1) % q},
    "one less in an element of the update": lambda words, q: {2: (words[2] - 1) % q},
    "the negative of an element": lambda words, q: {2: -words[2] % q},
    "two elements exchanged": lambda words, q: {2: words[3], 3: words[2]},
    "one more here and one less there": lambda words, q: {2: (words[2] + 1) % q, 3: (words[3] - 1) % q},
    "an element added to another": lambda words, q: {2: (words[2] + words[3]) % q, 3: 0},
    "all values but the roll calls": lambda words, q: {i: (w + 1) % q for i, w in enumerate(words) if i % BLOCK},
    "the weight": lambda words, q: {1: words[1] + 1},
    "a metric": lambda words, q: {len(words) - 6: words[-6] + 1},
    "a count": lambda words, q: {len(words) - 4: words[-4] + 1},
    "one more in the tag": lambda words, q: {len(words) - 1: (words[-1] + 1) % q},
    "no tag": lambda words, q: {len(words) - 1: 0},
    "an element moved to the tag": lambda words, q: {2: 0, len(words) - 1: (words[-1] + words[2]) % q},
}  # fmt: skip


@primes
@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_sum_is_refused(prime: int, what: str) -> None:
    world = world_of(prime)
    _, proof, words, pending = summed(world, world.step(6))
    forged = words.copy()
    for place, word in FORGERIES[what](words.astype(object), prime).items():
        forged[place] = word
    assert (forged != words).any()
    for each in pending.values():
        assert refusal(each, proof, forged).startswith("the server's proof of the sum of step 'train' round 1 does not")
        assert not refusal(each, proof, words)


@primes
@pytest.mark.parametrize("distance", [1, BLOCK - 1, BLOCK, 4 * BLOCK, 1 << 12, 1 << 13])
def test_two_elements_exchanged_over_any_distance_are_found(prime: int, distance: int) -> None:
    world = world_of(prime)
    _, proof, words, pending = summed(world, world.step(6 * PAYLOAD))
    forged, places = words.copy(), [1000, 1000 + distance]
    forged[places] = words[places[::-1]]
    assert "its tag is not that of the cohort's vectors" in refusal(pending["b"], proof, forged)


def test_a_sum_of_all_does_not_pass_for_that_of_fewer_nor_the_other_way() -> None:
    world = world_of(pods=5)
    _, proof, words, pending = summed(world, world.step(), lost=("b",))
    complete = world_of(pods=5)
    _, whole, all_words, others = summed(complete, complete.step())
    for survivors in (world.roster.names, proof.survivors[1:], ("b", *proof.survivors[1:])):
        in_order = tuple(name for name in world.roster.names if name in survivors)
        assert refusal(pending["a"], replace(proof, survivors=in_order), words)
    assert refusal(others["a"], replace(whole, survivors=complete.roster.names[:4]), all_words)


@primes
def test_a_proof_is_good_for_its_step_alone(prime: int) -> None:
    world, other = world_of(prime), world_of(prime)
    first, second = (summed(world, world.step(round=number)) for number in (1, 2))
    elsewhere = summed(other, other.step())
    proofs = [each[1:3] for each in (first, second, elsewhere)]
    for place, step in enumerate((first, second, elsewhere)):
        for number, (proof, words) in enumerate(proofs):
            assert bool(refusal(step[3]["a"], proof, words)) == (number != place)
            # The label alone is easily written over.
            relabelled = replace(proof, label=step[1].label)
            assert bool(refusal(step[3]["a"], relabelled, words)) == (number != place)


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=160),
    kind=st.sampled_from(["<u8", "<u4", ">u8", "<i8", "<f8", "u1", "?", "<U2", "V8"]),
    survivors=st.lists(st.sampled_from([*NAMES, "", "x"]), max_size=6),
    shape=st.sampled_from([(-1,), (1, -1), (-1, 1)]),
)
def test_whatever_is_shown_is_refused_by_the_one_error(
    data: bytes, kind: str, survivors: list[str], shape: tuple[int, ...]
) -> None:
    size = np.dtype(kind).itemsize
    words = np.frombuffer(data[: len(data) // size * size], kind).reshape(shape if len(data) >= size else (0,))
    for proof in (replace(SHOWN[1], survivors=tuple(survivors)), SHOWN[1]):
        assert refusal(SHOWN[0], proof, words)


def _shown() -> tuple[Pending, Proof]:
    world = world_of()
    _, proof, _, pending = summed(world, world.step())
    return pending["a"], proof


SHOWN = _shown()


# --- the group key


def test_all_pods_have_one_group_key_for_a_session_and_no_two_sessions_have_the_same() -> None:
    keys = [{session.group_key for session in world_of().sessions.values()} for _ in range(3)]
    assert all(len(each) == 1 and len(next(iter(each))) == 32 for each in keys)
    assert len(set.union(*keys)) == 3


def test_every_share_of_the_group_key_counts() -> None:
    world = world_of(deliver=False)
    shares = {name: session.group_share for name, session in world.sessions.items()}
    assert len(set(shares.values())) == 4
    assert all(len(share) == 32 for share in shares.values())
    changed = [
        shares,
        *({**shares, name: bytes(32)} for name in shares),
        {**shares, "a": shares["b"], "b": shares["a"]},
    ]
    assert len({group_key(world.roster, each) for each in changed}) == 6
    for name in world.names:
        world.deliver(name)
        assert world.sessions[name].group_key == group_key(world.roster, shares)
        assert world.sessions[name].group_share == b""


def test_a_session_that_is_not_verified_has_none_of_it() -> None:
    world = World(deliver=False)
    assert all(session.own.group == bytes(32) for session in world.sessions.values())
    for name in world.names:
        world.deliver(name)
    assert all(session.group_key == session.group_share == b"" for session in world.sessions.values())
    step = world.step()
    assert layout_for(world.parameters, step, 3).tag_places == ()
    collection = world.collect(step)
    for name in world.names:
        collection.add(name, *world.answer(name, step))
    collection.result()
    with pytest.raises(AggregateRefused, match="no sum here"):
        collection.proof()
    with pytest.raises(SessionRefused, match="no answered step"):
        world.sessions["a"].pending(step)


def test_there_is_no_proof_before_the_sum() -> None:
    world = world_of()
    with pytest.raises(AggregateRefused, match="no sum here"):
        world.collect(world.step()).proof()


def test_a_pod_whose_share_is_not_the_one_in_its_hello_is_named() -> None:
    world = world_of(deliver=False)
    liar = replace(world.sessions["b"], phase=Phase.OPENED, roster=None, sealed=(), shares={}, group_share=bytes(32))
    world.sessions["b"] = liar.accept_roster(world.roster.hellos, *_as(world, "b"))
    world.aggregator.take_shares("b", world.sessions["b"].sealed)
    with pytest.raises(ShareRefused, match="share of the group key from pod 'b' is not the one in its hello"):
        world.deliver("a")


def _as(world: World, name: str) -> tuple[Any, Any]:
    return world.identities[name], policy_of(name, world.names)


def test_a_group_share_cannot_be_moved_to_another_pod_or_session() -> None:
    commitments = {
        group_commitment(session, name, share)
        for session in (bytes(32), FOLLOWED)
        for name in ("a", "b")
        for share in (bytes(32), REQUEST)
    }
    assert len(commitments) == 8


# --- what was followed


def test_pods_that_have_followed_different_things_mask_under_different_labels() -> None:
    world = world_of()
    step, ledger = world.step(), world.ledgers
    one = world.sessions["a"].begin(step, REQUEST, ledger["a"], FOLLOWED)
    other = world.sessions["b"].begin(step, REQUEST, ledger["b"], bytes(32))
    assert one.label != other.label
    assert one.label == world.collect(step).label


def test_what_the_server_says_was_followed_does_not_count() -> None:
    world = world_of(threshold=4)
    step, collection = world.step(), Collection(world.aggregator, world.step(), REQUEST, bytes(32))
    with pytest.raises(BadSignature):
        collection.add("a", *world.answer("a", step))


@pytest.mark.parametrize("followed", [b"", bytes(31), bytes(33)])
def test_a_verified_step_says_what_was_followed(followed: bytes) -> None:
    world = world_of()
    with pytest.raises(SessionRefused, match="32 bytes of what was followed"):
        world.sessions["a"].begin(world.step(), REQUEST, world.ledgers["a"], followed)
    with pytest.raises(SessionRefused, match="32 bytes of what was followed"):
        world.aggregator.collect(world.step(), REQUEST, followed)
    plain = World()
    with pytest.raises(SessionRefused, match="0 bytes of what was followed"):
        plain.sessions["a"].begin(plain.step(), REQUEST, plain.ledgers["a"], bytes(32))


def test_a_step_is_masked_with_what_it_began_with() -> None:
    world = world_of()
    step, ledger, signer = world.step(), world.ledgers["a"], world.identities["a"]
    begun = world.sessions["a"].begin(step, REQUEST, ledger, FOLLOWED)
    with pytest.raises(SessionRefused, match="has not begun this step"):
        begun.mask(step, REQUEST, 1, values_of(step, 1), ledger, signer, bytes(32))
    with pytest.raises(SessionRefused, match="no answered step"):
        begun.pending(step)


def test_a_hello_says_what_the_pod_has_followed() -> None:
    world = world_of()
    opened = PodSession.open(
        "a", world.identities["a"], bytes(32), world.parameters, bytes(32), b"", place=7, followed=FOLLOWED
    )
    assert (opened.own.place, opened.own.followed) == (7, FOLLOWED)
    assert (world.sessions["a"].own.place, world.sessions["a"].own.followed) == (0, bytes(32))


def test_the_field_of_what_is_kept_is_the_steps() -> None:
    world = world_of(FIELD_31.prime)
    _, _, _, pending = summed(world, world.step())
    assert pending["a"].prime_q == field_for(world.parameters, "train").prime == FIELD_31.prime
    assert tag_elements(FIELD_31) == 2
