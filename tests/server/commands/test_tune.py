"""``fl-app tune`` from outside: what it prints, what it refuses, and that its runs are runs like any other."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.federation.kinds import SimulatedFederation
from fl_app.tabular.class_weights import ClassWeight
from fl_app.tabular.threshold import ThresholdRule
from server.app.run_directory import RunDirectory
from server.commands.output import class_weight_option, threshold_option
from server.modeller.tuning.directory import TuningDirectory

Call = Callable[..., tuple[int, str, str]]
SPACE = """architecture: [linear]
learning_rate: {SGD: [0.01, 0.3]}
batch_size: [64]
local_epochs: [1]
weight_decay: [0.001]
"""
TUNE = ("tune", "--federation", "fl-app.toml#small", "--space", "space.yaml", "--min-rounds", "1")


@pytest.fixture
def call(small: SimulatedFederation, capsys: pytest.CaptureFixture[str]) -> Call:
    Path("space.yaml").write_text(SPACE)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def captured(monkeypatch: pytest.MonkeyPatch, command: str) -> RunConfig:
    """Return the settings with which a command line of ``fit`` would train."""
    found: list[RunConfig] = []

    class Enough(Exception):
        pass

    def capture(config: RunConfig, *_: Any, **__: Any) -> None:
        found.append(config)
        raise Enough

    monkeypatch.setattr("server.commands.fit.carry_out_fit", capture)
    program, *arguments = shlex.split(command)
    assert program == "fl-app"
    with pytest.raises(Enough):
        main(arguments)
    return found[0]


def test_it_prints_the_trials_and_the_command_that_trains_the_best(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = call(
        *(*TUNE, "--seed", "4", "--ignore", "colour", "--class-weight", "balanced", "--threshold", "youden")
    )
    assert code == 0
    assert "3 runs and 5 rounds in all: 2 trials of 1 round, the best of 3 rounds" in err
    lines = [line for line in err.splitlines() if line.startswith("rung ")]
    assert [line[:15] for line in lines] == ["rung 1, 1 round"] * 2 + ["rung 2, 3 round"]
    (path,) = Path("runs").glob("tune-*")
    tuning = TuningDirectory(path.resolve()).read()
    assert tuning.best is not None
    for trial in tuning.trials:
        assert f"{trial.value_on(0):.4f}" in out
    assert f"{tuning.best.value:.4f}" in out
    told = f"compared on {tuning.trials[0].runs[0].rows} validation rows of all pods: so few that small"
    assert told in out
    page = (path / "tune.html").read_text()
    assert told in page
    assert page.count("<svg") == 2
    assert f"{tuning.best.value:.4f}" in page
    (again,) = [line.partition(" ")[2].strip() for line in out.splitlines() if line.startswith("again")]
    assert captured(monkeypatch, again) == RunDirectory(Path("runs") / str(tuning.final)).config()


def test_its_runs_are_listed_and_its_directory_is_no_run(call: Call) -> None:
    code, out, _ = call(*TUNE, "--json", "--no-final")
    assert code == 0
    document = json.loads(out)
    assert document["status"] == "completed"
    assert document["final"] is None
    assert [len(trial["runs"]) for trial in document["trials"]] == [1, 1]
    assert Path(document["page"]).is_file()
    listed = json.loads(call("runs", "--json")[1])
    names = [run["run"] for trial in document["trials"] for run in trial["runs"]]
    assert sorted(entry["run"] for entry in listed) == sorted(names)
    code, _, err = call("runs", "show", document["tune_id"])
    assert code == 2
    assert "no run directory" in err
    code, _, err = call("runs", "remove", "--yes", document["tune_id"])
    assert code == 2
    code, out, _ = call("tune", "--resume", document["tune_id"], "--final", "--json")
    assert code == 0
    (final,) = {run.name for run in RunDirectory.all(Path("runs"))} - set(names)
    assert json.loads(out)["final"] == final


def test_choices_that_commands_share_are_those_of_the_settings() -> None:
    @class_weight_option
    @threshold_option
    @click.command
    def command() -> None: ...

    choices = [option.type.choices for option in command.params if isinstance(option.type, click.Choice)]
    assert sorted(map(sorted, choices)) == sorted(sorted(get_args(kind)) for kind in (ClassWeight, ThresholdRule))


def test_a_budget_of_rounds_sets_how_many_trials_there_are(call: Call) -> None:
    Path("space.yaml").unlink()
    Path("space.yaml").write_text(SPACE.replace("[0.01, 0.3]", "[0.01, 0.1, 0.3, 1.0]"))
    code, out, _ = call(*TUNE, "--json", "--budget-rounds", "6")
    assert code == 0
    document = json.loads(out)
    assert document["rungs"] == [{"trials": 3, "rounds": 1}, {"trials": 1, "rounds": 3}]
    assert len(RunDirectory.all(Path("runs"))) == 4


def test_a_tuning_that_an_owner_s_limit_stops_says_how_to_go_on(call: Call) -> None:
    path = Path("south.yaml")
    path.write_text(path.read_text().replace("policy: {", "policy: {maximum_runs_per_day: 1, "))
    code, out, err = call(*TUNE, "--json")
    assert code == 1
    document = json.loads(out)
    assert document["status"] == "stopped"
    assert [len(trial["runs"]) for trial in document["trials"]] == [1, 1]
    assert document["best"]["trial"] == 1
    assert "(maximum_runs_per_day)" in err
    assert err.splitlines()[-1].endswith(f"`fl-app tune --resume {document['tune_id']}` goes on with it")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--trials", "1"), "2 trials or more"),
        (("--eta", "1"), "keeps one in 2 or more"),
        (("--budget-rounds", "3"), "two trials take 5 rounds, the final run included, and the budget is 3"),
        (("--pods", "north,east"), "has no pod 'east'"),
        (("--metric", "gini"), "'gini' is not one of"),
        (("--resume", "tune-1"), "--min-rounds, --space: a tuning that goes on keeps the settings"),
        (("--privacy", "epsilon=3"), "No such option '--privacy'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(call: Call, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = call(*TUNE, *arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert not Path("runs").exists()


def test_a_tuning_that_is_not_there(call: Call) -> None:
    code, _, err = call("tune", "--resume", "tune-1")
    assert code == 2
    assert "tune-1: no directory of a tuning (it would hold tune.json); there is none in runs" in err
