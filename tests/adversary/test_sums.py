"""A server that shows the pods of a verified session another sum than theirs, and pods that deal wrong shares.

Nothing here needs Flower: sessions, server and pods are those of `tests.fl_app.secagg.cohort`.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fl_app.secagg.aggregator import Collection
from fl_app.secagg.errors import ProtocolError
from fl_app.secagg.field import FIELD_61
from fl_app.secagg.messages import Hello, Proof, Step
from fl_app.secagg.session_state import Phase
from fl_app.secagg.tags import ROW
from fl_app.secagg.verified_sum import Pending
from tests.fl_app.secagg.cohort import FOLLOWED, REQUEST, World, constant, policy_of, refusal, signed

NAMES = ("a", "b", "c", "d")
Q = FIELD_61.prime


def world_of(deliver: bool = True) -> World:
    return World(NAMES, deliver=deliver, verified=True, threshold=3)


def collected(world: World, step: Step) -> Collection:
    """Run a step, in which every pod has the same values and the weight 10."""
    collection = world.collect(step)
    for name in world.names:
        collection.add(name, *world.answer(name, step))
    world.unmask(collection)
    collection.result()
    return collection


def proven(world: World, size: int = 5, round: int = 1) -> tuple[Pending, Proof, npt.NDArray[Any]]:
    """Return what pod "a" keeps of a step, and the server's proof of its sum."""
    step = world.step(size, round)
    proof, words = collected(world, step).proof()
    return world.sessions["a"].pending(step), proof, words


def changed(words: npt.NDArray[Any], changes: dict[int, int]) -> npt.NDArray[Any]:
    forged = words.copy()
    for place, word in changes.items():
        forged[place] = word
    return forged


# --- the server


def test_another_sum_is_refused() -> None:
    pending, proof, words = proven(world_of())
    assert not refusal(pending, proof, words)
    assert "its tag is not that" in refusal(pending, proof, changed(words, {2: int(words[2]) + 1}))
    assert "its tag is not that" in refusal(pending, proof, changed(words, {len(words) - 1: 0}))


def test_a_fraction_of_a_sum_is_not_that_of_fewer_pods() -> None:
    """Where all pods have the same values, three quarters of their sum are the sum of three: the roll calls fit too."""
    pending, proof, words = proven(world_of())
    fraction = (words.astype(object) * 3 * pow(4, -1, Q) % Q).astype(words.dtype)
    assert fraction[0] == 3
    assert "its tag is not that" in refusal(pending, replace(proof, survivors=proof.survivors[:3]), fraction)


def test_two_elements_cannot_be_exchanged() -> None:
    world = world_of()
    step = world.step()
    collection = world.collect(step)
    for name in world.names:
        values = constant(step) | {"update": np.arange(5.0)}
        collection.add(name, *world.answer(name, step, values))
    world.unmask(collection)
    collection.result()
    proof, words = collection.proof()
    exchanged = changed(words, {3: int(words[5]), 5: int(words[3])})
    assert "its tag is not that" in refusal(world.sessions["a"].pending(step), proof, exchanged)


def test_two_rows_cannot_be_exchanged() -> None:
    pending, proof, words = proven(world_of(), 3 * ROW)
    one, other = 7, 7 + ROW  # as far from the start of their rows
    moved = changed(words, {one: int(words[one]) - 1, other: int(words[other]) + 1})
    assert "its tag is not that" in refusal(pending, proof, moved)


def test_a_sum_has_one_form() -> None:
    """The same residue in another word would be another proof of the same sum, and another digest of it."""
    pending, proof, words = proven(world_of())
    assert "no element of the field" in refusal(pending, proof, changed(words, {2: int(words[2]) + Q}))


def test_a_sum_of_another_length_or_type_is_refused() -> None:
    pending, proof, words = proven(world_of())
    for other in (np.append(words, words[:1]), words.astype(np.int64), words.astype(">u8")):
        assert "another length or type" in refusal(pending, proof, other)


def test_the_sum_of_an_earlier_step_is_refused_as_such() -> None:
    world = world_of()
    _, proof, words = proven(world)
    pending, _, _ = proven(world, round=2)
    assert "another step's" in refusal(pending, proof, words)


def test_every_step_has_a_tag_key_of_its_own() -> None:
    world = world_of()
    _, proof, words = proven(world)
    pending, _, _ = proven(world, round=2)
    assert "its tag is not that" in refusal(pending, replace(proof, label=pending.label), words)


def test_survivors_are_pods_of_the_roster_in_its_order() -> None:
    pending, proof, words = proven(world_of())
    first, *others = proof.survivors
    for survivors in ((first, first, *others[1:]), (*others, first), (*others, "x"), (*proof.survivors, "x")):
        assert "each once and in its order" in refusal(pending, replace(proof, survivors=survivors), words)


def test_a_sum_of_fewer_than_the_threshold_is_refused() -> None:
    pending, proof, words = proven(world_of())
    for count in range(3):
        text = refusal(pending, replace(proof, survivors=proof.survivors[:count]), words)
        assert f"it is of {count} pods and must be of 3" in text


def test_no_sum_is_waited_for_before_a_step_is_answered() -> None:
    world = world_of()
    begun = world.sessions["a"].begin(world.step(), REQUEST, world.ledgers["a"], FOLLOWED)
    for session in (world.sessions["a"], begun):
        assert "no answered step" in attempt(lambda session=session: session.pending(world.step()))


# --- what was followed


def test_pods_that_followed_different_things_do_not_sum() -> None:
    world = world_of()
    step, ledger = world.step(), world.ledgers["a"]
    honest = world.collect(step)
    world.sessions["a"] = world.sessions["a"].begin(step, REQUEST, ledger, bytes(32))
    assert world.sessions["a"].label != honest.label


def test_a_step_must_say_what_was_followed() -> None:
    world = world_of()
    text = attempt(lambda: world.sessions["a"].begin(world.step(), REQUEST, world.ledgers["a"]))
    assert "32 bytes of what was followed" in text


# --- a lying peer


def attempt(action: Any) -> str:
    """Return why an action is refused, "" if it is not."""
    try:
        action()
    except ProtocolError as error:
        return str(error)
    return ""


def dealt(world: World, name: str, share: bytes) -> None:
    """Have a pod seal another share of the group key to all others than the one that its hello commits it to."""
    session = world.sessions[name]
    opened = replace(session, phase=Phase.OPENED, roster=None, sealed=(), shares={}, group_share=share)
    session = opened.accept_roster(world.roster.hellos, world.identities[name], policy_of(name, NAMES))
    world.aggregator.take_shares(name, session.sealed)


def test_a_peer_that_deals_different_group_shares_is_named() -> None:
    world = world_of(deliver=False)
    dealt(world, "b", bytes(range(32)))
    text = attempt(lambda: world.deliver("a"))
    assert "group key from pod 'b' is not the one in its hello" in text


def test_a_peer_that_commits_to_no_group_share_is_named() -> None:
    world = world_of(deliver=False)
    bare: list[Hello] = [
        signed(replace(hello, group=bytes(32)), world.identities["b"]) if hello.name == "b" else hello
        for hello in world.roster.hellos
    ]
    world.roster = world.aggregator.make_roster(bare)
    for name, session in world.sessions.items():
        own = world.roster.hellos[world.roster.position(name)]
        opened = replace(session, own=own, phase=Phase.OPENED, roster=None, sealed=(), shares={})
        world.sessions[name] = opened.accept_roster(bare, world.identities[name], policy_of(name, NAMES))
        world.aggregator.take_shares(name, world.sessions[name].sealed)
    text = attempt(lambda: world.deliver("a"))
    assert "group key from pod 'b' is not the one in its hello" in text
