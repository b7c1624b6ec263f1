"""examples/tuning.py, over two small pods in this process."""

import runpy
from pathlib import Path

import pytest

from fl_app import PyTorchTabularClassifier
from fl_app.federation.kinds import SimulatedFederation
from fl_app.tabular.settings import DataStructure
from tests.house.source import ROOT


def test_the_example_tunes_and_saves_the_best_model(
    small: SimulatedFederation, capsys: pytest.CaptureFixture[str]
) -> None:
    federations = Path("fl-app.toml")
    federations.write_text(federations.read_text().replace("[federation.small]", "[federation.laptop]"))
    made = runpy.run_path(str(ROOT / "examples" / "tuning.py"))
    tuning = made["tuning"]
    assert tuning.status == "completed"
    said = capsys.readouterr().out
    assert repr(tuning.best.settings.architecture) in said
    loaded = PyTorchTabularClassifier.load("tuned.safetensors")
    assert loaded.datastructure == DataStructure(target="outcome")
    assert loaded.evaluate("public.csv")["auc"] == made["model"].evaluate("public.csv")["auc"]
    assert f"{loaded.evaluate('public.csv')['auc']}" in said
