"""`fl-app predict` reads a file as it was told to, and tells what of it the model could not use."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fl_app.cli import main
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.table_file import read_rows
from tests.fl_app.tabular.tables import shop
from tests.server.exports.test_formats import model_of

Predict = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return model_of(shop(), optional=["gift"])


@pytest.fixture
def predict(
    model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Predict:
    """Score a file in the current directory, an empty one, with options; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    model.save(tmp_path / "model.safetensors")

    def predict(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(("predict", "model.safetensors", *arguments))
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return predict


def rows(size: int = 40) -> pd.DataFrame:
    return shop(size, seed=4).drop(columns="bought")


def test_a_file_of_known_values_is_scored_without_a_word(predict: Predict, model: TrainedModel) -> None:
    rows().to_csv("t.csv", index=False)
    code, out, err = predict("t.csv")
    assert (code, err) == (0, "")
    Path("out.csv").write_text(out)
    np.testing.assert_allclose(pd.read_csv("out.csv").to_numpy(), model.predict_proba(rows()), atol=1e-8)
    rows().to_parquet("t.parquet")
    assert predict("t.parquet") == (0, out, "")


def test_what_the_model_never_saw_is_counted(predict: Predict) -> None:
    frame = rows()
    frame.loc[:4, "town"] = "Zwolle"
    frame.loc[5, "town"] = "Ulm"
    frame.loc[7:8, "age"] = 900
    frame.to_csv("t.csv", index=False)
    code, out, err = predict("t.csv")
    assert code == 0
    assert len(out.splitlines()) == 41
    assert err.splitlines() == [
        "age: 2 of 40 cells hold a number outside 0 to 128, taken for the nearer of the two",
        "town: 6 of 40 cells hold a value that the model never saw: 'Zwolle' (5), 'Ulm' (1)",
    ]


def test_a_column_without_a_value_that_the_model_knows_is_warned_of(predict: Predict) -> None:
    frame = rows()
    frame["town"] = frame["town"].str.upper()
    frame["colour"] = "NA"
    frame.drop(columns="gift").to_csv("t.csv", index=False)
    err = predict("t.csv")[2].splitlines()
    assert err[0] == "gift: the table lacks this optional column; it counts as missing"
    assert err[1].startswith("WARNING: town: 40 of 40 cells hold a value that the model never saw: ")
    assert err[2] == "WARNING: colour: every cell is missing"
    frame[:1].drop(columns="gift").to_csv("t.csv", index=False)  # one row with a gap is nothing out of the ordinary
    assert "WARNING" not in predict("t.csv")[2]


def test_a_cell_that_is_no_number_is_named_with_its_row_and_what_to_do(predict: Predict) -> None:
    frame = rows().astype({"age": object})
    frame.loc[6, "age"] = "12,5"
    frame.to_csv("t.csv", index=False, sep=";")
    code, out, err = predict("t.csv")
    assert (code, out) == (1, "")
    assert err.startswith("fl-app: t.csv: column 'age' is declared continuous but holds text that is not a number")
    assert "'12,5' (in data row 7)" in err
    assert "decimal and thousands (in --read-options)" in err
    rows().to_csv("t.csv", index=False, sep=";", decimal=",")
    assert predict("t.csv", "--read-options", "decimal: ','")[0] == 0


def test_read_options_say_what_cannot_be_seen(predict: Predict, model: TrainedModel) -> None:
    frame = rows()
    frame.fillna({"age": -999, "colour": "unknown"}).to_csv("t.csv", index=False, sep="\t", header=False)
    given = f"header: null, names: [{', '.join(frame.columns)}], sep: \"\\t\", na_values: ['-999', unknown]"
    code, out, err = predict("t.csv", "--read-options", given)
    assert (code, err) == (0, "")
    Path("out.csv").write_text(out)
    np.testing.assert_allclose(pd.read_csv("out.csv").to_numpy(), model.predict_proba(frame), atol=1e-8)
    code, _, err = predict("t.csv", "--read-options", "separator: ';'")
    assert code == 2
    assert "--read-options: separator" in err


def test_an_identifier_and_the_class_stand_beside_the_scores(predict: Predict, model: TrainedModel) -> None:
    frame = rows()
    frame.insert(2, "patient", [f"{place:04d}" for place in range(40)])
    frame.to_csv("t.csv", index=False)
    code, out, _ = predict("t.csv", "--id", "patient", "--classes")
    assert code == 0
    Path("out.csv").write_text(out)
    found = pd.read_csv("out.csv", dtype={"patient": str})
    assert list(found.columns) == ["patient", "no", "yes", "class"]
    assert found["patient"].tolist() == frame["patient"].tolist()
    scores = model.predict_proba(read_rows("t.csv"))
    assert found["class"].tolist() == [model.classes[place] for place in scores.argmax(axis=1)]
    code, _, err = predict("t.csv", "--id", "Patient")
    assert code == 2
    assert "has no column 'Patient'; it has age, gift, patient, town, colour" in err
