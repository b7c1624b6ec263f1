"""The modeller's own files are read as the pods' are, or as the modeller says; what is left out of them is counted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fl_app import PyTorchTabularClassifier, Schema
from fl_app.errors import DataError
from tests.fl_app.tabular.tables import TARGET, shop
from tests.server.exports.test_formats import model_of


@pytest.fixture
def model(tmp_path: Path) -> PyTorchTabularClassifier:
    trained = model_of(shop())
    trained.save(tmp_path / "model.pt")
    schema = Schema(name="shop", columns=(*trained.encoding.features, trained.encoding.target))
    made = PyTorchTabularClassifier(TARGET, schema, epochs=1)
    made.deserialize(tmp_path / "model.pt")
    return made


def test_a_frame_and_its_files_have_the_same_scores_and_metrics(
    model: PyTorchTabularClassifier, tmp_path: Path
) -> None:
    frame = shop(200, seed=6)
    scores, metrics = model.predict(frame), model.evaluate(frame)
    assert metrics["num_examples"] == 200
    assert metrics["left_out"] == 0
    frame.to_csv(tmp_path / "t.csv", index=False, sep=";", encoding="utf-16")
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        pd.testing.assert_frame_equal(model.predict(tmp_path / name), scores)
        assert model.evaluate(tmp_path / name) == metrics


def test_read_options_say_what_cannot_be_seen(model: PyTorchTabularClassifier, tmp_path: Path) -> None:
    frame = shop(200, seed=6)
    frame["gift"] = frame["gift"] + 0.5
    path = tmp_path / "t.csv"
    frame.fillna({"age": -999.0}).to_csv(path, index=False, sep=";", decimal=",", encoding="latin-1")
    options = {"decimal": ",", "na_values": ["-999,0"]}
    pd.testing.assert_frame_equal(model.predict(path, read_options=options), model.predict(frame))
    assert model.evaluate(path, read_options=options) == model.evaluate(frame)
    assert not np.allclose(model.predict(path, read_options={"decimal": ","}), model.predict(frame))
    with pytest.raises(DataError, match="'age' is declared continuous") as caught:
        model.predict(path)
    assert "data row" in caught.value.full_text


def test_rows_whose_label_is_missing_or_unknown_are_counted(model: PyTorchTabularClassifier) -> None:
    frame = shop(200, seed=6)
    known = model.evaluate(frame[10:])
    frame.loc[:3, "bought"] = None
    frame.loc[4:9, "bought"] = "perhaps"
    assert model.evaluate(frame) == known | {"left_out": 10}


def test_a_column_that_the_model_cannot_use_is_warned_of(
    model: PyTorchTabularClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    frame = shop(200, seed=6)
    with caplog.at_level("INFO", logger="fl_app"):
        model.predict(frame)
        assert not caplog.records
        model.predict(frame.assign(town="Ulm", colour=["green", *frame["colour"][1:]]))
    assert [(record.levelname, record.getMessage()[:50]) for record in caplog.records] == [
        ("WARNING", "town: 200 of 200 cells hold a value that the model"),
        ("INFO", "colour: 1 of 200 cells holds a value that the mode"),
    ]
