"""Values that must not leave a pod, and vectors that must not enter a sum."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fl_app.secagg.aggregator import Collection
from fl_app.secagg.binding import reply_statement
from fl_app.secagg.errors import AggregateRefused, BadSignature, ShareRefused
from fl_app.secagg.messages import MaskedReply
from tests.adversary.server import Server, assert_refused, vector_in
from tests.support.pods_in_process import NAMES, identity

A, B, C = NAMES[:3]


# -- at the pod -----------------------------------------------------------------------------------------------------


def an_update_of(value: float) -> Callable[[int], npt.NDArray[np.float64]]:
    return lambda size: np.r_[np.zeros(size - 1), value]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_does_not_leave(server: Server, value: float) -> None:
    server.pods.pods[A].update = an_update_of(value)
    assert_refused(server.train(A), "value", "not finite")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_metric_that_is_not_finite_does_not_leave(server: Server, value: float) -> None:
    server.pods.pods[A].loss = value
    assert_refused(server.train(A), "value", "not finite")


@pytest.mark.parametrize("value", [64.5, -1e300])
def test_a_metric_past_its_bound_does_not_leave(server: Server, value: float) -> None:
    server.pods.pods[A].loss = value
    assert_refused(server.train(A), "value", "past its declared bound")


@pytest.mark.parametrize("value", [101, -1, 2**62])
def test_a_count_past_its_bound_does_not_leave(server: Server, value: int) -> None:
    server.pods.pods[A].hits = value
    assert_refused(server.train(A), "value", "within its declared bound")


def test_a_weight_beyond_the_declared_maximum_does_not_leave(server: Server) -> None:
    server.pods.pods[A].examples = (1 << 20) + 1
    assert_refused(server.train(A), "value", "the weight is not within")


@pytest.mark.parametrize("value", [8.25, -1e300])
def test_a_huge_update_is_clipped_and_the_clipping_is_counted(server: Server, value: float) -> None:
    server.pods.pods[A].update = an_update_of(value)
    aggregate = server.collect().result()
    assert aggregate.clipped == 1
    weights = {name: pod.examples for name, pod in server.pods.pods.items()}
    last = {name: pod.update(6)[-1] for name, pod in server.pods.pods.items()} | {A: np.copysign(8.0, value)}
    exact = sum(weights[name] * last[name] for name in weights) / sum(weights.values())
    assert aggregate.values["update"][-1] == exact


# -- at the server --------------------------------------------------------------------------------------------------


def good(server: Server, name: str) -> tuple[Collection, npt.NDArray[Any], MaskedReply]:
    collection = server.aggregator.collect(server.step(), server.digest())
    return collection, *vector_in(server.train(name))


def resigned(collection: Collection, name: str, vector: npt.NDArray[Any], reply: MaskedReply) -> MaskedReply:
    """Return a reply with a good signature over another vector: what a lying pod can send."""
    return replace(reply, signature=identity(name).sign(reply_statement(collection.label, name, vector, reply)))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda vector: vector[:-1],
        lambda vector: np.r_[vector, vector[:1]],
        lambda vector: vector[:0],
        lambda vector: vector.reshape(1, -1),
        lambda vector: vector.astype(np.int64),
        lambda vector: vector.astype(np.float64),
        lambda vector: vector.astype(np.uint32),
        lambda vector: vector.astype(">u8"),
    ],
    ids=["short", "long", "empty", "matrix", "signed", "float", "narrow", "big-endian"],
)
def test_a_vector_of_wrong_length_or_type_is_refused(server: Server, wrong: Callable[[Any], Any]) -> None:
    collection, vector, reply = good(server, A)
    bad = wrong(vector)
    try:
        collection.add(A, bad, resigned(collection, A, bad, reply))
    except Exception as error:
        found: Exception | None = error
    else:
        found = None
    assert isinstance(found, AggregateRefused)  # and no ValueError of numpy's
    assert "length or type" in str(found)


@pytest.mark.parametrize("word", [2**61 - 1, 2**61, 2**64 - 1])
def test_a_vector_with_words_that_are_no_field_elements_is_refused(server: Server, word: int) -> None:
    collection, vector, reply = good(server, A)
    bad = vector.copy()
    bad[-1] = word
    with pytest.raises(AggregateRefused, match="not field elements"):
        collection.add(A, bad, resigned(collection, A, bad, reply))


def test_a_vector_altered_on_the_way_is_refused(server: Server) -> None:
    collection, vector, reply = good(server, A)
    vector[-1] ^= 1
    with pytest.raises(BadSignature):
        collection.add(A, vector, reply)


def test_a_vector_that_comes_twice_is_refused(server: Server) -> None:
    collection, vector, reply = good(server, A)
    collection.add(A, vector, reply)
    with pytest.raises(AggregateRefused, match="came twice"):
        collection.add(A, vector, reply)


def test_a_vector_of_another_pod_is_refused(server: Server) -> None:
    collection, vector, reply = good(server, A)
    with pytest.raises(BadSignature):
        collection.add(B, vector, reply)


def test_a_sum_that_lacks_a_pod_is_refused(server: Server) -> None:
    collection = server.collect([A, B])
    with pytest.raises(AggregateRefused, match="lacks the vectors"):
        collection.result()


def test_a_vector_with_a_wrong_mask_fails_the_roll_call(server: Server) -> None:
    collection = server.collect([A, B])
    _, vector, reply = good(server, C)
    noise = (vector + np.uint64(12345)) % np.uint64(2**61 - 1)
    collection.add(C, noise, resigned(collection, C, noise, reply))
    with pytest.raises(AggregateRefused, match="roll call"):
        collection.result()


def test_a_sum_beyond_what_the_pods_may_send_is_refused(server: Server) -> None:
    collection = server.collect([A, B])
    _, vector, reply = good(server, C)
    vector[2] = (int(vector[2]) + 2**59) % (2**61 - 1)
    collection.add(C, vector, resigned(collection, C, vector, reply))
    with pytest.raises(AggregateRefused, match="beyond what the pods may send"):
        collection.result()


def test_a_vector_without_its_self_mask_shares_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path, 4)
    server.join()
    collection, vector, reply = good(server, A)
    fewer = replace(reply, shares=reply.shares[:-1])
    with pytest.raises(ShareRefused, match="one share of its self mask"):
        collection.add(A, vector, resigned(collection, A, vector, fewer))


@pytest.mark.parametrize("size", [0, 59, 61, 144])
def test_a_self_mask_share_that_cannot_be_one_is_its_makers_fault(size: int, tmp_path: Path) -> None:
    """Found before the sum is unmasked: it is the maker that is lost, not the pod for which the share is."""
    server = Server(tmp_path, 4)
    server.join()
    collection, vector, reply = good(server, A)
    spoilt = replace(reply, shares=(*reply.shares[:2], bytes(size), *reply.shares[3:]))
    with pytest.raises(ShareRefused, match=f"pod '{A}' sent a share of its self mask that is not 60 bytes long"):
        collection.add(A, vector, resigned(collection, A, vector, spoilt))


def test_a_self_mask_share_altered_on_the_way_to_the_server_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path, 4)
    server.join()
    collection, vector, reply = good(server, A)
    altered = replace(reply, shares=(reply.shares[0][:-1] + bytes([reply.shares[0][-1] ^ 1]), *reply.shares[1:]))
    with pytest.raises(BadSignature, match=A):
        collection.add(A, vector, altered)
