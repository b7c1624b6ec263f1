import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import save_file

from fl_app.errors import DataError, UsageError
from fl_app.tabular.model_file import SUFFIXES, TrainedModel
from fl_app.tabular.network import build_network, state_of
from fl_app.tabular.settings import Optimizer
from fl_app.tabular.training import train

from .tables import encoding_of, shop

each_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


@pytest.fixture(scope="module", params=["mlp", "tutorial"])
def model(request: pytest.FixtureRequest) -> TrainedModel:
    frame = shop()
    encoding = encoding_of(frame)
    network = build_network(encoding, request.param)
    train(network, encoding.encode(frame), optimizer=Optimizer(name="AdamW", params={"lr": 0.01}), epochs=1)
    return TrainedModel(encoding, request.param, state_of(network), {"run": "r1", "auc": 0.9})


@each_suffix
def test_a_file_gives_the_same_model_back(model: TrainedModel, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    model.save(path)
    back = TrainedModel.load(path)
    frame = shop(50, seed=4).drop(columns="bought")
    scores = back.predict_proba(frame)
    assert_array_equal(scores, model.predict_proba(frame))
    assert scores.shape == (50, 2)
    assert scores.dtype == np.float64
    assert back.classes == ("no", "yes")
    assert back.extra == model.extra
    other = tmp_path / f"again{suffix}"
    back.save(other)
    assert_array_equal(TrainedModel.load(other).predict_proba(frame), scores)


def test_a_fresh_process_needs_only_the_file(model: TrainedModel, tmp_path: Path) -> None:
    path, table = tmp_path / "model.safetensors", tmp_path / "rows.csv"
    model.save(path)
    shop(20, seed=4).to_csv(table, index=False)
    code = (
        "import sys, pandas as pd; from fl_app.tabular.model_file import TrainedModel;"
        "print(TrainedModel.load(sys.argv[1]).predict_proba(pd.read_csv(sys.argv[2])).sum())"
    )
    done = subprocess.run([sys.executable, "-c", code, path, table], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(20)


def test_a_pt_file_is_plain_tensors_and_text(model: TrainedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert list(content["state"]) == list(model.state)
    assert json.loads(content["metadata"])["architecture"] == model.architecture


@each_suffix
def test_what_is_no_model_file_is_a_typed_error(model: TrainedModel, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    with pytest.raises(UsageError, match="no such model file"):
        TrainedModel.load(path)
    model.save(path)
    whole = path.read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2], b"\x80\x04\x95" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"model{suffix}"):
            TrainedModel.load(path)


@pytest.mark.parametrize("broken", ["format", "architecture", "encoding", "extra"])
def test_a_file_of_another_format_or_not_whole_is_refused(model: TrainedModel, tmp_path: Path, broken: str) -> None:
    model.save(tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    metadata = json.loads(content["metadata"])
    path = tmp_path / "other.safetensors"
    for wrong in (metadata | {broken: "other"}, {k: v for k, v in metadata.items() if k != broken}):
        save_file(content["state"], path, wrong)
        with pytest.raises(DataError, match=r"other\.safetensors does not hold a model"):
            TrainedModel.load(path)
    save_file(content["state"], path)
    with pytest.raises(DataError, match="does not hold a model"):
        TrainedModel.load(path)


def test_parameters_of_another_network_are_refused(model: TrainedModel, tmp_path: Path) -> None:
    missing = dict(list(model.state.items())[1:])
    TrainedModel(model.encoding, model.architecture, missing).save(tmp_path / "model.pt")
    with pytest.raises(DataError, match="another network"):
        TrainedModel.load(tmp_path / "model.pt")


def test_other_suffixes_are_refused(model: TrainedModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.pt or \.safetensors"):
        model.save(tmp_path / "model.onnx")
    with pytest.raises(UsageError, match=r"\.pt or \.safetensors"):
        TrainedModel.load(tmp_path / "model")
