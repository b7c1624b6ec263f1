"""Runs that end before their last round, by early stopping or by a callback: the real ServerApp and the real pods."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fl_app import Callback, EarlyStopping, PyTorchTabularClassifier, Run, combine_pod_schemas
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.flower.names import MASKED_EVALUATE, MASKED_TRAIN
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure, Optimizer
from server.app.checkpoint import Checkpoint
from server.app.run_directory import RunDirectory
from server.modeller.launch import FitFailed, fit
from server.modeller.resume import resume
from tests.support.close import close
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import PODS, InThread

ASKED = EarlyStopping(metric="loss", patience=2)
BEST, LAST = 4, 7
"""The fourth round's model is the best, the next two are no better, and the seventh round shows it."""


@pytest.fixture
def threaded(small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch) -> SimulatedFederation:
    monkeypatch.setattr("server.modeller.launch.launcher_for", lambda federation: InThread())
    monkeypatch.setattr("server.modeller.launch.POLL", 0.01)
    return small


def settings(early_stopping: EarlyStopping | None = ASKED, rounds: int = 9, lr: float = 0.03) -> RunConfig:
    return RunConfig(
        pods=PODS,
        datastructure=DataStructure(target="outcome"),
        rounds=rounds,
        local_epochs=1,
        batch_size=64,
        optimizer=Optimizer(name="AdamW", params={"lr": lr}),
        lr_decay=1.0,
        early_stopping=early_stopping,
        seed=4,
    )


def same_model(run: RunDirectory, other: RunDirectory) -> None:
    model, expected = load_file(run.model_path()), load_file(other.model_path())
    assert model.keys() == expected.keys()
    for name, array in model.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-6)


def dies_at(patch: pytest.MonkeyPatch, message_type: str, number: int) -> Callable[[], None]:
    """Let the ServerApp die at its n-th message of a type; returns what mends it."""
    send, seen = InProcessGrid.push_messages, list[Any]()

    def push(grid: InProcessGrid, messages: list[Any]) -> Any:
        seen.extend(message for message in messages if message.metadata.message_type == message_type)
        if len(seen) >= number:
            raise RuntimeError("the connection broke")
        return send(grid, messages)

    patch.setattr(InProcessGrid, "push_messages", push)
    return lambda: patch.setattr(InProcessGrid, "push_messages", send)


def test_the_best_rounds_model_is_kept_and_finally_evaluated(small: SimulatedFederation) -> None:
    run, best = fit(settings(), small), fit(settings(None, rounds=BEST), small)
    results = run.results().document()
    assert [entry["round"] for entry in results["rounds"]] == [*range(1, LAST + 1)]
    assert results["stopped"]["round"] == LAST
    assert "loss has not fallen for 2 rounds" in results["stopped"]["why"]
    assert (results["kept"], results["early_stopping"]["best_round"]) == (BEST, BEST)
    same_model(run, best)
    final, its_own = results["final"], best.results().document()["final"]
    assert final.pop("intervals") == close(its_own.pop("intervals"), abs=2e-3)
    assert final.pop("auc") == pytest.approx(its_own.pop("auc"), abs=2e-3)  # in cells of other rounds
    assert final == pytest.approx(its_own, abs=1e-6)
    assert results["test"].pop("intervals")
    assert results["test"] == results["rounds"][BEST - 1]["test"]
    losses = [entry["loss"] for entry in results["rounds"]]
    assert losses[BEST - 1] == pytest.approx(best.results().document()["rounds"][-1]["loss"], abs=1e-6)
    assert min(losses[: LAST - 1]) == losses[BEST - 1]
    assert losses[LAST - 1] is None  # nobody has evaluated it
    assert TrainedModel.load(run.model_path()).extra["round"] == BEST
    assert {kind: cost["messages"] for kind, cost in results["secure_aggregation"]["steps"].items()} == {
        "statistics": 2,
        "train": 2 * LAST,
        "evaluate": 4,  # twice, since the cells have followed another model's scores
    }


def test_the_classifier_tells_the_figures_of_the_model_that_was_kept(small: SimulatedFederation) -> None:
    config = settings()
    model = PyTorchTabularClassifier(
        config.datastructure,
        combine_pod_schemas(),
        epochs=config.rounds,
        batch_size=config.batch_size,
        optimizer=config.optimizer,
        seed=config.seed,
    )
    with pytest.raises(UsageError, match="call fit"):
        model.kept  # noqa: B018
    results = model.fit(early_stopping=config.early_stopping, lr_decay=config.lr_decay)
    assert math.isnan(results[-1]["auc"])
    assert model.kept == results[BEST - 1]
    assert model.kept["round"] == BEST


def test_without_restore_best_the_last_rounds_model_is_kept(small: SimulatedFederation) -> None:
    asked = ASKED.model_copy(update={"restore_best": False})
    run, plain = fit(settings(asked), small), fit(settings(None, rounds=LAST), small)
    results = run.results().document()
    assert (results["stopped"]["round"], results["kept"]) == (LAST, LAST)
    same_model(run, plain)
    assert results["rounds"][-1]["auc"] == pytest.approx(plain.results().document()["rounds"][-1]["auc"], abs=1e-6)
    assert not Checkpoint.load(run.checkpoint_path).best


def test_a_training_that_improves_goes_its_whole_length_and_keeps_its_last_model(small: SimulatedFederation) -> None:
    asked = EarlyStopping(metric="loss", patience=1)
    run, plain = fit(settings(asked, rounds=3, lr=0.003), small), fit(settings(None, rounds=3, lr=0.003), small)
    results = run.results().document()
    losses = [entry["loss"] for entry in results["rounds"]]
    assert losses == sorted(losses, reverse=True)  # else this test shows nothing
    assert "stopped" not in results
    assert (results["kept"], results["early_stopping"]["best_round"]) == (3, 3)
    same_model(run, plain)


@pytest.mark.parametrize(("message_type", "number"), [(MASKED_TRAIN, 7), (MASKED_TRAIN, 11), (MASKED_EVALUATE, 1)])
def test_a_resumed_run_stops_and_keeps_what_the_undisturbed_one_does(
    message_type: str, number: int, small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fit(settings(), small)
    mend = dies_at(monkeypatch, message_type, number)
    with pytest.raises(FitFailed) as failed:
        fit(settings(), small)
    mend()
    broken = failed.value.run
    lost = ("stopped", "early_stopping")  # the process died before it wrote them
    broken.write_results(broken.results().without(*lost))
    run = resume(broken)
    results, expected = run.results().document(), undisturbed.results().document()
    assert results["stopped"] == expected["stopped"]
    assert results["early_stopping"] == pytest.approx(expected["early_stopping"], abs=1e-6)
    assert results["kept"] == BEST
    assert len(results["rounds"]) == LAST
    same_model(run, undisturbed)
    assert results["final"] == close(expected["final"], abs=1e-6)
    assert results["secure_aggregation"]["steps"]["train"]["messages"] == 2 * LAST


class Notes(Callback):
    """Writes down what it is told, and may stop the run at a round."""

    def __init__(self, stop_at: int = 0) -> None:
        self.told: list[str] = []
        self.metrics: list[dict[str, float]] = []
        self._stop_at = stop_at

    def on_run_start(self, run: Run) -> None:
        self.told.append("start")

    def on_step(self, run: Run, step: Mapping[str, Any]) -> None:
        assert {"name", "round", "of", "waiting"} <= step.keys()
        self.told.append(step["name"])

    def on_round(self, run: Run, metrics: dict[str, float]) -> None:
        self.told.append(f"round {metrics['round']}")
        self.metrics.append(metrics)
        if metrics["round"] == self._stop_at:
            run.stop("enough")

    def on_run_end(self, run: Run) -> None:
        self.told.append(f"end: {run.results['status']}")


def test_callbacks_are_told_of_every_round_what_fit_returns(threaded: SimulatedFederation) -> None:
    notes, other = Notes(), Notes()
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), combine_pod_schemas(PODS), epochs=3)
    results = model.fit(PODS, callbacks=[notes, other])
    assert notes.metrics == results
    assert notes.told == other.told
    assert [told for told in notes.told if told.startswith(("start", "round", "end"))] == [
        "start",
        "round 1",
        "round 2",
        "round 3",
        "end: completed",
    ]


def test_a_callback_ends_a_run_which_keeps_its_model(threaded: SimulatedFederation) -> None:
    notes = Notes(stop_at=1)
    run = fit(settings(None, rounds=40), threaded, callbacks=[notes])
    results = run.results().document()
    last = len(results["rounds"])
    assert 2 <= last < 40
    assert results["stopped"] == {"round": last, "why": "enough"}
    assert results["kept"] == last
    assert results["final"]["num_examples"] > 0
    assert run.model_path().is_file()
    assert run.stop_asked() is None
    assert notes.told[-1] == "end: completed"
    assert notes.metrics[-1]["round"] == last


@pytest.mark.parametrize("method", ["on_run_start", "on_step", "on_round"])
def test_what_a_callback_raises_stops_the_run_and_is_raised(
    method: str, threaded: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Notes, *_: object) -> None:
        raise ZeroDivisionError("in my own code")

    monkeypatch.setattr(Notes, method, broken)
    with pytest.raises(ZeroDivisionError, match="in my own code"):
        fit(settings(None, rounds=40), threaded, callbacks=[Notes()])
    (run,) = RunDirectory.all(Path("runs"))
    results = run.results().document()
    assert results["status"] == "interrupted"
    assert results["error"] == "the callback Notes raised ZeroDivisionError: in my own code"
    assert len(results["rounds"]) < 40
    if method == "on_round":
        assert run.checkpoint_path.exists()  # so that it can be resumed


def test_a_callback_hears_of_a_run_that_failed(small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    mend = dies_at(monkeypatch, MASKED_TRAIN, 5)
    notes = Notes()
    with pytest.raises(FitFailed) as failed:
        fit(settings(None, rounds=4), small, callbacks=[notes])
    assert notes.told[0] == "start"
    assert notes.told[-1] == "end: failed"
    assert [entry["round"] for entry in notes.metrics] == [1]
    mend()
    again = Notes()
    resume(failed.value.run, callbacks=[again])
    assert [entry["round"] for entry in again.metrics] == [2, 3, 4]  # what it had not heard of


def test_an_error_at_the_end_does_not_hide_why_the_run_failed(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Notes, run: Run) -> None:
        raise ZeroDivisionError("at the end")

    monkeypatch.setattr(Notes, "on_run_end", broken)
    dies_at(monkeypatch, MASKED_TRAIN, 1)
    with pytest.raises(FitFailed) as failed:
        fit(settings(None), small, callbacks=[Notes()])
    assert failed.value.__notes__ == ["afterwards the callback Notes raised ZeroDivisionError: at the end"]


def test_what_is_no_callback_is_refused_before_a_run_begins(small: SimulatedFederation) -> None:
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), combine_pod_schemas(PODS), epochs=1)
    with pytest.raises(UsageError, match="give an instance, not the class"):
        model.fit(PODS, callbacks=[Notes])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="is no Callback"):
        model.fit(PODS, callbacks=[print])  # type: ignore[list-item]
    assert not Path("runs").exists()


def test_the_command_line_stops_early_and_says_which_model_it_keeps(
    small: SimulatedFederation, capsys: pytest.CaptureFixture[str]
) -> None:
    from fl_app.cli import main

    asked = ["--early-stopping", "auc,patience=1,min_delta=0.9"]
    with pytest.raises(SystemExit) as left:
        main(["fit", "--federation", "small", "--rounds", "6", "--batch-size", "64", *asked])
    out, err = capsys.readouterr()
    assert left.value.code == 0
    assert "training ended with round 3: auc has not grown by more than 0.9 for 1 round" in err
    assert re.search("the model kept is that of round [12]", err)  # of the third nobody knows how good it is
    assert re.search("round [12], validation, kept", out)
    with pytest.raises(SystemExit) as left:
        main(["fit", "--federation", "small", "--early-stopping", "acc"])
    assert left.value.code not in (0, None)
    assert "unknown metric" in capsys.readouterr().err
