"""Tunings of the small federation, with its real pods: what is chosen, and how one goes on that ended early."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fl_app import PyTorchTabularClassifier, combine_pod_schemas
from fl_app.config import RunConfig
from fl_app.errors import DataError, UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.pod.pod_file import load_pod
from fl_app.privacy.settings import Privacy
from fl_app.tabular.settings import DataStructure
from server.app.run_directory import RunDirectory
from server.modeller import several_runs
from server.modeller.launch import FitFailed
from server.modeller.launch import carry_out as carry_out_run
from server.modeller.tuning.carry_out import carry_out, plan
from server.modeller.tuning.directory import Tuning, TuningDirectory
from server.modeller.tuning.space import TuningSpace
from tests.house.source import ROOT
from tests.support.small_federation import PODS

SPACE = TuningSpace(
    architecture=("linear",),
    learning_rate={"SGD": (0.001, 0.1, 1.0)},
    batch_size=(64,),
    local_epochs=(1,),
    weight_decay=(0.0, 0.01),
)
BASE = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), local_epochs=1, seed=5)


def planned(small: SimulatedFederation, **given: Any) -> TuningDirectory:
    asked = {"space": SPACE, "trials": 4, "rounds": 1, "eta": 2, **given}
    return plan(Path("runs"), BASE, small, **asked)


def run_names() -> set[str]:
    return {run.name for run in RunDirectory.all(Path("runs"))}


def check_figures(tuning: Tuning) -> None:
    """Every figure of the tuning is that of its run's results.json, and the better half went on."""
    for trial in tuning.trials:
        for run in trial.runs:
            results = RunDirectory(Path("runs") / run.run).results()
            assert results.status == "completed"
            assert run.values == tuple(entry.loss for entry in results.rounds)
            assert run.value == results.rounds[-1].loss
            assert run.rows == results.rounds[-1].num_examples
            assert len(run.values) == run.rounds == tuning.rungs[run.rung].rounds
    for rung in range(1, len(tuning.rungs)):
        went_on = {trial.number for trial in tuning.trials if trial.on(rung)}
        values = {trial.number: value for trial in tuning.trials if (value := trial.value_on(rung - 1)) is not None}
        if went_on:
            assert went_on == set(sorted(values, key=lambda number: values[number])[: tuning.rungs[rung].trials])


def test_the_better_half_goes_on_and_the_best_is_trained(small: SimulatedFederation) -> None:
    tuning = carry_out(planned(small), small)
    assert tuning.status == "completed"
    assert Counter(run.rung for trial in tuning.trials for run in trial.runs) == {0: 4, 1: 2, 2: 1}
    check_figures(tuning)
    assert tuning.best is not None
    assert (tuning.best.run, tuning.best.rung) == (tuning.final, 2)
    final = RunDirectory(Path("runs") / str(tuning.final))
    assert final.model_path().is_file()
    config = final.config()
    assert config == tuning.best.settings.config(BASE, 4)
    assert len(run_names()) == tuning.runs_planned == 7
    assert tuning.rounds_planned == sum(len(run.results().rounds) for run in RunDirectory.all(Path("runs")))


def test_no_trial_sees_the_test_file_and_the_final_run_does(small: SimulatedFederation) -> None:
    tuning = carry_out(planned(small, trials=2), small)
    for trial in tuning.trials:
        for run in trial.runs:
            results = RunDirectory(Path("runs") / run.run).results()
            assert (results.test is not None) == (run.run == tuning.final)
            assert all((entry.test is not None) == (run.run == tuning.final) for entry in results.rounds)


def test_the_same_seed_makes_the_same_tuning(small: SimulatedFederation) -> None:
    one, other = (carry_out(planned(small, trials=2, final=False), small) for _ in range(2))
    assert [trial.settings for trial in one.trials] == [trial.settings for trial in other.trials]
    assert [trial.value_on(0) for trial in one.trials] == [trial.value_on(0) for trial in other.trials]
    assert one.final is None


def test_a_final_run_that_was_left_out_can_be_made_up_for(small: SimulatedFederation) -> None:
    directory = planned(small, trials=2, final=False)
    carry_out(directory, small)
    tried = run_names()
    assert len(tried) == 2
    tuning = carry_out(directory, final=True)
    assert run_names() - tried == {tuning.final}


def test_a_metric_that_improves_by_growing(small: SimulatedFederation) -> None:
    tuning = carry_out(planned(small, metric="auc", final=False, trials=3, eta=3), small)
    values = {trial.number: trial.value_on(0) for trial in tuning.trials}
    assert tuning.best is not None
    assert tuning.best.value == max(value for value in values.values() if value is not None)
    best = RunDirectory(Path("runs") / tuning.best.run).results()
    assert tuning.best.value == best.rounds[-1].auc


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pytest
from fl_app.federation.kinds import read_federation
from server.modeller.tuning.carry_out import carry_out
from server.modeller.tuning.directory import TuningDirectory
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import in_this_process

in_this_process(pytest.MonkeyPatch())
send, seen = InProcessGrid.push_messages, []

def push(grid, messages):
    seen.extend(message for message in messages if message.metadata.message_type.startswith(sys.argv[3]))
    if len(seen) >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return send(grid, messages)

InProcessGrid.push_messages = push
carry_out(TuningDirectory(Path(sys.argv[2])), read_federation(Path("fl-app.toml"), "small"))
"""


def killed_at(directory: TuningDirectory, number: int) -> None:
    """Carry a tuning out in a process that is killed when it is about to send its n-th request to train."""
    from fl_app.flower.names import MASKED_TRAIN

    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(ROOT), str(directory.path), MASKED_TRAIN, str(number)],
        env=dict(os.environ),
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_a_killed_tuning_goes_on_and_repeats_nothing(small: SimulatedFederation) -> None:
    undisturbed = carry_out(planned(small, rounds=2), small)
    before = run_names()
    directory = planned(small, rounds=2)
    # Two pods, a message each: the third run is killed after its first round.
    killed_at(directory, 2 * (2 + 2 + 1) + 1)
    began = run_names() - before
    assert len(began) == 3
    known = directory.read()
    assert [trial.number for trial in known.trials if trial.value_on(0) is not None] == [1, 2]
    killed = known.trials[2].runs[0]
    assert killed.status == "running"

    tuning = carry_out(directory)
    assert tuning.status == "completed"
    after = run_names() - before
    assert began < after
    assert len(after) == tuning.runs_planned
    resumed = RunDirectory(Path("runs") / killed.run).results()
    assert [one.after for one in resumed.resumed] == [1]
    assert not any(RunDirectory(Path("runs") / name).results().resumed for name in after - {killed.run})
    check_figures(tuning)
    assert [trial.settings for trial in tuning.trials] == [trial.settings for trial in undisturbed.trials]
    for trial, other in zip(tuning.trials, undisturbed.trials, strict=True):
        assert [run.value for run in trial.runs] == pytest.approx([run.value for run in other.runs], abs=1e-5)


def test_a_run_killed_before_its_first_round_begins_anew(small: SimulatedFederation) -> None:
    directory = planned(small, trials=2)
    killed_at(directory, 2 + 1)
    begun = run_names()
    first, second = (trial.runs[0].run for trial in directory.read().trials)
    assert {first, second} == begun
    tuning = carry_out(directory)
    assert tuning.trials[0].runs[0].run == first
    assert tuning.trials[1].runs[0].run not in begun
    assert tuning.status == "completed"


def limit(name: str, **terms: int) -> None:
    path = Path(f"{name}.yaml")
    policy = load_pod(path).policy.model_dump(exclude_defaults=True)
    text = path.read_text()
    path.write_text(text[: text.index("policy:")] + f"policy: {json.dumps({**policy, **terms})}\n")


@pytest.mark.parametrize(
    ("terms", "known"),
    [({"maximum_runs_per_day": 3}, 3), ({"maximum_rounds_per_day": 5}, 2)],
)
def test_a_limit_of_the_day_ends_it_and_another_day_goes_on(
    small: SimulatedFederation, terms: dict[str, int], known: int
) -> None:
    directory = planned(small, rounds=2)
    limit("south", **terms)
    tuning = carry_out(directory, small)
    assert tuning.status == "stopped"
    (term,) = terms
    assert f"({term})" in tuning.why
    assert "--resume" not in tuning.why
    assert len([trial for trial in tuning.trials if trial.value_on(0) is not None]) == known
    assert tuning.best is not None
    limit("south", **dict.fromkeys(terms, 1000))
    begun = run_names()
    going = carry_out(directory)
    assert going.status == "completed"
    assert going.why == ""
    check_figures(going)
    named = [run.run for trial in going.trials for run in trial.runs]
    assert {trial.runs[0].run for trial in going.trials[:known]} <= begun
    assert len(named) == len(set(named)) == going.runs_planned


def failing(monkeypatch: pytest.MonkeyPatch, text: str, *places: int) -> None:
    """Let some of the runs, counted from 1, fail with this error."""
    calls = Counter[str]()

    def launched(run: RunDirectory, *given: Any) -> None:
        calls["runs"] += 1
        if calls["runs"] in places:
            raise FitFailed(text, run)
        carry_out_run(run, *given)

    monkeypatch.setattr(several_runs, "carry_out_run", launched)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": {"SGD": (0.1, 3e38)}}, "could not answer"),
        ({"learning_rate": {"SGD": (0.1,)}, "local_epochs": (1, 5)}, "maximum_local_epochs"),
    ],
    ids=["diverges", "more than an owner allows"],
)
def test_settings_with_which_pods_do_not_train_are_left_out(
    small: SimulatedFederation, changes: dict[str, Any], said: str
) -> None:
    limit("south", maximum_local_epochs=3)
    space = TuningSpace(**{**SPACE.model_dump(), "weight_decay": (0.0,), **changes})
    tuning = carry_out(planned(small, space=space, trials=2, final=False), small)
    assert [bool(trial.left_out) for trial in tuning.trials].count(True) == 1
    (out,) = (trial for trial in tuning.trials if trial.left_out)
    assert said in out.left_out
    assert out.settings.learning_rate > 1 or out.settings.local_epochs == 5
    assert tuning.status == "completed"
    assert tuning.best is not None
    assert tuning.best.trial != out.number


DIVERGED = "training diverged: the loss is not finite; use a smaller learning rate"


def test_a_trial_that_cannot_be_trained_makes_room_for_another(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, DIVERGED, 2, 5)  # the second trial, and the best of those that go on
    tuning = carry_out(planned(small, final=False), small)
    out = [trial for trial in tuning.trials if trial.left_out]
    assert [trial.left_out for trial in out] == [DIVERGED] * 2
    assert out[0].number == 2 or out[1].number == 2
    on = [trial for trial in tuning.trials if trial.value_on(1) is not None]
    assert len(on) == 2
    assert tuning.status == "completed"
    assert tuning.best is not None
    assert tuning.best.trial in {trial.number for trial in on}


def test_a_simulation_that_does_not_start_is_started_again(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "the run's process failed: Ray's raylet ended while it started: x", 2, 3)
    tuning = carry_out(planned(small, trials=2, final=False), small)
    assert tuning.status == "completed"
    check_figures(tuning)
    assert len(run_names()) == 2 + 2


@pytest.mark.parametrize(
    ("text", "places"),
    [(DIVERGED, (1, 2)), ("the pods did not connect", (2,)), ("Ray timed out during startup", (1, 2, 3))],
)
def test_what_is_not_due_to_a_trial_ends_the_tuning(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch, text: str, places: tuple[int, ...]
) -> None:
    directory = planned(small)
    failing(monkeypatch, text, *places)
    with pytest.raises(FitFailed, match=text):
        carry_out(directory, small)
    assert (directory.read().status, directory.read().why) == ("failed", text)


def test_pods_without_enough_validation_rows_are_told(small: SimulatedFederation) -> None:
    for name in PODS:
        limit(name, minimum_rows_per_class=10_000)
    with pytest.raises(DataError, match="trials are compared by loss on all pods' validation rows"):
        carry_out(planned(small), small)
    assert len(run_names()) == 1


def test_two_processes_cannot_carry_out_one_tuning(small: SimulatedFederation) -> None:
    directory = planned(small)
    with directory.carried_out(), pytest.raises(UsageError, match="is under way"):
        carry_out(directory, small)


def test_privacy_has_no_part_in_it(small: SimulatedFederation) -> None:
    with pytest.raises(UsageError, match="a tuning has no privacy"):
        plan(Path("runs"), RunConfig(**{**dict(BASE), "privacy": Privacy(epsilon=3.0)}), small)
    assert not Path("runs").exists()


def test_in_python_the_model_is_that_of_the_final_run(small: SimulatedFederation) -> None:
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), combine_pod_schemas(federation=small), epochs=1)
    tuning = model.tune(federation=small, space=SPACE, trials=2, min_rounds=1, eta=2)
    assert tuning.final is not None
    assert model.run_directory == (Path("runs") / tuning.final).resolve()
    final = RunDirectory(Path("runs") / tuning.final).results()
    assert model.results == final.document()
    assert final.test is not None
    assert model.evaluate("public.csv")["auc"] == pytest.approx(final.test.auc, abs=1e-6)
    again = model.tune(federation=small, resume=tuning.tune_id)
    assert again.final == tuning.final
