"""Runs that end too early and are resumed: the real ServerApp and the real pods, in this process."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from safetensors.numpy import load_file

from fl_app import PyTorchTabularClassifier, combine_pod_schemas
from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.flower.names import MASKED_EVALUATE, MASKED_TRAIN
from fl_app.replica.state import Replica
from fl_app.secagg.messages import Proof
from fl_app.tabular.settings import DataStructure, Optimizer
from server.app.checkpoint import Checkpoint
from server.app.results import Results, RoundResult, SkippedRound
from server.app.run_directory import RunDirectory
from server.modeller.launch import FitFailed, Interrupted, UnfitData, fit
from server.modeller.resume import resume
from tests.support.close import close
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import PODS, table

ROUNDS, DONE = 4, 2
STRATEGIES: dict[str, dict[str, float]] = {
    "FedAvg": {},
    "FedAdam": {"eta": 0.01, "tau": 0.01},
    "FedAvgM": {"server_learning_rate": 0.7, "server_momentum": 0.9},
}


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], None]]:
    """Let the ServerApp die when it is about to send its n-th message of a type."""
    send = InProcessGrid.push_messages

    def at(message_type: str, number: int) -> None:
        seen = []

        def push(grid: InProcessGrid, messages: list[Message]) -> Any:
            seen.extend(message for message in messages if message.metadata.message_type == message_type)
            if len(seen) >= number:
                raise RuntimeError("the connection broke")
            return send(grid, messages)

        monkeypatch.setattr(InProcessGrid, "push_messages", push)

    yield at
    monkeypatch.setattr(InProcessGrid, "push_messages", send)


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    send = InProcessGrid.push_messages
    return lambda: monkeypatch.setattr(InProcessGrid, "push_messages", send)


def settings(strategy: str = "FedAvg", rounds: int = ROUNDS) -> RunConfig:
    return RunConfig(
        pods=PODS,
        datastructure=DataStructure(target="outcome"),
        rounds=rounds,
        local_epochs=1,
        batch_size=64,
        optimizer=Optimizer(name="SGD", params={"lr": 0.05}),
        lr_decay=0.1,
        strategy=strategy,
        strategy_params=STRATEGIES[strategy],
        seed=3,
    )


def last_run(directory: Path = Path("runs")) -> RunDirectory:
    return RunDirectory.all(directory)[-1]


def broken_run(small: SimulatedFederation, strategy: str = "FedAvg") -> RunDirectory:
    with pytest.raises(FitFailed) as failed:
        fit(settings(strategy), small)
    return failed.value.run


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_resumed_run_is_the_undisturbed_one(
    strategy: str, small: SimulatedFederation, dying: Callable[[str, int], None], mended: Callable[[], None]
) -> None:
    undisturbed = fit(settings(strategy), small)
    dying(MASKED_TRAIN, 2 * DONE + 1)
    broken = broken_run(small, strategy)
    kept = Checkpoint.load(broken.checkpoint_path)
    assert (kept.number, len(kept.rounds)) == (DONE, DONE)
    assert bool(kept.replica.carried) == (strategy != "FedAvg")
    before = broken.results().document()
    assert before["status"] == "failed"

    mended()
    run = resume(broken)
    assert run.path == broken.path
    results, expected = run.results().document(), undisturbed.results().document()
    models = [load_file(one.model_path()) for one in (run, undisturbed)]
    for name, array in models[0].items():
        np.testing.assert_allclose(array, models[1][name], rtol=0, atol=1e-6)
    assert results["status"] == "completed"
    assert "error" not in results
    assert [entry["round"] for entry in results["rounds"]] == [1, 2, 3, 4]
    for entry, other in zip(results["rounds"], expected["rounds"], strict=True):
        assert entry["auc"] == pytest.approx(other["auc"], abs=1e-6)
        assert entry["train_loss"] == pytest.approx(other["train_loss"], abs=1e-6)
    assert results["rounds"][0] == before["rounds"][0]
    assert results["final"] == close(expected["final"], abs=1e-6)
    (resumed,) = results["resumed"]
    assert (resumed["after"], resumed["status"]) == (DONE, "failed")
    assert "stopped unexpectedly" in resumed["why"]
    # What the whole run has cost; the statistics were asked for once.
    steps = results["secure_aggregation"]["steps"]
    messages = {kind: cost["messages"] for kind, cost in steps.items()}
    assert messages.pop("evaluate") in (2, 4)  # twice, if the first did not give the AUC closely enough
    assert messages == {"statistics": 2, "train": 8}
    assert results["secure_aggregation"]["sessions"] == 2
    assert results["seconds"] > before["seconds"]


def test_every_round_was_answered_once_and_the_masks_of_none_were_used_twice(
    small: SimulatedFederation, dying: Callable[[str, int], None], mended: Callable[[], None], tmp_path: Path
) -> None:
    """It dies after the pods have answered round 3 and before that is on disk: round 3 is spent."""
    undisturbed = fit(settings(), small).results().document()
    save = Checkpoint.save
    with pytest.MonkeyPatch.context() as patch:

        def full(checkpoint: Checkpoint, path: Path) -> None:
            if checkpoint.number > DONE:
                raise OSError("no space left")
            save(checkpoint, path)

        patch.setattr(Checkpoint, "save", full)
        broken = broken_run(small)
    run = resume(broken)
    results = run.results().document()
    assert [entry["round"] for entry in results["rounds"]] == [1, 2, 4, 5]
    assert [entry["round"] for entry in results["skipped"]] == [3]
    assert {loss["code"] for loss in results["skipped"][0]["lost"].values()} == {"answered"}
    assert results["rounds"][-1]["auc"] == pytest.approx(undisturbed["rounds"][-1]["auc"], abs=0.003)
    for pod in PODS:
        answered = trained(tmp_path / "home/pods" / pod / "ledger.db", run.name)
        assert sorted(answered) == [1, 2, 3, 4, 5]


def trained(ledger: Path, series: str) -> list[int]:
    with closing(sqlite3.connect(ledger)) as database:
        query = "SELECT round FROM entries WHERE kind = 'train' AND event = 'answer' AND series = ?"
        return [row[0] for row in database.execute(query, (series,))]


def test_a_round_that_was_skipped_before_is_not_asked_again(
    small: SimulatedFederation, dying: Callable[[str, int], None], mended: Callable[[], None]
) -> None:
    dying(MASKED_TRAIN, 2 * DONE + 1)
    broken = broken_run(small)
    skipped = SkippedRound(round=3, why="pods were lost")
    broken.write_results(broken.results().changed(skipped=(skipped,)))
    mended()
    assert [entry["round"] for entry in resume(broken).results().document()["rounds"]] == [1, 2, 4, 5]


def test_where_only_the_final_evaluation_is_missing_that_is_all_that_is_done(
    small: SimulatedFederation, dying: Callable[[str, int], None], mended: Callable[[], None]
) -> None:
    dying(MASKED_EVALUATE, 1)
    broken = broken_run(small)
    assert len(broken.results().document()["rounds"]) == ROUNDS
    mended()
    results = resume(broken).results().document()
    assert results["status"] == "completed"
    assert len(results["rounds"]) == ROUNDS
    assert results["final"]["num_examples"] > 0
    assert "test" in results
    assert "auc" in results["rounds"][-1]
    assert results["secure_aggregation"]["steps"]["train"]["messages"] == 2 * ROUNDS


def test_it_goes_on_from_the_checkpoint_where_the_results_are_behind_it(
    small: SimulatedFederation, dying: Callable[[str, int], None], mended: Callable[[], None]
) -> None:
    dying(MASKED_TRAIN, 2 * DONE + 1)
    broken = broken_run(small)
    behind = broken.results()
    broken.write_results(behind.changed(status="running", rounds=behind.rounds[:1]))
    mended()
    results = resume(broken).results().document()
    assert [entry["round"] for entry in results["rounds"]] == [1, 2, 3, 4]
    assert all("auc" in entry for entry in results["rounds"])
    assert results["resumed"][0]["why"] == behind.error


def test_it_may_be_resumed_again_with_more_rounds_and_other_deadlines(
    small: SimulatedFederation, dying: Callable[[str, int], None], mended: Callable[[], None]
) -> None:
    dying(MASKED_TRAIN, 2 * DONE + 1)
    broken = broken_run(small)
    dying(MASKED_TRAIN, 2 + 1)
    with pytest.raises(FitFailed):
        resume(broken, rounds=ROUNDS + 1)
    mended()
    with pytest.raises(UsageError, match="may have more, not 3"):
        resume(broken, rounds=3)
    run = resume(broken, hello_timeout=5.0, step_timeout=50.0)
    results = run.results().document()
    assert len(results["rounds"]) == ROUNDS + 1
    assert [entry["after"] for entry in results["resumed"]] == [2, 3]
    config = run.config()
    assert (config.rounds, config.hello_timeout, config.step_timeout) == (ROUNDS + 1, 5.0, 50.0)
    assert config.optimizer == settings().optimizer


def test_tables_that_changed_in_between_stop_it(
    small: SimulatedFederation, dying: Callable[[str, int], None], mended: Callable[[], None], tmp_path: Path
) -> None:
    dying(MASKED_TRAIN, 2 * DONE + 1)
    broken = broken_run(small)
    mended()
    table(600, 1).drop(columns="colour").to_csv(tmp_path / "south.csv", index=False)
    table(600, 0).drop(columns="colour").to_csv(tmp_path / "north.csv", index=False)
    with pytest.raises(UnfitData, match="not those this run began with"):
        resume(broken)
    assert broken.results().document()["data_error"]


# --- what cannot be resumed


def test_a_completed_run_and_one_without_a_checkpoint_cannot_be_resumed(
    small: SimulatedFederation, dying: Callable[[str, int], None]
) -> None:
    run = fit(settings(rounds=1), small)
    before = run.results().document()
    with pytest.raises(UsageError, match="is completed"):
        resume(run)
    with pytest.raises(UsageError, match="is completed"):
        resume(run, rounds=3)
    assert run.results().document() == before
    dying(MASKED_TRAIN, 1)
    with pytest.raises(UsageError, match=r"no checkpoint.*begin anew"):
        resume(broken_run(small))


def test_a_run_under_way_cannot_be_resumed(small: SimulatedFederation, dying: Callable[[str, int], None]) -> None:
    dying(MASKED_TRAIN, 2 * DONE + 1)
    broken = broken_run(small)
    with broken.carried_out(), pytest.raises(UsageError, match="is under way"):
        resume(broken)


def test_a_damaged_checkpoint_and_a_renamed_directory_are_told_of(
    small: SimulatedFederation, dying: Callable[[str, int], None]
) -> None:
    dying(MASKED_TRAIN, 2 * DONE + 1)
    broken = broken_run(small)
    other = broken.path.rename(broken.path.with_name("renamed"))
    with pytest.raises(UsageError, match=f"pods know this run as {broken.name}"):
        resume(RunDirectory(other))
    back = RunDirectory(other.rename(broken.path))
    whole = back.checkpoint_path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no archive"):
        back.checkpoint_path.write_bytes(damaged)
        with pytest.raises(UsageError, match="no checkpoint to resume from"):
            resume(back)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    arrays = {"w": rng.normal(size=(3, 2)).astype(np.float32), "b": np.array([np.nan, -0.0]), "n": np.arange(3)}
    replica = Replica(3, {"schema": "{}", "ends": b"1"}, arrays, {"m.w": rng.normal(size=4)}, 2, {7: bytes(32)})
    proof = Proof(bytes(32), ("a", "b")), np.arange(5, dtype=np.uint64)
    kept = Checkpoint(7, replica, (RoundResult(round=7, train_loss=None),), proof=proof)
    kept.save(tmp_path / "checkpoint.npz")
    back = Checkpoint.load(tmp_path / "checkpoint.npz")
    assert (back.number, back.rounds) == (7, kept.rounds)
    assert back.replica.digest == replica.digest
    assert back.proof is not None
    assert (back.proof[0], back.proof[1].tolist()) == (proof[0], proof[1].tolist())
    for ours, theirs in ((kept.arrays, back.arrays), (replica.carried, back.replica.carried)):
        assert list(ours) == list(theirs)
        for name in ours:
            assert (ours[name].dtype, ours[name].tobytes()) == (theirs[name].dtype, theirs[name].tobytes())
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


# --- the modeller's own Python


def test_a_classifier_goes_on_with_the_run_it_began(
    small: SimulatedFederation, dying: Callable[[str, int], None], mended: Callable[[], None]
) -> None:
    schema = combine_pod_schemas(PODS)
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), schema, epochs=3, batch_size=64)
    dying(MASKED_TRAIN, 3)
    with pytest.raises(FitFailed) as failed:
        model.fit(PODS)
    mended()
    run = failed.value.run
    other = PyTorchTabularClassifier(DataStructure(target="outcome"), schema, epochs=3, batch_size=32)
    with pytest.raises(UsageError, match="other settings of batch_size"):
        other.fit(PODS, resume=run.name)
    rounds = model.fit(PODS, resume=run.name)
    assert [entry["round"] for entry in rounds] == [1, 2, 3]
    assert model.run_directory == run.path


# --- the command, and signals


FIT = ("fit", "--rounds", "3", "--batch-size", "64", "--lr", "0.01")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_the_command_says_how_to_resume_and_resumes(
    small: SimulatedFederation,
    dying: Callable[[str, int], None],
    mended: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    dying(MASKED_TRAIN, 3)
    code, _, err = call(capsys, *FIT)
    name = last_run().name
    assert code == 1
    assert err.splitlines()[-1].endswith(f"`fl-app fit --resume {name}` resumes it after its last completed round")
    mended()
    code, out, err = call(capsys, "fit", "--resume", name, "--json")
    assert code == 0
    assert len(json.loads(out)["rounds"]) == 3
    assert [line.split()[1] for line in err.splitlines() if line.startswith("round")] == ["1/3", "2/3", "3/3"]
    code, _, err = call(capsys, "fit", "--resume", name)
    assert code == 2
    assert "is completed" in err


@pytest.mark.parametrize("options", [("--lr", "0.1"), ("--pods", "north,south"), ("--target", "age")])
def test_what_a_resumed_run_may_not_change(
    options: tuple[str, str], small: SimulatedFederation, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "fit", "--resume", "latest", *options)
    assert code == 2
    assert f"{options[0]}: a resumed run keeps the settings it began with" in err


def test_a_run_that_there_is_not(small: SimulatedFederation, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "fit", "--resume", "nothing")
    assert code == 2
    assert "no run directory" in err


class Endless:
    """A launcher whose run goes on until it is stopped."""

    def __init__(self, number: int) -> None:
        self.number, self.stopped = number, False

    def start(self, run_dir: Path, environment: dict[str, str], num_pods: int) -> None:
        self.run = RunDirectory(run_dir)
        self.run.write_results(Results(run_id=self.run.name, status="running", rounds=()))
        os.kill(os.getpid(), self.number)

    def wait(self, seconds: float | None = None) -> int:
        raise TimeoutError

    def stop(self) -> None:
        if not self.stopped:
            # As the ServerApp does when its run is stopped under it.
            self.run.write_results(self.run.results().changed(status="failed", error="stopped unexpectedly"))
            os.kill(os.getpid(), self.number)  # an impatient second Ctrl-C
        self.stopped = True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_cleanly(
    number: int,
    small: SimulatedFederation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    launcher = Endless(number)
    monkeypatch.setattr("server.modeller.launch.launcher_for", lambda federation: launcher)
    before = signal.getsignal(number)
    code, _, err = call(capsys, *FIT)
    assert code == 130
    assert err.splitlines()[-1] == "fl-app: stopped; no round was completed: start a new run"
    assert launcher.stopped
    assert last_run().results().document()["status"] == "interrupted"
    assert signal.getsignal(number) is before
    with last_run().carried_out():
        pass


def test_after_a_signal_the_last_line_says_how_to_resume(
    small: SimulatedFederation, dying: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    dying(MASKED_TRAIN, 3)
    broken = broken_run(small)
    monkeypatch.setattr("server.modeller.launch.launcher_for", lambda federation: Endless(signal.SIGINT))
    with pytest.raises(Interrupted, match=f"stopped; `fl-app fit --resume {broken.name}` resumes"):
        resume(broken)
