"""A network of the modeller's own, from the file to a trained model: in Python and at the command line."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flwr.app import Message

from client.app.row_split import split_rows
from fl_app import (
    DataStructure,
    EarlyStopping,
    PyTorchTabularClassifier,
    TorchModel,
    combine_pod_schemas,
)
from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.errors import DataError, UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.flower.names import MASKED_TRAIN
from fl_app.privacy.settings import Privacy
from fl_app.tabular.model_file import TrainedModel, source_in
from fl_app.tabular.network_source import digest_of
from fl_app.tabular.settings import OWN_ARCHITECTURE
from server.app.run_directory import RunDirectory
from server.display.scored_rows import figures_told
from server.exports import formats
from server.exports.model_card import card
from server.modeller.launch import FitFailed
from server.modeller.launch import fit as carry_out_fit
from server.modeller.resume import resume
from tests.house.source import ROOT
from tests.server.app.test_regression_run import federation_of
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import PODS, isolate, small_federation, table

NETWORK = (ROOT / "examples" / "network.py").read_text()
SMALL = """
from torch import nn
class Small(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.last = nn.Linear(inputs.numbers, inputs.outputs)
    def forward(self, numbers, bins, codes):
        return self.last(numbers)
def build(inputs): return Small(inputs)
"""
OUTCOME = DataStructure(target="outcome")
QUICK = ("--rounds", "1", "--local-epochs", "1", "--federation", "small", "--target", "outcome")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedFederation:
    made = small_federation(tmp_path)
    isolate(monkeypatch, tmp_path)
    (tmp_path / "network.py").write_text(NETWORK)
    return made


def called(*arguments: str) -> int:
    """Return the exit code of a command."""
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def model_of(federation: SimulatedFederation, network: str = "network.py") -> TorchModel:
    return TorchModel(network, OUTCOME, combine_pod_schemas(federation=federation), epochs=2)


def test_the_example_trains_a_network_of_ones_own(small: SimulatedFederation) -> None:
    federations = Path("fl-app.toml")
    federations.write_text(federations.read_text().replace("[federation.small]", "[federation.laptop]"))
    made = runpy.run_path(str(ROOT / "examples" / "own_network.py"))
    assert made["metrics"]["auc"] > 0.9
    model = made["model"]
    assert model.results["training"]["settings"]["architecture"] == OWN_ARCHITECTURE
    assert model.results["test"]["auc"] == pytest.approx(made["metrics"]["auc"])
    again = TorchModel.load("own.safetensors", network="network.py")
    pd.testing.assert_frame_equal(again.predict("public.csv"), model.predict("public.csv"))
    assert (again.epochs, again.optimizer) == (4, model.optimizer)


def test_the_run_keeps_the_file_and_all_that_is_made_of_it_scores_alike(small: SimulatedFederation) -> None:
    model = model_of(small)
    model.fit(federation=small)
    run = RunDirectory(model.run_directory or Path())
    assert run.network_path.read_text() == NETWORK
    assert run.config().network == digest_of(NETWORK)
    Path("network.py").unlink()  # the model that was trained is there without it
    rows = table(50, 4)
    expected = model.predict(rows).to_numpy()
    trained = TrainedModel.load(run.model_path(), NETWORK)
    for form in formats.FORMATS:
        path = Path(f"m.{form}")
        formats.export(trained, path)
        scorer = formats.open_scorer(path, None if form in ("onnx", "pt2") else NETWORK)
        np.testing.assert_allclose(scorer.predict_proba(rows), expected, atol=1e-5)
    assert f"| network | own, sha256 {digest_of(NETWORK)[:12]}, " in card(trained, Path("m.onnx"))
    with pytest.raises(UsageError, match="holds its network as a graph"):
        formats.open_scorer(Path("m.onnx"), NETWORK)


def test_no_code_in_a_model_file_is_run(small: SimulatedFederation, capsys: pytest.CaptureFixture[str]) -> None:
    marked = f"open('marker', 'a').close()\n{NETWORK}"
    Path("network.py").write_text(marked)
    model = model_of(small)
    model.fit(federation=small)
    model.serialize("own.safetensors")
    Path("marker").unlink()
    with pytest.raises(UsageError, match="is run: write it out with `fl-app export own"):
        TrainedModel.load("own.safetensors")
    with pytest.raises(UsageError, match="no code in a model file is run"):
        PyTorchTabularClassifier.load("own.safetensors")
    with pytest.raises(UsageError, match="no code in a model file is run"):
        TorchModel.load("own.safetensors")
    Path("other.py").write_text(f"{NETWORK}\n")
    with pytest.raises(UsageError, match="another network than the one given"):
        TorchModel.load("own.safetensors", network="other.py")
    assert called("predict", "own.safetensors", "public.csv") == 2
    assert called("export", "latest", "-o", "m.onnx") == 2
    assert called("export", "own.safetensors", "-o", "read.py") == 0
    assert Path("read.py").read_text() == marked == source_in("own.safetensors")
    assert called("export", "own.safetensors", "-o", "read.py") == 2
    assert not Path("marker").exists()
    capsys.readouterr()
    assert called("predict", "own.safetensors", "public.csv", "--network", "read.py", "-o", "scores.csv") == 0
    assert Path("marker").exists()
    assert len(pd.read_csv("scores.csv")) == 300


def test_own_metrics_are_means_over_the_rows_that_are_counted(
    small: SimulatedFederation, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(small)
    rounds = model.fit(federation=small)
    run = RunDirectory(model.run_directory or Path())
    results = run.results()
    frames = {name: pd.read_csv(f"{name}.csv", na_values=["?"]) for name in PODS}
    parts = {name: split_rows(len(frame), name) for name, frame in frames.items()}
    rows = {
        place: pd.concat([frames[name].iloc[parts[name][index]] for name in PODS])
        for place, index in (("validation", 1), ("test", 2))
    }
    for metrics, scored in (
        (results.rounds[-1], rows["validation"]),
        (results.final, rows["test"]),
        (results.test, pd.read_csv("public.csv", na_values=["?"])),
    ):
        assert metrics is not None
        assert metrics.own["confidence"] == pytest.approx(model.predict(scored).to_numpy().max(axis=1).mean(), abs=1e-5)
    assert rounds[-1]["own_confidence"] == results.rounds[-1].own["confidence"]
    told = list(figures_told(results))
    assert any(
        text.startswith("means of the network's own metrics, pods' test rows: confidence 0.") for text in told
    ), told
    # Where too few rows are held out at the pods, as little is told of these metrics as of all others.
    for path in map(Path, ("north.yaml", "south.yaml")):
        path.write_text(path.read_text().replace("policy: {", "policy: {minimum_evaluation_rows: 500, "))
    final = model_of(small)
    final.fit(federation=small)
    found = RunDirectory(final.run_directory or Path()).results()
    assert found.final is not None
    assert found.final.own == {"confidence": None}
    assert found.test is not None
    assert (found.test.own["confidence"] or 0) > 0.5


def test_a_number_is_learnt_by_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    federation = federation_of(tmp_path)
    Path("network.py").write_text(NETWORK.partition("def loss")[0])
    schema = combine_pod_schemas(federation=federation)
    model = TorchModel("network.py", DataStructure(target="hours", ignore_cols=["note"]), schema, epochs=8)
    stopping = EarlyStopping(metric="mae", patience=3)
    model.fit(federation=federation, early_stopping=stopping, epochs_between_parameter_updates=2)
    assert model.evaluate("public.csv")["r2"] > 0.3
    assert list(model.predict("public.csv")) == ["hours [h]"]
    assert model.kept["mae"] > 0


def test_a_run_goes_on_with_the_file_in_its_directory_and_no_other(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = InProcessGrid.push_messages
    asked: list[Message] = []

    def push(grid: InProcessGrid, messages: list[Message]) -> Any:
        asked.extend(message for message in messages if message.metadata.message_type == MASKED_TRAIN)
        if len(asked) > len(PODS):
            raise RuntimeError("the connection broke")
        return send(grid, messages)

    monkeypatch.setattr(InProcessGrid, "push_messages", push)
    with pytest.raises(FitFailed, match="resumes it after its last completed round") as caught:
        model_of(small).fit(federation=small)
    monkeypatch.setattr(InProcessGrid, "push_messages", send)
    run = caught.value.run
    run.network_path.write_text(f"{NETWORK}#")
    with pytest.raises(UsageError, match="is asked for"):
        resume(run, small)
    run.network_path.write_text(NETWORK)
    Path("network.py").unlink()
    assert [entry.round for entry in resume(run, small).results().rounds] == [1, 2]


def test_each_fold_trains_it(small: SimulatedFederation) -> None:
    validation = model_of(small).cross_validate(2, federation=small)
    assert [entry.status for entry in validation.runs] == ["completed", "completed"]
    for entry in validation.runs:
        assert RunDirectory.find(entry.run).network_path.read_text() == NETWORK
    assert called("fit", *QUICK, "--network", "network.py", "--folds", "2") == 0


def test_a_network_that_does_not_fit_is_refused_before_anything_is_asked(small: SimulatedFederation) -> None:
    schema = combine_pod_schemas(federation=small)
    Path("wrong.py").write_text(SMALL.replace("inputs.outputs", "7"))
    with pytest.raises(UsageError, match=r"forward returned \[3, 7\] for 3 rows, expected \[3, 2\]"):
        TorchModel("wrong.py", OUTCOME, schema)
    with pytest.raises(UsageError, match="the network's file cannot be read"):
        TorchModel("none.py", OUTCOME, schema)
    with pytest.raises(UsageError, match="'outcome' is categorical, and has no squared error"):
        TorchModel("network.py", OUTCOME, schema, loss="squared")
    with pytest.raises(UsageError, match="unknown loss 'own'"):
        TorchModel("network.py", OUTCOME, schema, loss="own")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="tune tries fl-app's own networks"):
        TorchModel("network.py", OUTCOME, schema).tune(federation=small)


def test_the_server_finds_it_before_statistics_are_asked(small: SimulatedFederation) -> None:
    source = SMALL.replace("inputs.outputs", "7")
    config = RunConfig(
        pods=PODS, datastructure=OUTCOME, rounds=1, architecture=OWN_ARCHITECTURE, network=digest_of(source)
    )
    with pytest.raises(FitFailed, match=r"forward returned \[3, 7\]") as caught:
        carry_out_fit(config, small, network=source)
    results = json.loads((caught.value.run.path / "results.json").read_text())
    assert results["step"]["name"] == "hello"


BINNED = SMALL.replace("self.last =", "self.more = nn.Embedding(sum(inputs.bins), 1); self.last =")


@pytest.mark.parametrize(("source", "limit", "step"), [(SMALL, 3, "hello"), (BINNED, 9, "statistics")])
def test_a_network_larger_than_an_owner_allows_is_refused(
    source: str, limit: int, step: str, small: SimulatedFederation
) -> None:
    north = small.pods[0]
    north.write_text(north.read_text().replace("policy: {", f"policy: {{maximum_parameters: {limit}, "))
    config = RunConfig(
        pods=PODS, datastructure=OUTCOME, rounds=1, architecture=OWN_ARCHITECTURE, network=digest_of(source)
    )
    said = rf"pod 'north' takes part with networks of at most {limit} parameters \(maximum_parameters\); this run's own"
    with pytest.raises(FitFailed, match=said) as caught:
        carry_out_fit(config, small, network=source)
    assert json.loads((caught.value.run.path / "results.json").read_text())["step"]["name"] == step
    north.write_text(north.read_text().replace(f"maximum_parameters: {limit}", "maximum_parameters: null"))
    if source == SMALL:
        assert carry_out_fit(config, small, network=source).results().status == "completed"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"architecture": OWN_ARCHITECTURE}, "needs the file of a network"),
        ({"network": digest_of(SMALL)}, "needs the file of a network"),
        ({"network": "short", "architecture": OWN_ARCHITECTURE}, "network: "),
        (
            {"network": digest_of(SMALL), "architecture": OWN_ARCHITECTURE, "privacy": Privacy(epsilon=3)},
            "takes no network of one's own",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        RunConfig(pods=PODS, datastructure=OUTCOME, **given)  # type: ignore[arg-type]


def test_at_the_command_line(small: SimulatedFederation, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("fit", *QUICK, "--network", "network.py") == 0
    said = capsys.readouterr()
    assert "own network, 1 round" in said.err
    run = RunDirectory.find("latest")
    assert f"--network {run.network_path}" in said.out
    assert run.network_path.read_text() == NETWORK
    assert called("fit", *QUICK, "--network", "network.py", "--architecture", "mlp") == 2
    assert "--architecture and --network: give one of the two" in capsys.readouterr().err


def test_a_model_of_the_other_kind_is_refused(small: SimulatedFederation) -> None:
    Path("either.py").write_text(NETWORK.partition("def loss")[0])
    schema = combine_pod_schemas(federation=small)
    model = model_of(small, "either.py")
    model.fit(federation=small)
    model.serialize("own.pt")
    number = TorchModel("either.py", DataStructure(target="age"), schema)
    with pytest.raises(DataError, match="predicts 'outcome', not 'age'"):
        number.deserialize("own.pt")
    model.deserialize("own.pt")
    with pytest.raises(DataError, match="tells classes apart, and the schema's target is of the other kind"):
        number._check_model(model._model.encoding, Path("own.pt"))
