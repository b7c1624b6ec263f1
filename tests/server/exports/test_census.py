"""All formats on all test rows of the census: by `fl-app predict`, and the graphs without any code of ours."""

import gzip
import io
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import fl_app.demo
from fl_app.tabular.encoding import Encoding, statistic_sums
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.network import build_network, state_of
from fl_app.tabular.schema import schema_of
from fl_app.tabular.settings import DataStructure, Optimizer
from fl_app.tabular.table_file import read_rows
from fl_app.tabular.training import train
from server.commands.predict import predict
from server.exports import formats
from server.exports.pt2 import LOADER

CENSUS = Path(fl_app.demo.__file__).parent / "data"
ALONE = """\
import importlib.util, sys
sys.path.append({packages!r})
assert importlib.util.find_spec("fl_app") is None
"""
ONNX = """\
import csv, numpy, onnxruntime
assert not {"torch", "pandas"} & set(sys.modules)
session = onnxruntime.InferenceSession(sys.argv[1])
rows = list(csv.DictReader(open(sys.argv[2], newline="")))
given = {}
for column in session.get_inputs():
    cells = [row[column.name] for row in rows]
    if column.type == "tensor(string)":
        given[column.name] = numpy.array(cells, dtype=object)[:, None]
    else:
        given[column.name] = numpy.array([float(cell or "nan") for cell in cells])[:, None]
classes = session.get_modelmeta().custom_metadata_map["classes"]
print(",".join(__import__("json").loads(classes)))
for row in session.run(["probabilities"], given)[0].tolist():
    print(*row, sep=",")
"""


@pytest.fixture(scope="module")
def census(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model in every format, and the test rows as a plain CSV file with some cells emptied."""
    directory = tmp_path_factory.mktemp("census")
    frame = read_rows(CENSUS / "census-income-demo-dataset.csv.gz").without(["fnlwgt"])
    schema, structure = schema_of(frame, name="pod"), DataStructure(target="TARGET")
    encoding = Encoding.of(schema, structure, statistic_sums(frame, schema, structure))
    network = build_network(encoding)
    train(network, encoding.encode(frame), optimizer=Optimizer(name="AdamW", params={"lr": 0.003}), epochs=1)
    model = TrainedModel(encoding, "mlp", state_of(network))
    for form in formats.FORMATS:
        formats.export(model, directory / f"model.{form}")
    with gzip.open(CENSUS / "adult.test.csv.gz") as packed, (directory / "rows.csv").open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    lines = (directory / "rows.csv").read_text().splitlines()
    for start in range(3, len(lines), 51):
        cells = lines[start].split(",")
        cells[start % 14] = ""
        lines[start] = ",".join(cells)
    (directory / "rows.csv").write_text("\n".join(lines) + "\n")
    return directory


def scores_in(printed: str) -> NDArray[np.float64]:
    scores = pd.read_csv(io.StringIO(printed))
    assert list(scores.columns) == ["<=50K", ">50K"]
    return scores.to_numpy()


def alone(program: str) -> Callable[[Path], NDArray[np.float64]]:
    """Run without site, so that an editable install of ours cannot be found; only what is in site-packages can."""
    start = ALONE.format(packages=sysconfig.get_path("purelib"))

    def run(directory: Path) -> NDArray[np.float64]:
        suffix = "onnx" if program is ONNX else "pt2"
        arguments = [sys.executable, "-I", "-S", "-c", start + program, f"model.{suffix}", "rows.csv"]
        done = subprocess.run(arguments, cwd=directory, capture_output=True, text=True, check=True, timeout=200)
        return scores_in(done.stdout)

    return run


@pytest.fixture(scope="module")
def expected(census: Path) -> NDArray[np.float64]:
    """The scores of the model as it was saved."""
    rows = read_rows(census / "rows.csv")
    assert (rows.texts("workclass")[0] < 0).any()
    scores = TrainedModel.load(census / "model.safetensors").predict_proba(rows)
    assert scores.shape == (16_281, 2)
    assert np.ptp(scores[:, 1]) > 0.9
    return scores


@pytest.mark.parametrize("way", [alone(ONNX), alone(LOADER)], ids=["onnx alone", "pt2 alone"])
def test_fresh_processes_agree_on_all_test_rows(
    census: Path, expected: NDArray[np.float64], way: Callable[[Path], NDArray[np.float64]]
) -> None:
    assert_allclose(way(census), expected, atol=1e-5)


@pytest.mark.parametrize("form", formats.FORMATS)
def test_predict_agrees_on_all_test_rows(census: Path, expected: NDArray[np.float64], form: str) -> None:
    done = CliRunner().invoke(predict, [str(census / f"model.{form}"), str(census / "rows.csv")])
    assert done.exit_code == 0, done.output
    assert_allclose(scores_in(done.stdout), expected, atol=1e-5)


def test_the_loader_has_ten_lines() -> None:
    assert len(LOADER.strip().splitlines()) == 10
