"""What could be read off the messages, the errors or the memory of a pod."""

import errno
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from client.app.masked_app import MaskedApp
from fl_app.flower.names import (
    HELLO_MESSAGE,
    MASKED_MESSAGES,
    MASKED_RECORD,
    PLAIN_MESSAGES,
    PLAIN_TRAIN,
    ROSTER_MESSAGE,
    SECAGG_RECORD,
    SURVIVORS_MESSAGE,
    UNMASK_MESSAGE,
)
from fl_app.secagg.messages import MaskedReply
from tests.adversary.server import Server, assert_refused, refusal_of, state_of, vector_in
from tests.support.pods_in_process import NAMES

A, B = NAMES[:2]
TYPES = (
    HELLO_MESSAGE,
    ROSTER_MESSAGE,
    SURVIVORS_MESSAGE,
    UNMASK_MESSAGE,
    *MASKED_MESSAGES.values(),
    *PLAIN_MESSAGES.values(),
)


def joined(directory: Path, count: int) -> Server:
    server = Server(directory, count)
    server.join()
    return server


# -- in the clear ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 4])
def test_a_masked_reply_holds_a_vector_and_its_signature_only(tmp_path: Path, count: int) -> None:
    reply = joined(tmp_path, count).train(A)
    assert set(reply) == {SECAGG_RECORD, MASKED_RECORD}
    vector, said = vector_in(reply)
    assert set(reply[SECAGG_RECORD]) == {MaskedReply.__name__}
    assert vector.dtype == np.uint64
    assert len(said.shares) == (4 if count == 4 else 0)


def test_counts_and_metrics_are_not_in_the_vector_as_they_are(tmp_path: Path) -> None:
    """Every element is uniform in 2^61: one as small as these, below 2^27, has a chance of 2^-30 each."""
    server = joined(tmp_path, 3)
    for name in server.names:
        vector, _ = vector_in(server.train(name))
        assert (np.minimum(vector, np.uint64(2**61 - 1) - vector) > 1 << 30).all()


def test_a_pod_gives_no_values_in_the_clear(tmp_path: Path) -> None:
    server = joined(tmp_path, 3)
    for message_type in PLAIN_MESSAGES.values():
        assert_refused(server.train(A, shares=(), message_type=message_type), "policy", "secure aggregation only")


# -- what the original's scalar masks gave away ---------------------------------------------------------------------


def test_equal_elements_of_an_update_do_not_look_equal(tmp_path: Path) -> None:
    """With one random number for a whole update, the most frequent value shows which rows were not touched."""
    server = joined(tmp_path, 3)
    server.pods.pods[A].update = lambda size: np.zeros(size)
    request = server.request(size=40_000)  # more than a block
    vector, _ = vector_in(server.train(A, request))
    assert Counter(vector.tolist()).most_common(1)[0][1] == 1
    assert len(set(np.diff(vector.astype(object)).tolist())) == len(vector) - 1


def test_two_steps_have_different_masks(tmp_path: Path) -> None:
    server = joined(tmp_path, 3)
    first, _ = vector_in(server.train(A))
    second, _ = vector_in(server.train(A, server.request(2), shares=()))
    assert (first != second).all()


# -- errors ---------------------------------------------------------------------------------------------------------


def test_an_error_of_the_handler_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = joined(tmp_path, 3)

    def fails(size: int) -> np.ndarray:
        raise ValueError(f"row 17 of {tmp_path}/patients.csv: age is 203")

    server.pods.pods[A].update = fails
    with caplog.at_level(logging.CRITICAL, "fl_app.pod"):
        refused = refusal_of(server.train(A))
    assert refused.code == "pod-error"
    for secret in (str(tmp_path), "patients", "203", "17"):
        assert secret not in refused.text


def test_a_full_disk_is_told_and_not_which_file_was_to_be_written(tmp_path: Path) -> None:
    server = joined(tmp_path, 3)

    def fails(size: int) -> np.ndarray:
        raise OSError(errno.ENOSPC, "No space left on device", f"{tmp_path}/patients.csv")

    server.pods.pods[A].update = fails
    refused = refusal_of(server.train(A))
    assert refused.text == f"pod '{A}' could not answer: the disk of its machine is full"


def test_an_error_of_the_owners_own_files_tells_nothing(tmp_path: Path) -> None:
    from flwr.clientapp import ClientApp

    from tests.support.in_process import InProcessGrid

    def broken(context: Context) -> object:
        raise FileNotFoundError(f"{tmp_path}/identity.key")

    app = ClientApp()
    MaskedApp(app, broken)  # type: ignore[arg-type]
    grid = InProcessGrid(app, {1: {"pod": A}})
    (reply,) = grid.send_and_receive([Message(RecordDict(), dst_node_id=1, message_type=HELLO_MESSAGE)])
    refused = refusal_of(reply.content)
    assert str(tmp_path) not in refused.text
    assert refused.name == "unnamed"


def test_a_refused_value_is_not_named_in_the_refusal(tmp_path: Path) -> None:
    server = joined(tmp_path, 3)
    server.pods.pods[A].examples = 1_234_567
    server.pods.pods[B].hits = 76_543
    assert "1234567" not in refusal_of(server.train(A)).text.replace(",", "").replace("_", "")
    assert "76543" not in refusal_of(server.train(B)).text


# -- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 4])
def test_no_secret_outlives_the_last_step(tmp_path: Path, count: int) -> None:
    server = joined(tmp_path, count)
    server.collect()
    assert state_of(server, A).pair_keys
    collection = server.aggregator.collect(server.evaluation(), server.evaluation_digest())
    for name in server.names:
        collection.add(name, *vector_in(server.evaluate(name)))
    if collection.unmasks:
        server.open(collection)
    assert collection.result().values["evaluate.hits"].tolist() == [7 * count]
    for name in server.names:
        over = state_of(server, name)
        assert not over.pair_keys
        assert not over.sealing_secret
        assert not over.shares


def test_no_step_follows_the_last_one(tmp_path: Path) -> None:
    server = joined(tmp_path, 4)
    server.collect()
    server.evaluate(A)
    assert_refused(server.train(A, server.request(2), shares=()), "session", "is over")


def test_no_step_follows_the_last_one_in_the_clear_either(tmp_path: Path) -> None:
    server = joined(tmp_path, 4)
    server.pods.change_owner(A, require_secure_aggregation=False)
    server.collect()
    server.evaluate(A)
    reply = server.train(A, server.request(2), (), PLAIN_TRAIN)
    assert_refused(reply, "session", "is over")


def test_no_secret_outlives_a_sum_that_lost_a_pod(tmp_path: Path) -> None:
    server = joined(tmp_path, 4)
    collection = server.collect(server.aggregator.roster.names[:3])
    server.open(collection)
    for name in collection.survivors:
        assert not state_of(server, name).pair_keys


# -- arbitrary bytes ------------------------------------------------------------------------------------------------


def hostile_contents() -> list[RecordDict]:
    """Return contents that are no message of any kind; tests/fuzz makes many more."""
    names = ["HelloRequest", "RosterRequest", "SurvivorsRequest", "UnmaskRequest", "Step"]
    payloads = [
        b"",
        b"l",
        b"d" + bytes(8),
        b"i" + b"\xff" * 8,
        b"b" + (5).to_bytes(8, "big") + b"abc",
        bytes(64),
        b"\xff" * 99,
    ]
    found = [RecordDict(), RecordDict({SECAGG_RECORD: ConfigRecord({"Step": 3})})]
    found += [RecordDict({SECAGG_RECORD: ConfigRecord({name: data})}) for name in names for data in payloads]
    found.append(RecordDict({SECAGG_RECORD: ArrayRecord({"Step": Array(np.zeros(3))})}))
    return found


@pytest.mark.parametrize("message_type", TYPES)
def test_arbitrary_bytes_are_refused_as_such(tmp_path: Path, message_type: str) -> None:
    server = joined(tmp_path, 3)
    for content in hostile_contents():
        refused = refusal_of(server.pods.ask(A, message_type, content))
        expected = "policy" if message_type in PLAIN_MESSAGES.values() else "malformed"
        assert refused.code == expected, (content, refused.text)
