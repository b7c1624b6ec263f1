"""Every format gives the probabilities of the model it was made from, whatever the table and the network."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from fl_app.errors import DataError, UsageError
from fl_app.tabular.encoding import Encoding, statistic_sums
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.network import build_network, state_of
from fl_app.tabular.schema import schema_of
from fl_app.tabular.settings import ARCHITECTURES, DataStructure
from server.exports import formats
from tests.fl_app.tabular.tables import shop

GRAPHS = ("onnx", "pt2")
each_graph = pytest.mark.parametrize("form", GRAPHS)


def model_of(
    frame: pd.DataFrame, architecture: str = "mlp", target: str = "bought", **published: list[str]
) -> TrainedModel:
    """A model with random parameters, so that every input matters to its scores."""
    schema = schema_of(frame, name="shop", min_count=3, **published)  # type: ignore[arg-type]
    structure = DataStructure(target=target)
    encoding = Encoding.of(schema, structure, statistic_sums(frame, schema, structure))
    rng = np.random.default_rng(0)
    state = {
        name: (rng.normal(0, 0.1, array.shape)).astype(np.float32)
        for name, array in state_of(build_network(encoding, architecture)).items()
    }
    return TrainedModel(encoding, architecture, state, {"run": "r1"})


def exported(model: TrainedModel, form: str, directory: Path) -> formats.Scorer:
    path = directory / f"model.{form}"
    formats.export(model, path)
    return formats.open_scorer(path)


@pytest.fixture(scope="module")
def standard() -> TrainedModel:
    return model_of(shop())


@pytest.fixture(scope="module")
def files(standard: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with that model as model.onnx and model.pt2."""
    directory = tmp_path_factory.mktemp("graphs")
    for form in GRAPHS:
        formats.export(standard, directory / f"model.{form}")
    return directory


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("form", formats.FORMATS)
def test_every_network_scores_alike_in_every_format(architecture: str, form: str, tmp_path: Path) -> None:
    model = model_of(shop(classes=("no", "maybe", "yes")), architecture)
    rows = shop(300, seed=5, classes=("no", "maybe", "yes")).drop(columns="bought")
    rows.loc[:9, "town"] = "Zwolle"  # nobody published it
    rows.loc[5:20, ["age", "gift"]] = -1e9  # outside the bounds
    rows.loc[15:25, "gift"] = np.nan
    opened = exported(model, form, tmp_path)
    expected = model.predict_proba(rows)
    assert np.ptp(expected, axis=0).max() > 0.2
    assert opened.classes == model.classes
    assert_allclose(opened.predict_proba(rows), expected, atol=1e-5)


@each_graph
def test_any_number_of_rows_is_scored(form: str, standard: TrainedModel, files: Path) -> None:
    opened, rows = formats.open_scorer(files / f"model.{form}"), shop(9000, seed=3)
    assert opened.predict_proba(rows[:0]).shape == (0, 2)
    for count in (1, 2, 9000):
        assert_allclose(opened.predict_proba(rows[:count]), standard.predict_proba(rows[:count]), atol=1e-5)


@each_graph
def test_text_alone_is_scored(form: str, tmp_path: Path) -> None:
    model = model_of(shop()[["town", "colour", "bought"]])
    rows = shop(50, seed=3)
    assert_allclose(exported(model, form, tmp_path).predict_proba(rows), model.predict_proba(rows), atol=1e-5)


@each_graph
def test_numbers_alone_fall_into_the_same_bins_on_their_edges_too(form: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.random(4000).round(2) / 3, "bought": rng.choice(["no", "yes"], 4000)})
    model = model_of(frame)
    edges = pd.DataFrame({"x": np.unique(model.encoding.normalisation.cells[0])})
    assert_allclose(exported(model, form, tmp_path).predict_proba(edges), model.predict_proba(edges), atol=1e-5)


@each_graph
def test_columns_may_be_called_anything_and_be_absent_if_optional(form: str, tmp_path: Path) -> None:
    names = {"age": "probabilities", "gift": "codes", "town": "a b:é/", "colour": "columns_0"}
    model = model_of(shop().rename(columns=names), optional=["probabilities", "a b:é/"])
    rows = shop(50, seed=3).rename(columns=names)
    opened = exported(model, form, tmp_path)
    for table in (rows, rows.drop(columns=["probabilities", "a b:é/"])):
        assert_allclose(opened.predict_proba(table), model.predict_proba(table), atol=1e-5)
    with pytest.raises(DataError, match="no column 'codes'"):
        opened.predict_proba(rows.drop(columns="codes"))


def test_onnx_takes_the_features_as_they_stand_in_the_table(standard: TrainedModel, files: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(files / "model.onnx")
    assert [(part.name, part.type, part.shape) for part in session.get_inputs()] == [
        ("age", "tensor(double)", ["rows", 1]),
        ("gift", "tensor(double)", ["rows", 1]),
        ("town", "tensor(string)", ["rows", 1]),
        ("colour", "tensor(string)", ["rows", 1]),
    ]
    assert [(part.name, part.type, part.shape) for part in session.get_outputs()] == [
        ("probabilities", "tensor(float)", ["rows", 2])
    ]
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == ["no", "yes"]
    assert Encoding.from_json(told["encoding"]) == standard.encoding
    assert json.loads(told["origin"]) == {"run": "r1"}


@each_graph
def test_an_export_tells_nothing_of_the_machine_it_was_made_on(form: str, files: Path) -> None:
    path = files / f"model.{form}"
    parts = [path.read_bytes()]
    if form == "pt2":
        with zipfile.ZipFile(path) as archive:
            parts = [archive.read(name) for name in archive.namelist()]
    root = str(Path(formats.__file__).parents[2]).encode()
    assert not [part for part in parts if root in part or b"site-packages" in part]


@each_graph
def test_what_is_no_export_is_a_typed_error(form: str, files: Path, tmp_path: Path) -> None:
    path = tmp_path / f"m.{form}"
    with pytest.raises(UsageError, match="no such model file"):
        formats.open_scorer(path)
    whole = (files / f"model.{form}").read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"m\.{form} (is no|was not)"):
            formats.open_scorer(path)


def test_an_onnx_file_of_another_program_is_refused(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", value[:1], value[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    with pytest.raises(DataError, match="was not exported by this version"):
        formats.open_scorer(tmp_path / "m.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_onnx_says_what_to_install(
    missing: str, standard: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"pip install 'fl-app\[onnx\]'"):
        formats.open_scorer(path) if missing == "onnxruntime" else formats.export(standard, path)


def test_other_suffixes_are_refused(standard: TrainedModel, tmp_path: Path) -> None:
    for use in (formats.open_scorer, lambda path: formats.export(standard, path)):
        with pytest.raises(UsageError, match=r"ends in \.safetensors, \.pt, \.onnx, \.pt2"):
            use(tmp_path / "model.h5")


def test_a_place_that_cannot_be_written_is_one_line(standard: TrainedModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        formats.export(standard, tmp_path / "no" / "m.onnx")


def test_the_command_offers_every_format() -> None:
    from server.commands.export import export

    (option,) = (parameter for parameter in export.params if parameter.name == "form")
    assert tuple(option.type.choices) == (*formats.FORMATS, "py")  # type: ignore[attr-defined]
