"""Of every trip the server tells for whom it waits, and results.json has it; training ends where it is asked to."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg

from fl_app.config import RunConfig
from fl_app.tabular.settings import DataStructure
from server.app.recorder import MIN_INTERVAL, Recorder
from server.app.run_directory import RunDirectory
from strategies import Round
from tests.strategies.linear_pods import LinearPods, config, flat, initial, strategy
from tests.support.in_process import InProcessGrid

FOUR = ("east", "north", "south", "west")
TRIPS = ("hello", "roster", "train", "unmask", "evaluate")


class OneAtATime(InProcessGrid):
    """Hands over one reply a look."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready = [identifier for identifier in message_ids if identifier in self._ready]
        return super().pull_messages(ready[:1])


def test_each_trip_tells_who_has_yet_to_answer(tmp_path: Path) -> None:
    pods, told = LinearPods(tmp_path, FOUR), list[tuple[str, tuple[str, ...]]]()
    grid = OneAtATime(pods.masked_app(), {n: {"pod": name} for n, name in enumerate(FOUR)}, 1)
    watched = strategy(FedAvg(), FOUR, on_wait=lambda trip, names: told.append((trip, tuple(names))), grace=5.0)
    watched.start(grid, initial(), 1, 5.0, config(), config())
    for trip in TRIPS:
        waits = [names for about, names in told if about == trip]
        assert all(set(names) < set(FOUR) for names in waits)
        # A sum that is whole is opened by three of four pods, and nobody waits for the last, who is asked in the last
        # step only; there are two such sums.
        assert [len(names) for names in waits] == ([2, 1, 3, 2] if trip == "unmask" else [3, 2, 1]), trip


def test_training_ends_where_it_is_asked_to_and_another_model_is_evaluated(tmp_path: Path) -> None:
    pods, done = LinearPods(tmp_path), list[Round]()
    secure = strategy(
        FedAvg(),
        on_round=done.append,
        should_stop=lambda: len(done) == 3,
        choose_model=lambda: (1, done[0].arrays),
    )
    result = secure.start(pods.grid(), initial(), 9, 5.0, config(), config())
    assert [entry.number for entry in done] == [1, 2, 3]
    assert result.arrays is done[0].arrays
    # Of the model of round 1 the metrics are known from round 2, and again from the final evaluation.
    assert secure.final is not None
    final = secure.final.aggregate.values["evaluate-mean.loss"]
    np.testing.assert_allclose(final, done[1].aggregate.values["evaluate-mean.loss"], rtol=0, atol=1e-9)
    assert float(final[0]) != float(done[2].aggregate.values["evaluate-mean.loss"][0])


def test_nobody_is_asked_before_a_round_is_completed_and_none_means_the_last_model(tmp_path: Path) -> None:
    pods, done = LinearPods(tmp_path), list[Round]()
    secure = strategy(FedAvg(), on_round=done.append, should_stop=lambda: True, choose_model=lambda: None)
    result = secure.start(pods.grid(), initial(), 9, 5.0, config(), config())
    assert len(done) == 1
    assert np.array_equal(flat(result.arrays), flat(done[0].arrays))


def test_a_resumed_run_whose_training_was_over_trains_no_more(tmp_path: Path) -> None:
    pods, done = LinearPods(tmp_path), list[Round]()
    secure = strategy(FedAvg(), on_round=done.append, should_stop=lambda: True, first_round=3, completed=2)
    secure.start(pods.grid(), initial(), 9, 5.0, config(), config())
    assert done == []
    assert secure.final is not None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The recorder's time, in its last element."""
    times = [1000.0]
    monkeypatch.setattr("server.app.recorder.time.monotonic", lambda: times[-1])
    return times


def test_waiting_is_written_when_it_changes_and_not_too_often(tmp_path: Path, clock: list[float]) -> None:
    settings = RunConfig(pods=("a", "b", "c"), datastructure=DataStructure(target="x"), local_epochs=1)
    run = RunDirectory.create(tmp_path, settings)
    recorder, step = Recorder(run), lambda: run.results().document()["step"]
    recorder.wait("hello", ["a"])  # before any step: nothing to add it to
    assert run.results().document() == {}
    recorder.step("train", 2)
    assert step() == {"name": "train", "round": 2, "of": 0, "waiting": []}
    recorder.wait("train", ["a", "b", "c"])
    assert step()["waiting"] == []  # too soon
    clock.append(clock[-1] + MIN_INTERVAL)
    recorder.wait("train", ["a", "b", "c"])
    assert step() == {"name": "train", "round": 2, "of": 0, "trip": "train", "waiting": ["a", "b", "c"]}
    written = (run.path / "results.json").stat().st_ino
    clock.append(clock[-1] + 9)
    recorder.wait("train", ["a", "b", "c"])
    assert (run.path / "results.json").stat().st_ino == written  # nothing new
    recorder.wait("train", ["b"])
    recorder.wait("train", ["c"])
    assert step()["waiting"] == ["b"]
    clock.append(clock[-1] + MIN_INTERVAL)
    recorder.wait("train", ["c"])  # told again at the next look
    assert step()["waiting"] == ["c"]
    recorder.step("evaluate", 2)
    assert step() == {"name": "evaluate", "round": 2, "of": 0, "waiting": []}
