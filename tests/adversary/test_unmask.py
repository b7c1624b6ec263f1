"""A server that lies about who was lost, to make pods open more than one sum."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_app.flower import records
from fl_app.secagg.aggregator import Collection
from fl_app.secagg.binding import self_share_key, survivors_statement
from fl_app.secagg.crypto import UNMASK, box, statement
from fl_app.secagg.errors import AggregateRefused, BadSignature
from fl_app.secagg.masking import Sum
from fl_app.secagg.messages import SurvivorsRequest, UnmaskReply, UnmaskRequest, Witness
from tests.adversary.server import Server, assert_refused, refusal_of, state_of, vector_in
from tests.support.pods_in_process import NAMES, exact_mean, identity


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """Four pods, of which one may be lost (t = 3)."""
    server = Server(tmp_path, 4)
    server.join()
    return server


def order(server: Server) -> tuple[str, ...]:
    return server.aggregator.roster.names


def whole(server: Server) -> Collection:
    return server.collect()


def without_last(server: Server) -> Collection:
    return server.collect(order(server)[:3])


def claim(collection: Collection, survivors: Sequence[str]) -> Any:
    return replace(collection.survivors_request(), survivors=tuple(survivors))


def assert_opened(reply: Any) -> None:
    assert len(records.take(reply, UnmaskReply).self_shares) >= 3


# -- the honest way, so that the refusals below mean something ------------------------------------------------------


def test_a_whole_sum_is_opened(server: Server) -> None:
    collection = whole(server)
    server.open(collection)
    aggregate = collection.result()
    assert aggregate.pods == 4
    assert aggregate.values["update"].tolist() == exact_mean(server.pods.pods, server.names)


def test_a_sum_after_a_loss_is_opened(server: Server) -> None:
    collection = without_last(server)
    server.open(collection)
    aggregate = collection.result()
    assert aggregate.pods == 3
    assert aggregate.values["update"].tolist() == exact_mean(server.pods.pods, collection.survivors)


def test_the_same_survivors_again_get_the_same_answer(server: Server) -> None:
    collection = whole(server)
    request = collection.unmask_request(NAMES[0])
    assert server.unmask(NAMES[0], request) == server.unmask(NAMES[0], request)


# -- a second list of survivors -------------------------------------------------------------------------------------


def test_a_late_vector_is_not_opened_once_the_survivors_are_fixed(server: Server) -> None:
    *first, late = order(server)
    collection = without_last(server)
    server.gather_witnesses(collection)
    everyone = server.aggregator.collect(server.step(), records.request_digest(server.request()))
    everyone._replies = dict(collection._replies)
    everyone.add(late, *vector_in(server.train(late)))
    assert_refused(server.unmask(first[0], everyone.unmask_request(first[0])), "answered", "other survivors")


def test_a_late_vector_stays_masked_by_its_own_mask(server: Server) -> None:
    *first, late = order(server)
    collection = without_last(server)
    server.open(collection)
    vector, _ = vector_in(server.train(late))
    bare = Sum(collection.layout.field, collection.layout.length)
    bare.add(vector)
    seeds = [collection._reveals[name].pair_seeds[0] for name in first]
    bare.remove([], seeds)  # the last of the roster subtracts all its pair masks
    assert (np.abs(bare.centred()) > 1 << 30).all()  # by chance each is not once in 2^30


def test_a_second_unmask_with_other_survivors_is_refused(server: Server) -> None:
    collection = whole(server)
    me = order(server)[0]
    assert_opened(server.unmask(me, collection.unmask_request(me)))
    assert_refused(server.witness(me, claim(collection, order(server)[:3])), "answered", "other survivors")


def test_a_pod_is_not_opened_both_as_survivor_and_as_lost(server: Server) -> None:
    """The attack on Flower's SecAgg+: both secrets of one pod, asked for in two requests."""
    me, *_, both = order(server)
    collection = whole(server)
    assert_opened(server.unmask(me, collection.unmask_request(me)))  # the self mask of ``both`` is out
    ask = collection.unmask_request(me)
    others = order(server)[:3]
    signed = tuple(sign(collection, name, others) for name in others)  # even if all others lied for the server
    less = replace(ask, survivors=others, shares=ask.shares[:3], witnesses=signed)
    assert both not in less.survivors
    assert_refused(server.unmask(me, less), "answered", "other survivors")


@pytest.mark.parametrize("how", ["named twice", "unknown", "out of order"])
def test_survivors_that_are_not_a_part_of_the_roster_are_refused(server: Server, how: str) -> None:
    me, second, third, last = order(server)
    collection = whole(server)
    survivors = {
        "named twice": (me, second, third, last, last),
        "unknown": (me, second, third, "stranger"),
        "out of order": (second, me, third),
    }[how]
    assert_refused(server.witness(me, claim(collection, survivors)), "survivors", "each once")


def test_a_pod_named_lost_opens_nothing(server: Server) -> None:
    *first, last = order(server)
    collection = whole(server)
    assert_refused(server.witness(last, claim(collection, first)), "survivors", "named lost")
    request = replace(collection.unmask_request(last), survivors=tuple(first))
    assert_refused(server.unmask(last, request), "survivors", "named lost")


# -- too few, or unsigned -------------------------------------------------------------------------------------------


def test_fewer_survivors_than_the_threshold_are_refused(server: Server) -> None:
    collection = whole(server)
    me, second, *_ = order(server)
    assert_refused(server.witness(me, claim(collection, (me, second))), "survivors", "at least 3")
    request = replace(collection.unmask_request(me), survivors=(me, second))
    assert_refused(server.unmask(me, request), "survivors", "at least 3")


def test_fewer_survivors_than_the_owners_minimum_are_refused(server: Server) -> None:
    server.pods.change_owner(order(server)[0], minimum_cohort=4)
    collection = without_last(server)
    assert_refused(server.witness(order(server)[0], collection.survivors_request()), "survivors", "at least 4")


def test_an_owner_who_asks_for_the_exact_cohort_opens_no_smaller_sum(server: Server) -> None:
    server.pods.change_owner(order(server)[0], exact_cohort=True)
    collection = without_last(server)
    assert_refused(server.witness(order(server)[0], collection.survivors_request()), "survivors", "whole cohort")


def sign(collection: Collection, name: str, survivors: Sequence[str]) -> Witness:
    return Witness(name, identity(name).sign(survivors_statement(collection.label, name, survivors)))


@pytest.mark.parametrize("how", ["nobody", "too few", "one three times", "one who is lost"])
def test_survivors_that_too_few_have_signed_are_refused(server: Server, how: str) -> None:
    me, second, _, last = order(server)
    collection = without_last(server)
    who = {
        "nobody": (),
        "too few": (me, second),
        "one three times": (second, second, second),
        "one who is lost": (me, second, last),
    }[how]
    witnesses = tuple(sign(collection, name, collection.survivors) for name in who)
    request = replace(collection.unmask_request(me), witnesses=witnesses)
    assert_refused(server.unmask(me, request), "survivors", "must have signed")


@pytest.mark.parametrize("how", ["forged", "of another list", "of another step"])
def test_survivors_with_a_signature_that_is_not_theirs_are_refused(server: Server, how: str) -> None:
    me, second, third, _ = order(server)
    collection = without_last(server)
    bad = {
        "forged": Witness(third, bytes(64)),
        "of another list": sign(collection, third, order(server)),
        "of another step": Witness(
            third, identity(third).sign(survivors_statement(bytes(32), third, collection.survivors))
        ),
    }[how]
    witnesses = (*(sign(collection, name, collection.survivors) for name in (me, second)), bad)
    request = replace(collection.unmask_request(me), witnesses=witnesses)
    assert_refused(server.unmask(me, request), "signature", third)


# -- another label --------------------------------------------------------------------------------------------------


def test_a_label_this_pod_has_not_answered_is_refused(server: Server) -> None:
    *first, last = order(server)
    collection = without_last(server)
    request = UnmaskRequest(
        server.aggregator.session, collection.label, order(server), (), ()
    )  # the last has sent no vector
    assert_refused(server.unmask(last, request), "session", "in phase 'joined'")
    assert_refused(server.witness(first[0], replace(claim(collection, first), label=bytes(32))), "session", "label")


def test_a_step_under_way_is_not_unmasked(server: Server) -> None:
    """Its vector has not left the pod: there is no sum yet that it could be part of."""
    me, *others = order(server)

    label = server.collect(others).label
    session, update, replies = server.aggregator.session, server.pods.pods[me].update, []

    def asked_meanwhile(size: int) -> np.ndarray:
        replies.append(server.witness(me, SurvivorsRequest(session, label, order(server))))
        replies.append(server.unmask(me, UnmaskRequest(session, label, order(server), (), ())))
        return update(size)

    server.pods.pods[me].update = asked_meanwhile
    server.train(me)
    assert_refused(replies[0], "session", "cannot sign survivors in phase 'begun'")
    assert_refused(replies[1], "session", "in phase 'begun'")


def test_an_earlier_steps_label_is_refused(server: Server) -> None:
    first = whole(server)
    server.collect(round=2, shares=False)
    me = order(server)[0]
    assert_refused(server.unmask(me, first.unmask_request(me)), "session", "under this label")


def test_shares_of_one_label_served_at_anothers_unmask_are_refused(server: Server) -> None:
    """Round 1 is left as it is; its boxes come back as if they were those of round 2."""
    first = whole(server)
    second = server.collect(round=2, shares=False)
    me, other = order(server)[:2]
    old = first.unmask_request(me).shares[1]
    assert_refused(server.unmask(me, with_box(second, me, 1, old)), "share", other, "does not open")


# -- the boxes with shares of self masks ----------------------------------------------------------------------------


def with_box(collection: Collection, receiver: str, place: int, boxed: bytes) -> UnmaskRequest:
    request = collection.unmask_request(receiver)
    return replace(request, shares=(*request.shares[:place], boxed, *request.shares[place + 1 :]))


def test_a_self_mask_share_forged_by_the_server_is_refused(server: Server) -> None:
    """It knows every public key and what it has made up itself, but no key of a pair."""
    me, other = order(server)[:2]
    collection = whole(server)
    for key in (bytes(32), server.hellos[me].sealing_key, collection.label, server.aggregator.roster.digest):
        forged = box(bytes(32), self_share_key(key, collection.label, other, me))
        assert_refused(server.unmask(me, with_box(collection, me, 1, forged)), "share", other, "does not open")


def test_a_self_mask_share_altered_by_the_server_is_refused(server: Server) -> None:
    me, other = order(server)[:2]
    collection = whole(server)
    good = collection.unmask_request(me).shares[1]
    for place in (0, 11, 12, 43, 44, 59):
        altered = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        assert_refused(server.unmask(me, with_box(collection, me, 1, altered)), "share", other, "does not open")
    for cut in (b"", good[:11], good[:12], good[:-1]):
        assert_refused(server.unmask(me, with_box(collection, me, 1, cut)), "share", other, "does not open")


def test_a_self_mask_share_boxed_under_another_label_by_a_lying_peer_is_refused(server: Server) -> None:
    me, other = order(server)[:2]
    collection = whole(server)
    key = state_of(server, other).key_with(me)
    elsewhere = box(bytes(32), self_share_key(key, bytes(32), other, me))
    assert_refused(server.unmask(me, with_box(collection, me, 1, elsewhere)), "share", other, "does not open")


def test_a_self_mask_share_for_another_pod_is_refused(server: Server) -> None:
    me, other = order(server)[:2]
    collection = whole(server)
    for_other = collection.unmask_request(other).shares[1]
    assert_refused(server.unmask(me, with_box(collection, me, 1, for_other)), "share", "does not open")


def test_a_self_mask_share_sent_back_to_its_maker_is_refused(server: Server) -> None:
    """The maker would open another's share of its own self mask, beside that which it holds itself."""
    me, other = order(server)[:2]
    collection = whole(server)
    own = collection.unmask_request(other).shares[0]  # from me to the other
    assert_refused(server.unmask(me, with_box(collection, me, 1, own)), "share", other, "does not open")


def test_a_self_mask_share_of_another_length_is_refused(server: Server) -> None:
    me, other = order(server)[:2]
    collection = whole(server)
    key = state_of(server, other).key_with(me)
    long = box(bytes(33), self_share_key(key, collection.label, other, me))
    assert_refused(server.unmask(me, with_box(collection, me, 1, long)), "share", "32 bytes")


def test_who_spoilt_a_share_nobody_can_tell(server: Server) -> None:
    """What SECURITY.md says under "a lying pod can stop rounds": the refusal is the same whoever lied."""
    me, other = order(server)[:2]
    collection = whole(server)
    by_server = refusal_of(server.unmask(me, with_box(collection, me, 1, bytes(60))))
    spoilt = replace(collection._replies[other], shares=(bytes(60),) * 4)
    collection._replies[other] = spoilt  # as if that pod had sent it, and signed it
    by_maker = refusal_of(server.unmask(me, collection.unmask_request(me)))
    assert by_server == by_maker
    assert other in by_server.text


@pytest.mark.parametrize("how", ["one missing", "one twice"])
def test_an_unmask_without_one_share_of_each_survivor_is_refused(server: Server, how: str) -> None:
    me = order(server)[0]
    request = whole(server).unmask_request(me)
    shares = request.shares[:3] if how == "one missing" else (*request.shares[:3], request.shares[2])
    words = "exactly one" if how == "one missing" else "does not open"
    assert_refused(server.unmask(me, replace(request, shares=shares)), "share", words)


# -- and afterwards -------------------------------------------------------------------------------------------------


def test_a_session_that_lost_a_pod_answers_no_further_step(server: Server) -> None:
    """Or a server could sum over another part of the cohort in each round, and count as no change of membership."""
    collection = without_last(server)
    server.open(collection)
    reply = server.train(order(server)[0], server.request(2), shares=())
    assert_refused(reply, "session")


# -- lying peers, as the server sees them ---------------------------------------------------------------------------


def test_a_share_that_a_lying_peer_opens_wrong_is_found(server: Server) -> None:
    collection = whole(server)
    liar = order(server)[0]
    server.open(collection)
    truth = collection._reveals[liar]
    wrong = replace(truth, self_shares=(bytes(32), *truth.self_shares[1:]))
    said = statement(UNMASK, collection.label, liar, "", wrong.content())
    collection._reveals = {name: collection._reveals[name] for name in order(server)[:3]}
    collection.take_reveal(liar, replace(wrong, signature=identity(liar).sign(said)))
    with pytest.raises(AggregateRefused, match="committed"):
        collection.result()


def test_a_pair_seed_that_a_lying_peer_makes_up_is_found(server: Server) -> None:
    collection = without_last(server)
    liar = order(server)[0]
    server.open(collection)
    wrong = replace(collection._reveals[liar], pair_seeds=(bytes(32),))
    said = statement(UNMASK, collection.label, liar, "", wrong.content())
    collection.take_reveal(liar, replace(wrong, signature=identity(liar).sign(said)))
    with pytest.raises(AggregateRefused, match="roll call"):
        collection.result()


def test_an_answer_altered_on_the_way_is_found(server: Server) -> None:
    collection = whole(server)
    me = order(server)[0]
    opened = records.take(server.unmask(me, collection.unmask_request(me)), UnmaskReply)
    altered = replace(opened, self_shares=(bytes(32), *opened.self_shares[1:]))
    with pytest.raises(BadSignature):
        collection.take_reveal(me, altered)
