"""Requests that differ between pods, come twice, or belong to another step, session or run."""

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict

from client.app.ledger import Ledger
from fl_app.flower import records
from fl_app.flower.names import MASKED_EVALUATE, PLAIN_TRAIN
from fl_app.secagg.errors import LedgerRefused, SessionRefused
from fl_app.secagg.field import FIELD_61, Int64
from fl_app.secagg.masking import Sum
from fl_app.secagg.messages import SurvivorsRequest, UnmaskRequest
from tests.adversary.server import Server, assert_refused, state_of, vector_in
from tests.fl_app.secagg.cohort import MemoryLedger
from tests.support.in_process import RUN_ID
from tests.support.pods_in_process import NAMES, SIZE

A, B, C = NAMES[:3]
VALUES = {"update": np.zeros(SIZE), "train.loss": np.zeros(1), "evaluate.hits": np.array([1])}


# -- told different things ------------------------------------------------------------------------------------------


def total_of(server: Server, requests: Mapping[str, RecordDict]) -> Int64:
    """Return what a server gets that adds the vectors up whatever it told the pods."""
    vectors = [vector_in(server.train(name, request))[0] for name, request in requests.items()]
    total = Sum(FIELD_61, len(vectors[0]))
    for vector in vectors:
        total.add(vector)
    return total.centred()


def assert_noise(total: Int64) -> None:
    """Fail if anything but noise is in the sum: an element as small as values are has a chance of 2^-30 each."""
    assert (np.abs(total) > 1 << 30).all(), total


def test_the_same_request_for_all_gives_a_sum(server: Server) -> None:
    total = total_of(server, dict.fromkeys(server.names, server.request()))
    assert total[0] == 3  # the roll call


@pytest.mark.parametrize(
    "other", [{"rate": 0.0}, {"model": 1.0}, {"columns": ("age",)}], ids=["learning rate", "model", "columns"]
)
def test_pods_told_different_things_do_not_sum_to_anything(server: Server, other: Mapping[str, object]) -> None:
    told = {A: server.request(), B: server.request(**other), C: server.request()}
    assert_noise(total_of(server, told))


def test_pods_told_different_steps_do_not_sum_to_anything(server: Server) -> None:
    assert_noise(total_of(server, {A: server.request(1), B: server.request(2), C: server.request(1)}))


# -- asked twice ----------------------------------------------------------------------------------------------------


def test_a_label_used_twice_is_refused(server: Server) -> None:
    server.collect()
    assert_refused(server.train(A, shares=()), "answered", "round 1")


def test_another_request_under_an_answered_round_is_refused(server: Server) -> None:
    server.collect()
    assert_refused(server.train(A, server.request(1, model=1.0), shares=()), "answered", "round 1")


def test_an_earlier_round_after_a_later_one_is_refused(server: Server) -> None:
    server.collect(round=3)
    assert_refused(server.train(A, server.request(2), shares=()), "answered", "round 2")


def test_an_answered_round_in_a_second_session_is_refused(server: Server) -> None:
    server.collect()
    server.new_session()
    server.join()
    assert_refused(server.train(A), "answered", "round 1")


def test_a_second_cohort_for_one_round_is_refused(server: Server) -> None:
    server.collect()
    server.new_session()
    server.join([A, B])
    assert_refused(server.train(A), "answered", "round 1")


def test_the_final_evaluation_is_answered_once_a_run(server: Server) -> None:
    server.collect()
    server.evaluate(A)
    server.new_session()
    server.join()
    server.collect([A], round=2)
    assert_refused(server.evaluate(A), "answered", "evaluate")


# -- another step, session or run -----------------------------------------------------------------------------------


def test_a_step_of_another_session_is_refused(server: Server) -> None:
    request = server.request()
    server.new_session()
    server.join()
    assert_refused(server.train(A, request), "session", "another session")


@pytest.mark.parametrize("round", [0, 6, -1, 10**30])
def test_a_round_that_was_not_declared_is_refused(server: Server, round: int) -> None:
    content = records.put(server.request(), server.step(round))
    assert_refused(server.train(A, content), "session", "not declared")


def test_a_round_that_was_not_declared_is_refused_in_the_clear_too(server: Server) -> None:
    server.pods.change_owner(A, require_secure_aggregation=False)
    content = records.put(server.request(), server.step(6))
    assert_refused(server.train(A, content, (), PLAIN_TRAIN), "session", "not declared")
    assert server.pods.pods[A].trained == 0


def test_a_second_final_evaluation_is_refused(server: Server) -> None:
    server.collect()
    assert_refused(server.evaluate(A, round=2), "session", "not declared")


def test_a_step_sent_as_another_kind_is_refused(server: Server) -> None:
    assert_refused(server.train(A, message_type=MASKED_EVALUATE), "malformed", "'train' step came as")


def test_a_step_before_any_roster_is_refused(server: Server) -> None:
    server.new_session()
    server.hello(A)
    assert_refused(
        server.train(A, server.request(), shares=()), "session", "cannot begin a step in phase 'opened'", "not joined"
    )


def test_a_step_without_a_session_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path, 3)
    assert_refused(server.train(A, server.request(), shares=()), "session", "no session")


def test_a_step_without_masks_is_refused(server: Server) -> None:
    reply = server.train(A, shares=(), message_type=PLAIN_TRAIN)
    assert_refused(reply, "policy", "secure aggregation only")


# -- the ledger -----------------------------------------------------------------------------------------------------


def test_a_ledger_deleted_mid_run_is_noticed(server: Server) -> None:
    server.collect()
    (server.pods.directory / f"{A}.db").unlink()
    assert_refused(server.train(A, server.request(2), shares=()), "ledger", "deleted or replaced")


@pytest.mark.parametrize("next_message", ["step", "hello"])
def test_a_ledger_rolled_back_mid_run_is_noticed(server: Server, next_message: str) -> None:
    path = server.pods.directory / f"{A}.db"
    shutil.copy(path, path.with_suffix(".old"))
    server.collect()
    shutil.copy(path.with_suffix(".old"), path)
    if next_message == "hello":
        server.new_session()
        reply = server.hello(A)
    else:
        reply = server.train(A, shares=())
    assert_refused(reply, "ledger", "deleted or replaced")


def test_a_ledger_rolled_back_before_the_unmask_is_noticed(tmp_path: Path) -> None:
    server = Server(tmp_path, 4)
    server.join()
    path = server.pods.directory / f"{A}.db"
    shutil.copy(path, path.with_suffix(".old"))
    collection = server.collect()
    shutil.copy(path.with_suffix(".old"), path)
    assert_refused(server.unmask(A, collection.unmask_request(A)), "ledger", "deleted or replaced")


def test_survivors_of_an_answer_the_ledger_does_not_hold_are_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    with pytest.raises(LedgerRefused, match="no answer under this label"):
        ledger.enter_survivors("run", b"label", b"survivors", b"")


def test_an_altered_ledger_is_told_to_its_owner(server: Server) -> None:
    import sqlite3

    server.collect()
    ledger = server.pods.pods[A].owner.ledger
    assert [entry.event for entry in ledger.entries()] == ["session", "roster", "begin", "answer"]
    with sqlite3.connect(server.pods.directory / f"{A}.db") as database:
        database.execute("UPDATE entries SET round = 2 WHERE event = 'answer'")
    database.close()
    with pytest.raises(LedgerRefused, match="altered"):
        ledger.entries()


def test_a_ledger_that_cannot_be_written_gives_no_vector(server: Server) -> None:
    path = server.pods.directory / f"{A}.db"
    path.write_bytes(b"not a database, but of some length, so that SQLite looks at it" * 9)
    assert_refused(server.train(A), "ledger", "cannot be written")


class Killed(BaseException):
    """The process dies here."""


class KilledAfterEntry(Ledger):
    """The ledger of a process that is killed right after an answer was entered."""

    def enter_answer(self, *entry: Any) -> bytes:
        super().enter_answer(*entry)
        raise Killed


class KilledAfterBegin(Ledger):
    """The ledger of a process that is killed right after a step was entered, before it is computed."""

    def enter_begin(self, *entry: Any) -> bytes:
        super().enter_begin(*entry)
        raise Killed


@pytest.mark.parametrize(("ledger", "answers"), [(KilledAfterBegin, 0), (KilledAfterEntry, 1)])
def test_a_kill_between_entry_and_reply_spends_the_round(server: Server, ledger: type[Ledger], answers: int) -> None:
    owner, node = server.pods.pods[A].owner, server.pods.nodes[A]
    before = copy.deepcopy(server.pods.grid.contexts[node].state)
    server.pods.change_owner(A, ledger=ledger(server.pods.directory / f"{A}.db"))
    with pytest.raises(Killed):
        server.train(A)
    server.pods.change_owner(A, ledger=owner.ledger)  # the node is back, with the state of before the message
    server.pods.grid.contexts[node].state = before
    assert_refused(server.train(A, server.request(model=1.0)), "answered", "round 1")
    entered = [(e.event, e.kind, e.round) for e in owner.ledger.entries()]
    assert entered.count(("begin", "train", 1)) == 1
    assert entered.count(("answer", "train", 1)) == answers
    vector_in(server.train(A, server.request(2)))


def test_an_entry_is_in_the_ledger_before_the_vector_leaves(server: Server) -> None:
    seen: list[list[str]] = []
    ledger = server.pods.pods[A].owner.ledger

    def look(message):  # type: ignore[no-untyped-def]
        seen.append([e.event for e in ledger.entries() if e.run == str(RUN_ID)])
        return message

    server.pods.grid.on_reply = look
    server.train(A)
    assert seen == [["session", "roster", "begin", "answer"]]


# -- nothing to unmask ----------------------------------------------------------------------------------------------


def test_nothing_is_unmasked_where_every_pod_must_answer(server: Server) -> None:
    collection = server.collect()
    ask = UnmaskRequest(server.aggregator.session, collection.label, (A, B, C), (), ())
    assert_refused(server.unmask(A, ask), "session", "nothing to unmask")
    claim = SurvivorsRequest(server.aggregator.session, collection.label, (A, B))
    assert_refused(server.witness(A, claim), "session", "nothing to unmask")


# -- which of two checks stops it -----------------------------------------------------------------------------------


def test_a_step_out_of_place_trains_nothing(server: Server) -> None:
    server.train(A, records.put(server.request(), server.step(6)))
    assert server.pods.pods[A].trained == 0


def test_the_core_answers_no_step_that_has_not_begun(server: Server) -> None:
    server.collect([A])
    session, signer, ledger = state_of(server, A), server.pods.pods[A].owner.signer, MemoryLedger()
    begun = session.begin(server.step(2), bytes(32), ledger)
    for step, request in ((server.step(3), bytes(32)), (server.step(2), b"R" * 32)):
        with pytest.raises(SessionRefused, match="has not begun this step"):
            begun.mask(step, request, 1, VALUES, ledger, signer)


def test_the_core_answers_no_step_while_none_is_under_way(server: Server) -> None:
    """Not even the one it has answered last: a second vector under one label would show the difference of two."""
    server.collect([A])
    session, signer = state_of(server, A), server.pods.pods[A].owner.signer
    with pytest.raises(SessionRefused, match="cannot mask a step in phase 'answered'"):
        session.mask(server.step(), server.digest(), 1, VALUES, MemoryLedger(), signer)
