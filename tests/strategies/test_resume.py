"""A run that is resumed goes on as if nothing had happened, with the first round number that no pod has spent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Error, Message
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx, Strategy

from fl_app.errors import RunFailed, UsageError
from fl_app.flower import records
from fl_app.flower.names import COMPLETED_ROUNDS, MASKED_TRAIN, ROSTER_MESSAGE
from strategies import CohortRefused, Round, StepFailed
from strategies.discovery import discover_pods
from strategies.inner_strategy import restore, server_state
from strategies.polling import Reply
from tests.strategies.linear_pods import LinearPods, config, flat, initial, strategy
from tests.support.in_process import InProcessGrid

ROUNDS, DONE = 5, 2
INNER: dict[str, Callable[[], Strategy]] = {
    "FedAvg": FedAvg,
    "FedAdam": lambda: FedAdam(eta=0.1, tau=0.01),
    "FedAvgM": lambda: FedAvgM(server_learning_rate=0.7, server_momentum=0.9),
    "FedProx": lambda: FedProx(proximal_mu=0.5),
}
MARKER = "/srv/patients.csv"


class Died(BaseException):
    """The ServerApp's process ends."""


def until(pods: LinearPods, grid: InProcessGrid, rounds: int, inner: Strategy, **settings: Any) -> list[Round]:
    """Run until so many rounds are done, and die."""
    done: list[Round] = []

    def on_round(completed: Round) -> None:
        done.append(completed)
        if len(done) == rounds:
            raise Died

    with pytest.raises(Died):
        strategy(inner, pods.names, series="s", on_round=on_round, **settings).start(
            grid, initial(), ROUNDS, 5.0, config(), config()
        )
    return done


@pytest.mark.parametrize("name", INNER)
def test_a_resumed_run_ends_in_the_model_of_an_undisturbed_one(name: str, pods: LinearPods, tmp_path: Path) -> None:
    whole = LinearPods(tmp_path / "whole")
    undisturbed = strategy(INNER[name](), whole.names).start(whole.grid(), initial(), ROUNDS, 5.0, config(), config())

    first = INNER[name]()
    done = until(pods, pods.grid(1), DONE, first)
    state = server_state(first)
    assert bool(state) == (name in ("FedAdam", "FedAvgM"))
    second = INNER[name]()
    restore(second, state)
    resumed = strategy(second, pods.names, series="s", first_round=DONE + 1, completed=DONE)
    result = resumed.start(pods.grid(2), done[-1].arrays, ROUNDS, 5.0, config(), config())

    np.testing.assert_allclose(flat(result.arrays), flat(undisturbed.arrays), rtol=0, atol=1e-6)
    assert list(result.train_metrics_clientapp) == [3, 4, 5]
    for metric, value in undisturbed.evaluate_metrics_clientapp[ROUNDS].items():
        assert result.evaluate_metrics_clientapp[ROUNDS][metric] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("name", ["FedAdam", "FedAvgM"])
def test_without_the_servers_state_it_would_be_another_model(name: str, pods: LinearPods) -> None:
    """Else the comparison above would prove nothing of what is restored."""
    first = INNER[name]()
    done = until(pods, pods.grid(1), DONE, first)
    models = []
    for series, state in (("t", server_state(first)), ("u", {})):
        second = INNER[name]()
        restore(second, state)
        resumed = strategy(second, pods.names, series=series, first_round=DONE + 1, completed=DONE)
        grid = pods.grid(2 + len(models))
        models.append(flat(resumed.start(grid, done[-1].arrays, ROUNDS, 5.0, config(), config()).arrays))
    assert np.abs(models[0] - models[1]).max() > 1e-3


def test_the_state_of_another_strategy_is_not_taken() -> None:
    with pytest.raises(UsageError, match="FedAvg keeps no 'm_t'"):
        restore(FedAvg(), {"m_t.w": np.zeros(3)})
    with pytest.raises(UsageError, match="keeps no '__class__'"):
        restore(FedAvg(), {"__class__.w": np.zeros(3)})


def test_rounds_that_pods_have_answered_are_skipped_in_one_session(pods: LinearPods) -> None:
    """The first run was killed after the pods had answered round 3, and before its checkpoint."""
    done = until(pods, pods.grid(1), DONE + 1, FedAvg())
    skipped: list[tuple[int, StepFailed]] = []
    rounds: list[int] = []
    grid = pods.grid(2)
    resumed = strategy(
        FedAvg(),
        pods.names,
        series="s",
        first_round=DONE + 1,
        completed=DONE,
        membership_changes=1,
        on_skip=lambda *skip: skipped.append(skip),
        on_round=lambda completed: rounds.append(completed.number),
    )
    resumed.start(grid, done[DONE - 1].arrays, ROUNDS, 5.0, config(), config())
    assert rounds == [4, 5, 6]
    asked = [message.content for message in grid.requests if message.metadata.message_type == MASKED_TRAIN]
    told = [(said["server-round"], said[COMPLETED_ROUNDS]) for said in (one.config_records["config"] for one in asked)]
    # How far training is does not depend on how many numbers were skipped.
    assert list(dict.fromkeys(told)) == [(3, 2), (4, 2), (5, 3), (6, 4)]
    assert [(number, error.spent) for number, error in skipped] == [(3, True)]
    assert resumed.sessions is not None
    assert resumed.sessions.opened == 1


def test_one_pod_that_has_answered_is_enough_to_skip_a_round(pods: LinearPods) -> None:
    def only_north(message: Message) -> Message | None:
        late = (
            message.metadata.message_type == MASKED_TRAIN
            and message.content.config_records["config"]["server-round"] == 3
        )
        return None if late and message.metadata.dst_node_id != 101 else message

    failed = strategy(FedAvg(), pods.names, series="s")
    with pytest.raises(RunFailed, match="pods were lost"):
        failed.start(pods.grid(1, on_request=only_north), initial(), 3, 0.2, config(), config())
    resumed = strategy(FedAvg(), pods.names, series="s", first_round=3, completed=2, membership_changes=1)
    result = resumed.start(pods.grid(2), initial(), 3, 5.0, config(), config())
    assert list(result.train_metrics_clientapp) == [4]


def test_a_run_whose_numbers_are_all_spent_ends(pods: LinearPods) -> None:
    until(pods, pods.grid(1), ROUNDS, FedAvg())
    resumed = strategy(FedAvg(), pods.names, series="s", first_round=2, completed=1, membership_changes=1)
    with pytest.raises(RunFailed, match="no round is left: the pods have answered up to 4"):
        resumed.start(pods.grid(2), initial(), 3, 5.0, config(), config())


def test_another_series_answers_the_same_numbers(pods: LinearPods) -> None:
    until(pods, pods.grid(1), DONE, FedAvg())
    other = strategy(FedAvg(), pods.names, series="other").start(pods.grid(2), initial(), 1, 5.0, config(), config())
    assert list(other.train_metrics_clientapp) == [1]


def test_where_all_rounds_are_done_only_the_evaluation_is_left(pods: LinearPods) -> None:
    done = until(pods, pods.grid(1), ROUNDS, FedAvg())
    resumed = strategy(FedAvg(), pods.names, series="s", first_round=ROUNDS + 1, completed=ROUNDS)
    result = resumed.start(pods.grid(2), done[-1].arrays, ROUNDS, 5.0, config(), config())
    assert list(result.train_metrics_clientapp) == []
    assert list(result.evaluate_metrics_clientapp) == [ROUNDS]
    assert set(resumed.traffic()) == {"evaluate"}


@pytest.mark.parametrize(("first", "completed"), [(1, 1), (3, 3), (2, -1)])
def test_a_start_that_cannot_be_is_refused(first: int, completed: int) -> None:
    with pytest.raises(UsageError, match="cannot have been completed"):
        strategy(FedAvg(), first_round=first, completed=completed)


# --- a pod that fails between the hello and the roster of a new session


def four(tmp_path: Path) -> LinearPods:
    return LinearPods(tmp_path, ("east", "north", "south", "west"))


def losing(node: int, roster_of: int) -> Callable[[Message], Message | None]:
    """Lose ``node``'s answer to the first training, and ``roster_of``'s to the roster of the next session."""
    seen = {MASKED_TRAIN: 0, ROSTER_MESSAGE: 0}

    def on_request(message: Message) -> Message | None:
        kind, receiver = message.metadata.message_type, message.metadata.dst_node_id
        lost = {MASKED_TRAIN: (node, 1), ROSTER_MESSAGE: (roster_of, 2)}
        if kind in seen and receiver == lost[kind][0]:
            seen[kind] += 1
            if seen[kind] == lost[kind][1]:
                return None
        return message

    return on_request


def test_a_pod_that_fails_at_the_roster_is_left_out_once(tmp_path: Path) -> None:
    pods = four(tmp_path)
    rounds: list[Round] = []
    secure = strategy(FedAvg(), pods.names, membership_changes=2, on_round=rounds.append)
    secure.start(pods.grid(on_request=losing(101, 102)), initial(), 3, 0.3, config(), config())
    without = [set(pods.names) - set(done.step.pods) for done in rounds]
    assert without[:2] == [{"east"}, {"north"}]  # one that did not train, and one that failed at the new roster
    assert secure.sessions is not None
    assert secure.sessions.opened == 3


def test_not_beyond_what_is_allowed(tmp_path: Path) -> None:
    pods = four(tmp_path)
    secure = strategy(FedAvg(), pods.names, membership_changes=1)
    with pytest.raises(CohortRefused, match="pod 'north': no answer"):
        secure.start(pods.grid(on_request=losing(101, 102)), initial(), 3, 0.3, config(), config())


def test_a_pod_whose_handler_failed_is_left_out_for_the_rest_of_the_run(tmp_path: Path) -> None:
    pods = four(tmp_path)
    whole, trained = pods.handlers["train"], list[str]()

    def fails_once(message: Message, context: Context) -> Message:
        name = str(context.node_config["pod"])
        trained.append(name)
        if trained.count("east") == 1 and name == "east":
            raise ValueError("of a row")
        return whole(message, context)

    pods.handlers["train"] = fails_once
    rounds: list[Round] = []
    secure = strategy(FedAvg(), pods.names, membership_changes=2, on_round=rounds.append)
    grid = pods.grid(1)
    secure.start(grid, initial(), 3, 5.0, config(), config())
    assert [set(pods.names) - set(done.step.pods) for done in rounds] == [{"east"}] * 3
    assert trained.count("east") == 1
    texts = [refusal.text for refusal in map(refusal_in, grid.replies) if refusal]
    assert texts == ["pod 'east' could not answer; its own log says why", OVER]
    with pytest.raises(CohortRefused, match="whose part in it is over"):  # nor is it in a run that resumes this one
        strategy(FedAvg(), pods.names, series="1", first_round=9).start(pods.grid(2), initial(), 3, 5.0, config())


OVER = "a step of this training has failed at the pod, whose part in it is over"


def refusal_in(reply: Message) -> records.Refusal | None:
    return Reply(1, reply.content).refusal() if reply.has_content() else None


# --- who is there


def test_discovery_tells_since_when_nodes_are_connected(pods: LinearPods, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = pods.grid(1)
    nodes = [NodeInfo(node_id=101, last_activated_at="2026-11-23T04:00:00+00:00"), *map(node_info, (102, 103))]
    monkeypatch.setattr(InProcessGrid, "get_nodes", lambda _: nodes)
    assert discover_pods(grid, pods.names, 2.0).since == {"north": "2026-11-23T04:00:00+00:00"}


def node_info(node: int) -> NodeInfo:
    return NodeInfo(node_id=node)


# --- what Flower says of a failure


def said_of(pods: LinearPods, code: int) -> str:
    def broken(message: Message) -> Message:
        if message.metadata.message_type == MASKED_TRAIN and message.metadata.src_node_id == 103:
            request = next(m for m in reversed(grid.requests) if m.metadata.message_type == MASKED_TRAIN)
            return Message(Error(code=code, reason=f"FileNotFoundError: {MARKER}"), reply_to=request)
        return message

    grid, failed = pods.grid(on_reply=broken), []
    secure = strategy(FedAvg(), pods.names, on_skip=lambda _, error: failed.append(error))
    with pytest.raises(RunFailed) as ended:
        secure.start(grid, initial(), 1, 5.0, config(), config())
    assert MARKER not in str(ended.value)
    assert MARKER not in repr(failed[0].lost)
    return str(failed[0])


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 7, 8, 99])
def test_an_error_reply_is_told_in_words_of_our_own(
    code: int, pods: LinearPods, caplog: pytest.LogCaptureFixture
) -> None:
    said = said_of(pods, code)
    assert "pod 'west': its" in said or "pod 'west': the message" in said
    assert f"(Flower's error {code})" in said
    assert MARKER not in caplog.text


def test_an_error_reply_to_a_hello_is_told_in_words_of_our_own(
    pods: LinearPods, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(message: Message) -> Message:
        if message.metadata.src_node_id == 103:
            return Message(Error(code=2, reason=MARKER), reply_to=grid.requests[-1])
        return message

    grid = pods.grid(on_reply=broken)
    secure = strategy(FedAvg(), pods.names, hello=0.3)
    with pytest.raises(CohortRefused, match="a node could not answer: its app failed") as refused:
        secure.start(grid, initial(), 1, 5.0, config(), config())
    assert MARKER not in str(refused.value)
    # An authenticating SuperLink tells under which names nodes are registered.
    named = [NodeInfo(node_id=node, name=name) for node, name in enumerate(pods.names, start=101)]
    monkeypatch.setattr(InProcessGrid, "get_nodes", lambda _: named)
    with pytest.raises(CohortRefused, match="the node registered as 'west' could not answer"):
        secure.start(grid, initial(), 1, 5.0, config(), config())
