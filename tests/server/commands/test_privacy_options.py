"""``--privacy`` on the command line, and the same in Python: what it implies, and what does not go with it."""

import json
from pathlib import Path
from typing import Any

import pytest

from fl_app import EarlyStopping, FederatedAveraging, Optimizer, Privacy, PyTorchTabularClassifier, SecureAggregator
from fl_app.cli import main
from fl_app.config import RunConfig, Settled
from fl_app.errors import UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.secagg.field import FIELD_31
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.regime import LARGE
from fl_app.tabular.settings import DataStructure
from server.app.results import Results
from server.app.run_directory import RunDirectory
from tests.fl_app.tabular.tables import shop
from tests.server.commands.test_defaults import SCHEMA, Captured, capture
from tests.server.display.test_private_runs import private
from tests.server.exports.test_formats import model_of

UNFIT = {
    "--local-epochs": "2",
    "--local-steps": "50",
    "--batch-size": "256",
    "--optimizer": "AdamW",
    "--lr": "0.01",
    "--lr-decay": "0.5",
    "--strategy": "FedAvg",
    "--strategy-params": "{}",
    "--early-stopping": "auc",
    "--weighting": "examples",
}
FLAGS = ("--compact", "--plain")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert err.count("\n") == 1
    return err


@pytest.fixture
def captured(small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.commands.fit.carry_out_fit", capture)
    monkeypatch.setattr("server.modeller.classifier.carry_out_fit", capture)


def settings_of(*arguments: str) -> RunConfig:
    with pytest.raises(Captured) as caught:
        main(["fit", "--target", "outcome", *arguments])
    config: RunConfig = caught.value.args[0]
    return config


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("option", [*UNFIT.items(), *((flag,) for flag in FLAGS)])
def test_what_has_no_part_in_a_private_run_is_refused_in_a_line(
    option: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "fit", "--target", "outcome", "--privacy", "epsilon=3", *option)
    assert said.startswith(f"fl-app: {option[0]} has no part in a run with --privacy: ")
    assert settings_of(*option).privacy is None  # without --privacy it is as good as before


@pytest.mark.usefixtures("captured")
def test_privacy_sets_rounds_and_network_unless_they_are_given() -> None:
    config = Settled.of(settings_of("--privacy", "epsilon=3"), LARGE)
    assert (config.privacy, config.rounds, config.architecture) == (Privacy(epsilon=3), 120, "linear")
    assert config.early_stopping is None
    assert settings_of("--privacy", "epsilon=8,delta=1e-6").most_rounds == 120
    asked = settings_of("--privacy", "epsilon=3", "--rounds", "7", "--architecture", "mlp", "--seed", "3")
    given = Settled.of(asked, LARGE)
    assert (given.rounds, given.architecture, given.seed) == (7, "mlp", 3)


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("text", ["3", "epsilon=0", "epsilon=3,delta=1", "epsilon=3,rows=4", "epsilon=nan"])
def test_what_cannot_be_read_is_said(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "fit", "--target", "outcome", "--privacy", text).startswith("fl-app: ")


def classifier(**settings: Any) -> PyTorchTabularClassifier:
    return PyTorchTabularClassifier(DataStructure(target="outcome"), SCHEMA, privacy=Privacy(epsilon=3), **settings)


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize(
    ("settings", "arguments", "named"),
    [
        ({"batch_size": 256}, {}, "batch_size"),
        ({"optimizer": Optimizer(name="SGD")}, {}, "optimizer"),
        ({"batch_size": 64, "optimizer": Optimizer(name="SGD")}, {}, "batch_size, optimizer"),
        ({"steps": 100}, {}, "give epochs"),
        ({}, {"strategy": "FedAdam"}, "strategy"),
        ({}, {"strategy_params": {"eta": 0.1}}, "strategy_params"),
        ({}, {"lr_decay": 1.0}, "lr_decay"),
        ({}, {"epochs_between_parameter_updates": 2}, "epochs_between_parameter_updates"),
        ({}, {"steps_between_parameter_updates": 2}, "steps_between_parameter_updates"),
        ({}, {"aggregator": SecureAggregator(weighting="equal")}, "weighting"),
        ({}, {"aggregator": SecureAggregator(prime_q=FIELD_31.prime)}, "2\\^61-1"),
        ({}, {"aggregator": FederatedAveraging()}, "needs secure aggregation"),
        ({}, {"early_stopping": EarlyStopping()}, "no round is evaluated"),
    ],
)
def test_python_refuses_the_same(settings: dict[str, Any], arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        classifier(**settings).fit(**arguments)


@pytest.mark.usefixtures("captured")
def test_python_and_the_command_ask_for_the_same_private_run() -> None:
    with pytest.raises(Captured) as caught:
        classifier().fit(aggregator=SecureAggregator(max_weight=2**24))
    in_python: RunConfig = caught.value.args[0]
    of_command = settings_of("--privacy", "epsilon=3")
    assert in_python.model_copy(update={"max_weight": of_command.max_weight}) == of_command
    assert in_python.max_weight == 2**24


def test_a_private_model_s_file_gives_its_classifier_back(tmp_path: Path) -> None:
    model = model_of(shop())
    asked = RunConfig(
        pods=("a", "b"),
        datastructure=DataStructure(target=model.encoding.target.name),
        rounds=80,
        privacy=Privacy(epsilon=3),
    )
    config = Settled.of(asked, LARGE)
    extra = {"settings": config.model_dump(mode="json")}
    TrainedModel(model.encoding, model.architecture, model.state, extra).save(tmp_path / "m.safetensors")
    again = PyTorchTabularClassifier.load(tmp_path / "m.safetensors")
    assert (again.privacy, again.epochs) == (Privacy(epsilon=3), 80)


def test_runs_are_listed_and_shown_with_their_privacy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def made(results: Results) -> RunDirectory:
        config = RunConfig(pods=("a", "b", "c"), datastructure=DataStructure(target="t"), local_epochs=1)
        run = RunDirectory.create(tmp_path / "runs", config)
        run.write_results(results.changed(run_id=run.name))
        return run

    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--runs", str(tmp_path / "runs")])
        assert left.value.code == 0
        return capsys.readouterr().out

    plain, run = made(Results(status="completed", rounds=())), made(private(public=False))
    listed = {entry["run"]: entry["epsilon"] for entry in json.loads(said("runs", "list", "--json"))}
    assert listed == {plain.name: None, run.name: 3.0}
    assert "epsilon 3" in " ".join(said("runs", "list").split())
    assert "privacy  epsilon 3, delta 1e-05 for every row" in said("runs", "show", run.name)
    assert "privacy" not in said("runs", "show", plain.name)
