"""An owner's privacy budget, asked for more than it holds: message by message, over runs, sessions and restarts."""

import json
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord

from client.app.budget import SPENT, Charge, Terms, read_detail
from client.app.ledger import Ledger
from client.app.main import _honest
from fl_app.errors import UsageError
from fl_app.flower import records
from fl_app.flower.names import HONEST_PODS, PLAIN_TRAIN
from fl_app.pod.datasource import CSVSource
from fl_app.pod.definition import Pod
from fl_app.pod.policy import Policy
from fl_app.privacy.cost import Cost, budget
from fl_app.secagg.canonical import encode
from fl_app.secagg.errors import PolicyRefused
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import Hello
from tests.adversary.server import Server, assert_refused, refusal_of, vector_in
from tests.support.pods_in_process import NAMES

A = NAMES[0]
LIMIT = budget(1.0, 1e-5)
TENTH = LIMIT // 10
ROUND = {"statistics": 0, "train": TENTH, "evaluate": TENTH, "rounds": 2}
"""What two rounds and an evaluation cost: a fifth of the budget on one path, a tenth on the other."""


def cost_in(settings: str) -> Cost | None:
    """What the pods' app makes of the settings of these tests."""
    given = json.loads(settings)
    if "cost" not in given:
        return None
    try:
        return Cost(**given["cost"])
    except TypeError as error:
        raise UsageError("not such settings") from error


def bind(server: Server, **changes: Any) -> None:
    """Bind the settings of a private run into the session that the server is to begin."""
    server.new_session(config=encode({"run": json.dumps({"cost": ROUND | changes})}))


def grown(directory: Path, **terms: Any) -> Server:
    server = Server(directory, 3, cost=cost_in)
    server.pods.change_owner(A, epsilon=1.0, **terms)
    bind(server)
    return server


@pytest.fixture
def private(tmp_path: Path) -> Server:
    """Pods of which the first has a budget, and a private run that a session is yet to begin of."""
    return grown(tmp_path)


def spent(server: Server) -> int:
    return server.pods.pods[A].owner.ledger.spent().total


def begun(server: Server) -> list[str]:
    return [entry.event for entry in server.pods.pods[A].owner.ledger.entries()]


def forget(server: Server) -> None:
    """Leave pod A as after a restart: its memory gone, its ledger opened anew."""
    server.pods.grid.contexts[server.pods.nodes[A]].state.clear()
    server.pods.change_owner(A, ledger=Ledger(server.pods.directory / f"{A}.db"))


# -- runs without privacy


@pytest.mark.parametrize("config", [b"", encode({"run": "{}"})], ids=["no settings", "settings without privacy"])
def test_a_run_without_privacy_is_refused_where_there_is_a_budget(private: Server, config: bytes) -> None:
    private.new_session(config=config)
    assert_refused(private.hello(A), "policy", f"pod '{A}' takes part in private runs only", "epsilon 1 at delta 1e-05")
    records.take(private.hello(NAMES[1]), Hello)  # whose owner has set none


def test_an_app_that_knows_of_no_privacy_is_refused_where_there_is_a_budget(tmp_path: Path) -> None:
    server = Server(tmp_path, 3)
    server.pods.change_owner(A, epsilon=1.0)
    server.new_session(config=encode({"run": json.dumps({"cost": ROUND})}))
    assert_refused(server.hello(A), "policy", "takes part in private runs only")


def test_a_budget_set_in_the_middle_of_a_session_holds_at_the_next_step(tmp_path: Path) -> None:
    server = Server(tmp_path, 3, cost=cost_in)
    server.join()
    vector_in(server.train(A))
    server.pods.change_owner(A, epsilon=1.0)
    assert_refused(server.train(A, server.request(2), shares=()), "policy", "takes part in private runs only")
    assert server.pods.pods[A].trained == 1


def test_settings_that_hide_what_a_run_costs_are_refused(private: Server) -> None:
    private.new_session(config=encode({"run": json.dumps({"cost": {"train": 1}})}))
    assert_refused(private.hello(A), "policy", f"pod '{A}' cannot read the run's settings, which say what it costs")


@pytest.mark.parametrize("term", ["statistics", "train", "evaluate", "rounds"])
@pytest.mark.parametrize("value", [-1, 0.5, 10**30])
def test_no_run_costs_less_than_nothing_or_more_than_can_be_counted(private: Server, term: str, value: float) -> None:
    bind(private, **{term: value})
    refused = refusal_of(private.hello(A))
    assert refused.text == f"pod '{A}' cannot read the run's settings, which say what it costs"


def test_a_private_run_in_the_clear_is_refused(private: Server) -> None:
    for name in private.names:
        private.pods.change_owner(name, require_secure_aggregation=False)
        assert_refused(private.hello(name, secure=False), "policy", "private runs with secure aggregation only")


def test_a_private_step_in_the_clear_is_refused(private: Server) -> None:
    private.pods.change_owner(A, require_secure_aggregation=False)
    private.join()
    refused = private.train(A, shares=(), message_type=PLAIN_TRAIN)
    assert_refused(refused, "policy", "private runs with secure aggregation only")
    assert private.pods.pods[A].trained == 0


# -- what exceeds the budget


def test_a_run_that_costs_more_than_there_is_is_refused_at_the_hello(private: Server) -> None:
    bind(private, rounds=11)
    words = "this run would spend more than the owner's privacy budget leaves", "of epsilon 1 at delta 1e-05, a run of"
    assert_refused(private.hello(A), "policy", *words, "epsilon 1 is left")
    bind(private, evaluate=11 * TENTH)
    assert_refused(private.hello(A), "policy", *words)
    assert "session" not in begun(private)
    bind(private, rounds=10, evaluate=10 * TENTH)
    records.take(private.hello(A), Hello)


def test_a_second_run_that_exceeds_what_is_left_is_refused(private: Server) -> None:
    bind(private, rounds=2)
    private.join()
    for round in (1, 2):
        vector_in(private.train(A, private.request(round), None if round == 1 else ()))
    assert spent(private) == 2 * TENTH
    private.new_run(8, series="second")
    bind(private, rounds=9)
    assert_refused(private.hello(A), "policy", "this run would spend more", "is left")
    forget(private)
    assert_refused(private.hello(A), "policy", "this run would spend more", "is left")
    bind(private, rounds=8)
    records.take(private.hello(A), Hello)


def test_of_two_runs_at_once_that_each_would_fit_the_steps_beyond_are_refused(private: Server) -> None:
    """At both hellos nothing is spent yet."""
    bind(private, rounds=5)
    private.join()
    other = Charge(8 * TENTH, "training", "", Terms(1.0, 1e-5))
    private.pods.pods[A].owner.ledger.charging(other).enter_begin(Account("8", "other"), "train", 1, b"L" * 32, b"")
    for round in (1, 2):
        vector_in(private.train(A, private.request(round), None if round == 1 else ()))
    assert_refused(private.train(A, private.request(3), shares=()), "policy", "this step would spend more")
    assert private.pods.pods[A].trained == 2
    assert spent(private) == 10 * TENTH


def test_more_rounds_than_the_settings_say_are_refused(private: Server) -> None:
    """Five are declared to the protocol, and two are paid for."""
    bind(private, rounds=2)
    private.join()
    for round in (1, 2):
        vector_in(private.train(A, private.request(round), None if round == 1 else ()))
    assert_refused(private.train(A, private.request(3), shares=()), "policy", "lost and asked again")
    assert spent(private) == 2 * TENTH


def test_a_step_is_spent_before_anything_is_computed_and_stays_so(private: Server) -> None:
    private.join()

    def fails(size: int) -> Any:
        assert spent(private) == TENTH
        raise ValueError("of these rows")

    private.pods.pods[A].update = fails
    assert refusal_of(private.train(A)).code == "pod-error"
    assert spent(private) == TENTH
    forget(private)
    assert spent(private) == TENTH


def test_what_a_session_or_a_run_of_the_series_has_spent_counts_towards_the_next(private: Server) -> None:
    """Ten rounds are allowed and ten are foreseen: whoever goes on after four of them has six before them."""
    bind(private, rounds=10)
    private.join()
    for round in (1, 2):
        vector_in(private.train(A, private.request(round), None if round == 1 else ()))
    forget(private)
    bind(private, rounds=10)
    private.join()  # in another session
    vector_in(private.train(A, private.request(3)))
    private.new_run(8)
    bind(private, rounds=10)
    private.join()  # in a run that resumes it
    vector_in(private.train(A, private.request(4)))
    assert spent(private) == 4 * TENTH
    private.new_run(9, series="another")
    bind(private, rounds=10)
    assert_refused(private.hello(A), "policy", "this run would spend more")


def test_schema_discovery_is_free(private: Server) -> None:
    private.new_session(steps=(), config=b"")
    records.take(private.hello(A), Hello)
    assert begun(private) == ["look"]
    assert spent(private) == 0


def test_without_a_budget_a_private_run_is_answered_and_entered(private: Server) -> None:
    private.pods.change_owner(A, epsilon=None)
    private.join()
    vector_in(private.train(A))
    entry = private.pods.pods[A].owner.ledger.entries()[-2]
    assert (entry.event, entry.kind, entry.round) == (SPENT, "train", 1)
    assert read_detail(entry.detail)[0].total == TENTH


# -- other rows


def test_a_private_run_does_not_go_on_with_another_table(private: Server) -> None:
    private.pods.change_owner(A, frame=lambda: "rows")
    private.join()
    vector_in(private.train(A))
    private.pods.change_owner(A, frame=lambda: "other rows")
    assert_refused(private.train(A, private.request(2), shares=()), "policy", "begin a new run")
    forget(private)
    bind(private)
    assert_refused(private.hello(A), "policy", "begin a new run")
    assert private.pods.pods[A].trained == 1


def test_a_table_that_changes_while_a_private_step_is_computed_keeps_its_answer_in(private: Server) -> None:
    frames = ["rows"]
    private.pods.change_owner(A, frame=lambda: frames[-1])
    update = private.pods.pods[A].update
    private.join()

    def changed(size: int) -> Any:
        frames.append("other rows")
        return update(size)

    private.pods.pods[A].update = changed
    assert_refused(private.train(A), "policy", "has changed while a private step was computed")
    assert "answer" not in begun(private)


def test_a_refusal_tells_nothing_of_the_table(private: Server) -> None:
    private.pods.change_owner(A, frame=lambda: "of 7 patients")
    private.join()
    vector_in(private.train(A))
    private.pods.change_owner(A, frame=lambda: "of 8 patients")
    assert "patients" not in refusal_of(private.train(A, private.request(2), shares=())).text


def test_a_pod_whose_owner_relies_on_fewer_pods_by_now_adds_no_smaller_share_of_noise(tmp_path: Path) -> None:
    """The run goes on with what the owners declared at its start."""
    told = ConfigRecord({HONEST_PODS: 2})
    pods = [
        Pod(name="a", datasource=CSVSource(tmp_path / "a.csv"), policy=Policy(honest_pods=honest))
        for honest in (3, 2, 1)
    ]
    assert [_honest(told, pod) for pod in pods[:2]] == [2, 2]
    with pytest.raises(PolicyRefused, match="relies on the noise of fewer pods by now"):
        _honest(told, pods[2])
