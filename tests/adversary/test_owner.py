"""What the pod's owner says: limits, a pause, other keys, the app's version; and a step that failed is spent."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from client.app.ledger import Ledger
from client.app.main import requested_training
from fl_app.config import RunConfig
from fl_app.flower import records
from fl_app.flower.names import (
    HELLO_MESSAGE,
    MASKED_MESSAGES,
    MASKED_RECORD,
    MASKED_TRAIN,
    PLAIN_MESSAGES,
    PLAIN_TRAIN,
    ROSTER_MESSAGE,
    VALUES_RECORD,
)
from fl_app.pod.policy import TRAINING_LIMITS
from fl_app.run_plan import implied_parameters
from fl_app.secagg.canonical import encode
from fl_app.secagg.errors import AlreadyAnswered, LedgerRefused
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import Hello, Parameters, StepPlan, Witness
from tests.adversary.server import PLANS, Server, assert_refused, refusal_of, state_of, vector_in
from tests.support.one_day import on_one_day
from tests.support.pods_in_process import NAMES, identity

A, B, C = NAMES[:3]
LABEL = b"L" * 32


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    on_one_day(monkeypatch)
    return Server(tmp_path, 3)


@pytest.fixture
def reading(tmp_path: Path) -> Server:
    """Pods whose app reads the settings of a run."""
    return Server(tmp_path, 3, requested_training)


def settings(**changes: object) -> str:
    given = {"pods": [A, B, C], "datastructure": {"target": "y"}, "rounds": 2, "local_epochs": 1} | changes
    return RunConfig(**given).to_json()  # type: ignore[arg-type]


def bound(server: Server, **changes: object) -> str:
    """Bind a run's settings into the session that the server is to begin."""
    text = settings(**changes)
    server.new_session(config=encode({"run": text}))
    return text


def told(server: Server, run: str) -> RecordDict:
    request = server.request()
    request["config"] = ConfigRecord({**request["config"], "run": run})
    return request


def meanwhile(server: Server, change: Callable[[], None]) -> None:
    """Let something change while pod A trains."""
    update = server.pods.pods[A].update

    def changed(size: int) -> np.ndarray:
        change()
        return update(size)

    server.pods.pods[A].update = changed


# -- a step that failed ---------------------------------------------------------------------------------------------


def fails(size: int) -> np.ndarray:
    raise ValueError("on these settings")


@pytest.mark.parametrize("message_type", [MASKED_TRAIN, PLAIN_TRAIN])
def test_a_step_whose_handler_failed_ends_the_session(server: Server, message_type: str) -> None:
    server.pods.change_owner(A, require_secure_aggregation=False)
    shares = None if message_type == MASKED_TRAIN else ()
    server.pods.pods[A].update = fails
    refused = refusal_of(server.train(A, shares=shares, message_type=message_type))
    assert (refused.code, refused.text) == ("pod-error", f"pod '{A}' could not answer; its own log says why")
    for other in (server.request(), server.request(rate=0.25), server.request(2)):
        assert_refused(server.train(A, other, shares=(), message_type=message_type), "session", "has ended")
    assert server.pods.pods[A].trained == 1
    assert not state_of(server, A).pair_keys
    entries = server.pods.pods[A].owner.ledger.entries()
    assert [entry.round for entry in entries if entry.event == "begin"] == [1]  # the failure is of a step that is spent


def test_a_step_whose_values_did_not_fit_ends_the_session(server: Server) -> None:
    server.pods.pods[A].examples = 10**7
    assert_refused(server.train(A), "value")
    server.pods.pods[A].examples = 10
    assert_refused(server.train(A, server.request(2), shares=()), "session", "has ended")


def forget(server: Server) -> None:
    """Leave pod A as after a restart of its node."""
    server.pods.grid.contexts[server.pods.nodes[A]].state.clear()


@pytest.mark.parametrize("examples", [10, 10**7], ids=["the handler fails", "the values do not fit"])
def test_a_pod_whose_step_failed_takes_no_further_part_in_the_series(server: Server, examples: int) -> None:
    server.pods.pods[A].examples = examples
    server.pods.pods[A].update = fails if examples == 10 else server.pods.pods[A].update
    refusal_of(server.train(A))
    server.new_session()
    assert_refused(server.hello(A), "over", "whose part in it is over")
    forget(server)
    assert_refused(server.hello(A), "over", "whose part in it is over")
    server.new_run(8)  # one that resumes the first
    assert_refused(server.hello(A), "over", "whose part in it is over")
    server.new_run(9, series="another")
    records.take(server.hello(A), Hello)


def test_a_pod_that_was_killed_in_a_step_comes_back(server: Server) -> None:
    owner = server.pods.pods[A].owner
    owner.ledger.enter_begin(str(server.parameters.run), "train", 1, LABEL, state_of(server, A).head)
    forget(server)
    server.new_session()
    server.join()
    vector_in(server.train(A, server.request(2)))


@pytest.mark.parametrize("change", ["pause", "revoke"])
def test_a_pod_whose_owner_stopped_a_step_comes_back(server: Server, change: str) -> None:
    before = server.pods.pods[A]
    owner, update = before.owner, before.update
    meanwhile(server, lambda: server.pods.change_owner(A, paused=lambda: True) if change == "pause" else revoke(server))
    refusal_of(server.train(A))
    last = owner.ledger.entries()[-1]
    assert (last.event, last.kind, last.round) == ("refusal", MASKED_TRAIN, 0)
    before.owner, before.update = owner, update
    server.new_session()
    server.join()
    vector_in(server.train(A, server.request(2)))


def test_more_failed_steps_in_a_day_than_the_owner_tolerates_are_refused(server: Server) -> None:
    path = server.pods.directory / f"{A}.db"
    server.pods.change_owner(A, ledger=Ledger(path, failed_steps_per_day=2))
    update, server.pods.pods[A].update = server.pods.pods[A].update, fails
    for number in (8, 9):
        server.new_run(number, series=f"series {number}".replace(" ", "-"))
        server.join()
        assert refusal_of(server.train(A)).code == "pod-error"
    server.pods.pods[A].update = update
    server.new_run(10, series="series-10")
    assert_refused(server.hello(A), "policy", "2 steps have failed today", "maximum_failed_steps_per_day")
    assert_refused(server.train(B, shares=()), "session")
    server.pods.change_owner(A, ledger=Ledger(path, failed_steps_per_day=3))
    server.join()
    server.pods.change_owner(A, ledger=Ledger(path, failed_steps_per_day=2))
    assert_refused(server.train(A), "policy", "2 steps have failed today", "maximum_failed_steps_per_day")
    assert server.pods.pods[A].trained == 2


def test_an_answer_is_to_a_step_that_has_begun(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.enter_begin("run", "train", 1, LABEL, b"")
    with pytest.raises(LedgerRefused, match="has begun"):
        ledger.enter_answer("run", "train", 1, b"M" * 32, b"")


def test_an_answer_is_entered_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.enter_begin("run", "train", 1, LABEL, b"")
    ledger.enter_answer("run", "train", 1, LABEL, b"")
    with pytest.raises(AlreadyAnswered, match="was answered"):
        _typed(lambda: ledger.enter_answer("run", "train", 1, LABEL, b""))


def _typed(enter: Callable[[], object]) -> None:
    """Fail by assertion, not by an error, if the ledger only trips over its own index."""
    try:
        enter()
    except LedgerRefused as error:
        raise AssertionError("refused for another reason") from error


def test_a_ledger_deleted_while_a_step_is_computed_is_noticed(server: Server) -> None:
    meanwhile(server, (server.pods.directory / f"{A}.db").unlink)
    assert_refused(server.train(A), "ledger", "deleted or replaced")


def test_a_ledger_rolled_back_before_the_roster_is_noticed(fresh: Server) -> None:
    roster = fresh.aggregator.make_roster(fresh.gather_hellos())
    (fresh.pods.directory / f"{A}.db").unlink()
    assert_refused(fresh.roster(A, roster.hellos), "ledger", "deleted or replaced")


def test_a_ledger_of_another_version_is_refused_and_left_alone(fresh: Server) -> None:
    path = fresh.pods.directory / f"{A}.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, head BLOB NOT NULL)")
    before = path.read_bytes()
    assert_refused(fresh.hello(A), "ledger", "another version")
    assert path.read_bytes() == before


# -- series ---------------------------------------------------------------------------------------------------------


def test_a_round_answered_in_another_run_of_the_series_is_refused(server: Server) -> None:
    server.collect(round=2)
    server.new_run(8)
    server.join()
    assert_refused(server.train(A, server.request(2)), "answered", "round 2")
    vector_in(server.train(A, server.request(3)))


def test_the_final_evaluation_is_answered_in_each_run_of_a_series(server: Server) -> None:
    server.collect()
    server.evaluate(A)
    server.new_run(8)
    server.join()
    server.collect(round=2)
    vector_in(server.evaluate(A))


def test_a_run_does_not_pass_to_another_series(server: Server) -> None:
    server.collect()
    server.pods.grid.contexts[server.pods.nodes[A]].state.clear()  # as after a restart: the session is forgotten
    server.new_session(series="another")
    assert_refused(server.hello(A), "ledger", "another series")


def test_sessions_are_counted_for_each_run_of_a_series(fresh: Server) -> None:
    fresh.pods.change_owner(A, maximum_membership_changes=0)
    records.take(fresh.hello(A), Hello)
    fresh.new_session()
    assert_refused(fresh.hello(A), "ledger", "as many as the owner allows")
    fresh.new_run(8)
    records.take(fresh.hello(A), Hello)


# -- limits ---------------------------------------------------------------------------------------------------------


def test_a_run_of_more_rounds_than_the_owner_allows_is_refused(fresh: Server) -> None:
    fresh.pods.change_owner(A, maximum_rounds=3, maximum_membership_changes=1)
    fresh.new_session(steps=(replace(PLANS[0], rounds=5), PLANS[1]))
    assert_refused(fresh.hello(A), "policy", "at most 3 rounds", "maximum_rounds", "declares 5")
    fresh.new_session(steps=(replace(PLANS[0], rounds=4), PLANS[1]))
    records.take(fresh.hello(A), Hello)


def test_a_resumed_run_has_as_many_rounds_as_the_owner_allows_a_run(server: Server) -> None:
    server.collect(round=4)
    server.pods.change_owner(A, maximum_rounds=3, maximum_membership_changes=0)
    server.new_run(8, steps=(replace(PLANS[0], rounds=8), PLANS[1]))
    assert_refused(server.hello(A), "policy", "maximum_rounds", "declares 4")
    server.new_session(steps=(replace(PLANS[0], rounds=7), PLANS[1]))
    records.take(server.hello(A), Hello)


def test_rounds_declared_in_two_plans_are_added_up(fresh: Server) -> None:
    fresh.pods.change_owner(A, maximum_rounds=5, maximum_membership_changes=0)
    fresh.new_session(steps=(PLANS[0], StepPlan("train", 5, PLANS[0].classes)))
    assert_refused(fresh.hello(A), "policy", "declares 10")


@pytest.mark.parametrize(
    ("limit", "asked", "words"),
    [
        ({"maximum_rounds": 5}, {"rounds": 6}, ("at most 5 rounds a run", "maximum_rounds", "asks for 6")),
        ({"maximum_local_epochs": 2}, {"local_epochs": 3}, ("2 local epochs", "maximum_local_epochs", "asks for 3")),
        (
            {"maximum_local_steps": 10},
            {"local_steps": 11, "local_epochs": None},
            ("10 local steps", "maximum_local_steps", "asks for 11"),
        ),
    ],
)
def test_settings_beyond_the_owners_limits_are_refused(
    reading: Server, limit: dict[str, int], asked: dict[str, int | None], words: tuple[str, ...]
) -> None:
    reading.pods.change_owner(A, require_secure_aggregation=False, **limit)
    bound(reading, **asked)
    for secure in (True, False):
        assert_refused(reading.hello(A, secure=secure), "policy", *words)
    bound(reading)
    records.take(reading.hello(A), Hello)


@pytest.mark.parametrize(
    "config", [b"", encode({}), encode({"run": "{}"}), encode({"run": 1}), encode(["run"])], ids=lambda c: str(len(c))
)
def test_a_session_without_settings_that_can_be_read_is_refused(reading: Server, config: bytes) -> None:
    reading.new_session(config=config)
    reading.pods.change_owner(A, require_secure_aggregation=False)
    for secure in (True, False):
        assert_refused(reading.hello(A, secure=secure), "policy", "cannot read the run's settings")
    lifted = dict.fromkeys(TRAINING_LIMITS)
    reading.pods.change_owner(A, **lifted)
    assert_refused(reading.hello(A), "policy", "cannot read the run's settings")


def test_an_app_that_reads_no_settings_is_bound_to_those_of_the_session_all_the_same(fresh: Server) -> None:
    text = bound(fresh, local_epochs=1000)
    fresh.join()
    assert_refused(fresh.train(A, told(fresh, settings())), "session", "other settings")
    vector_in(fresh.train(A, told(fresh, text)))
    vector_in(fresh.train(B))  # nor need a step name them


@pytest.mark.parametrize("message_type", [MASKED_TRAIN, PLAIN_TRAIN])
def test_a_step_under_other_settings_than_the_sessions_is_refused(reading: Server, message_type: str) -> None:
    text = bound(reading)
    reading.join()
    reading.pods.change_owner(A, require_secure_aggregation=False)
    shares = None if message_type == MASKED_TRAIN else ()
    for other in (told(reading, settings(local_epochs=100)), reading.request()):
        assert_refused(reading.train(A, other, shares=shares, message_type=message_type), "session", "other settings")
    assert reading.pods.pods[A].trained == 0
    reply = reading.train(A, told(reading, text), shares=shares, message_type=message_type)
    assert MASKED_RECORD in reply or VALUES_RECORD in reply


# -- bounds ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tabular(tmp_path: Path) -> Server:
    """Pods whose app knows what a run's settings imply, and a session as they do."""
    server = Server(tmp_path, 3, requested_training, implied_parameters)
    text = bound(server)
    server.new_session(**implied_parameters(text, 5, 0))
    return server


def altered(server: Server, what: str) -> Parameters:
    """Return the session's parameters with one thing of the server's choice."""
    given = server.parameters
    statistics, train, final = given.steps
    update, loss, *counts = train.classes

    def with_training(**changes: object) -> Parameters:
        return replace(given, steps=(statistics, replace(train, **changes), final))  # type: ignore[arg-type]

    choices = {
        "a bound": lambda: with_training(classes=(update, replace(loss, bound=0.5), *counts)),
        "an update's bound": lambda: with_training(classes=(replace(update, bound=2.0**-20), loss, *counts)),
        "a bound of a count": lambda: with_training(classes=(update, loss, *(replace(c, bound=99.0) for c in counts))),
        "a metric left out": lambda: with_training(classes=(update, loss)),
        "more rounds": lambda: with_training(rounds=9),
        "a second training": lambda: replace(given, steps=(statistics, replace(train, rounds=2), train, final)),
        "no statistics": lambda: replace(given, steps=(train, final)),
        "one evaluation": lambda: replace(given, steps=(statistics, train, replace(final, rounds=1))),
        "another field": lambda: replace(given, prime_q=2**31 - 1),
        "a larger weight": lambda: replace(given, max_weight=2**24),
        "no weights": lambda: replace(given, weighting="equal", max_weight=1),
        "a threshold": lambda: replace(given, threshold=3),
        "another order of the pods": lambda: replace(given, pods=given.pods[::-1]),
    }
    return choices[what]()


DIFFERS = {
    "a bound": "whose steps are", "an update's bound": "whose steps are", "a bound of a count": "whose steps are",
    "a metric left out": "whose steps are", "more rounds": "whose steps are", "a second training": "whose steps are",
    "no statistics": "whose steps are", "one evaluation": "whose steps are", "another field": "whose prime_q are",
    "a larger weight": "whose max_weight are", "no weights": "whose max_weight and weighting are",
    "a threshold": "whose threshold are", "another order of the pods": "whose pods are",
}  # fmt: skip


@pytest.mark.parametrize("what", DIFFERS)
def test_parameters_that_the_settings_do_not_imply_are_refused(tabular: Server, what: str) -> None:
    tabular.pods.change_owner(A, require_secure_aggregation=False)
    other = altered(tabular, what)
    for secure in (True, False):
        assert_refused(tabular.hello(A, other, secure=secure), "policy", DIFFERS[what], "not those of its settings")
    records.take(tabular.hello(A), Hello)


def test_a_resumed_run_declares_as_many_rounds_as_the_settings_need_from_where_it_goes_on(tabular: Server) -> None:
    ledger = tabular.pods.pods[A].owner.ledger
    account = Account("before", tabular.parameters.series)
    ledger.enter_answer(account, "train", 40, LABEL, ledger.enter_begin(account, "train", 40, LABEL, b""))
    statistics, train, final = tabular.parameters.steps
    for rounds, most in ((46, False), (45, True)):  # two rounds, and three whose numbers may be spent
        other = replace(tabular.parameters, steps=(statistics, replace(train, rounds=rounds), final))
        reply = tabular.hello(A, other)
        if most:
            records.take(reply, Hello)
        else:
            assert_refused(reply, "policy", "steps")


def test_settings_that_imply_nothing_are_refused(tmp_path: Path) -> None:
    server = Server(tmp_path, 3, implies=implied_parameters)
    assert_refused(server.hello(A), "policy", "cannot read the run's settings")


@pytest.mark.parametrize("most", [1000, 2**20 - 1, 2**60])
def test_a_largest_weight_that_is_not_one_of_a_few_is_refused(fresh: Server, most: int) -> None:
    fresh.new_session(max_weight=most)
    assert_refused(fresh.hello(A), "policy", "largest weight is one of 1048576, 16777216, 268435456")
    for allowed in (1, 2**24):
        fresh.new_session(max_weight=allowed)
        records.take(fresh.hello(B if allowed == 1 else C), Hello)


def test_more_runs_in_a_day_than_the_owner_allows_are_refused(fresh: Server) -> None:
    ledger = Ledger(fresh.pods.directory / f"{A}.db", runs_per_day=2)
    fresh.pods.change_owner(A, ledger=ledger)
    for run in (7, 8):
        fresh.new_run(run)
        records.take(fresh.hello(A), Hello)
    fresh.new_session()
    records.take(fresh.hello(A), Hello)  # another session is no other run
    fresh.new_run(9)
    assert_refused(fresh.hello(A), "policy", "2 runs", "maximum_runs_per_day")


def test_more_rounds_in_a_day_than_the_owner_allows_are_refused(server: Server) -> None:
    server.pods.change_owner(A, ledger=Ledger(server.pods.directory / f"{A}.db", rounds_per_day=2))
    server.collect([A])
    server.collect([A], round=2, shares=False)
    reply = server.train(A, server.request(3), shares=())
    assert_refused(reply, "policy", "2 training rounds", "maximum_rounds_per_day")
    vector_in(server.evaluate(A))
    server.new_session()
    assert_refused(server.hello(A), "policy", "maximum_rounds_per_day")


def test_another_days_rounds_and_runs_do_not_count(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(server.pods.directory / f"{A}.db", rounds_per_day=1, runs_per_day=1)
    server.pods.change_owner(A, ledger=ledger)
    server.collect([A])
    monkeypatch.setattr("client.app.ledger.datetime", _Tomorrow)
    server.collect([A], round=2, shares=False)
    server.new_run(8)
    records.take(server.hello(B), Hello)


class _Tomorrow:
    @staticmethod
    def now(zone: object) -> object:
        from datetime import UTC, datetime, timedelta

        return datetime.now(UTC) + timedelta(days=1)


# -- a pause --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message_type", [HELLO_MESSAGE, ROSTER_MESSAGE, *MASKED_MESSAGES.values(), *PLAIN_MESSAGES.values()]
)
def test_a_paused_pod_refuses_everything_and_enters_it(fresh: Server, message_type: str) -> None:
    fresh.pods.change_owner(A, paused=lambda: True)
    assert_refused(fresh.pods.ask(A, message_type, RecordDict()), "paused", f"pod '{A}' is paused by its owner")
    (entry,) = fresh.pods.pods[A].owner.ledger.entries()
    assert (entry.event, entry.kind, entry.why) == ("refusal", message_type, f"pod '{A}' is paused by its owner")


def test_a_pause_ends_the_session_that_is_under_way(server: Server) -> None:
    server.collect()
    server.pods.change_owner(A, paused=lambda: True)
    assert_refused(server.train(A, server.request(2), shares=()), "paused")
    server.pods.change_owner(A, paused=lambda: False)
    assert_refused(server.train(A, server.request(2), shares=()), "session", "cannot begin a step in phase 'closed'")
    assert not state_of(server, A).pair_keys


def test_a_pause_while_a_step_is_computed_keeps_its_answer_in(server: Server) -> None:
    meanwhile(server, lambda: server.pods.change_owner(A, paused=lambda: True))
    assert_refused(server.train(A), "paused")
    assert [entry.event for entry in server.pods.pods[A].owner.ledger.entries()][-2:] == ["begin", "refusal"]


# -- other keys -----------------------------------------------------------------------------------------------------


def revoke(server: Server, name: str = B) -> None:
    kept = {other: key for other, key in server.pods.pods[A].owner.approved.items() if other != name}
    server.pods.change_owner(A, approved=kept)


def replace_key(server: Server) -> None:
    others = {**server.pods.pods[A].owner.approved, B: identity("someone else").public_bytes}
    server.pods.change_owner(A, approved=others)


def test_a_key_revoked_in_the_middle_of_a_session_ends_it(server: Server) -> None:
    server.collect()
    revoke(server)
    assert_refused(server.train(A, server.request(2), shares=()), "not-approved", A, B)
    server.pods.change_owner(A, approved={n: identity(n).public_bytes for n in (B, C)})
    assert_refused(server.train(A, server.request(2), shares=()), "session", "cannot begin a step in phase 'closed'")


def test_a_key_replaced_in_the_middle_of_a_session_ends_it(server: Server) -> None:
    server.collect()
    replace_key(server)
    assert_refused(server.train(A, server.request(2), shares=()), "wrong-key", A, B)
    assert not state_of(server, A).pair_keys


def test_an_identity_replaced_in_the_middle_of_a_session_ends_it(server: Server) -> None:
    server.collect()
    server.pods.change_owner(A, signer=identity("the new key of a"))
    assert_refused(server.train(A, server.request(2), shares=()), "wrong-key", A, "another identity key")
    assert not state_of(server, A).pair_keys


def test_a_key_revoked_while_a_step_is_computed_keeps_its_answer_in(server: Server) -> None:
    meanwhile(server, lambda: revoke(server))
    assert_refused(server.train(A), "not-approved", B)
    assert not state_of(server, A).pair_keys


@pytest.mark.parametrize("change", [revoke, replace_key])
def test_nothing_is_signed_or_unmasked_with_a_pod_whose_key_is_gone(
    tmp_path: Path, change: Callable[[Server], None]
) -> None:
    server = Server(tmp_path, 4)
    server.join()
    collection = server.collect(server.aggregator.roster.names)
    change(server)
    code = "not-approved" if change is revoke else "wrong-key"
    assert_refused(server.unmask(A, collection.unmask_request(A)), code, B)
    server.new_session()
    server.pods.change_owner(A, approved={n: identity(n).public_bytes for n in NAMES[1:4]})
    server.join()
    lossy = server.collect([name for name in server.names if name != NAMES[3]], round=2)
    records.take(server.witness(C, lossy.survivors_request()), Witness)
    change(server)
    assert_refused(server.witness(A, lossy.survivors_request()), code, B)


# -- the app --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [PLANS, ()])
def test_a_run_of_another_version_than_the_guard_verified_is_refused(
    fresh: Server, steps: tuple[StepPlan, ...]
) -> None:
    fresh.pods.change_owner(A, app="ab" * 32)
    fresh.new_session(app="cd" * 32, steps=steps)
    assert_refused(fresh.hello(A), "policy", "abababababab", "another")
    fresh.new_session(app="ab" * 32, steps=steps)
    records.take(fresh.hello(A), Hello)


# -- the entries ----------------------------------------------------------------------------------------------------


def test_every_message_has_its_entry(tmp_path: Path) -> None:
    server = Server(tmp_path, 4)
    server.pods.change_owner(A, ledger=Ledger(tmp_path / f"{A}.db", "ab" * 32))
    server.hello(A, replace(server.parameters, steps=()))
    server.hello(A, replace(server.parameters, pods=tuple(NAMES[1:4])))
    server.join()
    server.hello(A)
    collection = server.collect([name for name in server.names if name != B])
    server.open(collection)
    server.train(A, server.request(2), shares=())
    entries = server.pods.pods[A].owner.ledger.entries()
    assert [(e.event, e.kind, e.round) for e in entries] == [
        ("look", HELLO_MESSAGE, 0), ("bystander", HELLO_MESSAGE, 0), ("session", "", 0), ("roster", ROSTER_MESSAGE, 0),
        ("hello", HELLO_MESSAGE, 0), ("begin", "train", 1), ("answer", "train", 1), ("survivors", "train", 1),
        ("unmask", "train", 1), ("refusal", MASKED_TRAIN, 0),
    ]  # fmt: skip
    assert {e.app for e in entries} == {"ab" * 32}
    assert {(e.run, e.series) for e in entries} == {("7", "7")}
    assert all(e.size > 0 for e in entries if e.event != "begin")
    by = {e.event: e.document() for e in entries}
    from fl_app.secagg.crypto import fingerprint

    keys = {name: fingerprint(identity(name).public_bytes) for name in server.names}
    for event in ("session", "roster", "begin", "answer"):
        assert by[event]["cohort"] == keys
    for event in ("survivors", "unmask"):
        assert by[event]["cohort"] == {name: key for name, key in keys.items() if name != B}
        assert by[event]["detail"] == collection.label.hex()
    assert by["refusal"]["why"] == refusal_of(server.train(A, server.request(2), shares=())).text
    vectors = [m for m in server.pods.grid.replies if m.metadata.src_node_id == 100 and MASKED_RECORD in m.content]
    vector, said = vector_in(vectors[0].content)
    assert by["answer"]["bytes"] == vector.nbytes + len(said.to_bytes())


def test_an_exception_of_a_handler_is_a_failure_without_data(server: Server, tmp_path: Path) -> None:
    server.pods.change_owner(A, log=tmp_path / "pod.log")
    server.pods.pods[A].update = fails
    server.train(A)
    entry = server.pods.pods[A].owner.ledger.entries()[-1]
    assert (entry.event, entry.kind, entry.round, entry.detail, entry.why) == ("failure", "train", 1, "", "")
    assert "on these settings" in (tmp_path / "pod.log").read_text()


def test_a_refusal_that_cannot_be_entered_says_nothing_else(server: Server) -> None:
    path = server.pods.directory / f"{A}.db"
    shutil.copy(path, path.with_suffix(".old"))
    path.write_bytes(b"not a database, but of some length, so that SQLite looks at it" * 9)
    server.pods.pods[A].update = fails
    assert_refused(server.train(A), "ledger", "cannot be written")
    assert_refused(server.pods.ask(A, MASKED_TRAIN, RecordDict()), "ledger", "cannot be written")
