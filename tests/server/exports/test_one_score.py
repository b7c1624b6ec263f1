"""A row has one score: alone and in any company, in each format, however it is written, and by programs of others."""

import contextlib
import csv
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from fl_app.tabular.cells import Table
from fl_app.tabular.encoding import Encoding, codes_of, statistic_sums
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.network import build_network, state_of
from fl_app.tabular.schema import Column, schema_of
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.table_file import read_rows, read_table
from server.exports import formats
from server.exports.pt2 import LOADER
from server.exports.vocabulary import vocabulary
from tests.pages.blocks import blocks_of

NAMES = ("lab", "code", "ward", "flag", "ratio", "extra")
EVERY = ("NA", "007", "7", "V22", "K\xf6ln")
SPELLINGS: dict[str, list[str]] = {
    "lab": ["12.25", "12.250", " 3", "-999", "-999.0", "", "40.5", "1e1", "039"],
    "code": ["1", "1.0", " 2 ", "3.00", "", "9", "-999", "-999.0"],
    "ward": ["007", "7", "7.0", "NA", "V22", " V22", "K\xf6ln", "Ko\u0308ln", "nobody's", "\tV22 ", ""],
    "flag": ["TRUE", "True", "true", "tRuE", "FALSE", " false", ""],
    "ratio": ["0.5", "0.50", "-1.5", "1e-05", "0.00001", ""],
    "extra": ["x", "y", "", "?"],
}
ROWS = st.lists(st.tuples(*(st.sampled_from(SPELLINGS[name]) for name in NAMES)), min_size=1, max_size=8)
READ = {"keep_default_na": False, "na_values": ["-999"]}


def rows_of(size: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    chosen: dict[str, Any] = {
        "lab": rng.normal(30, 10, size).round(2).astype(str),
        "code": rng.choice(["1", "2", "3"], size),
        "ward": rng.choice(EVERY, size),
        "flag": rng.choice(["True", "False"], size),
        "ratio": rng.choice(["0.5", "-1.5", "0.00001"], size),
        "extra": rng.choice(["x", "y"], size),
        "outcome": rng.choice(["no", "None"], size),
    }
    return pd.DataFrame(chosen)


def random_model(encoding: Encoding) -> TrainedModel:
    """A model with random parameters, so that every input matters to its scores."""
    rng = np.random.default_rng(1)
    state = {
        name: rng.normal(0, 0.1, array.shape).astype(np.float32)
        for name, array in state_of(build_network(encoding)).items()
    }
    return TrainedModel(encoding, "mlp", state)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t.csv"
        rows_of(500).to_csv(path, index=False)
        table = read_table(path, READ)
    structure = DataStructure(target="outcome")
    schema = schema_of(
        table,
        name="p",
        force_stypes={"categorical": ["code", "ratio"]},
        optional=["extra", "lab"],
        units={"lab": "mmol/l"},
        min_count=1,
    )
    encoding = Encoding.of(schema, structure, statistic_sums(table, schema, structure))
    return random_model(encoding)


@pytest.fixture(scope="module")
def files(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the model in every format."""
    directory = tmp_path_factory.mktemp("models")
    for form in formats.FORMATS:
        formats.export(model, directory / f"model.{form}")
    return directory


@pytest.fixture(scope="module")
def scorers(files: Path) -> dict[str, formats.Scorer]:
    return {form: formats.open_scorer(files / f"model.{form}") for form in formats.FORMATS}


def written(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([NAMES, *rows])
    return path


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_a_row_has_one_score(scorers: dict[str, formats.Scorer], tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    expected = scorers["safetensors"].predict_proba(read_rows(written(tmp_path / "r.csv", rows)))
    for scorer in scorers.values():
        together = scorer.predict_proba(read_rows(written(tmp_path / "r.csv", rows), scorer.encoding))
        assert_allclose(together, expected, atol=1e-6)
        for place in {0, len(rows) - 1}:
            alone = scorer.predict_proba(read_rows(written(tmp_path / "r.csv", [rows[place]]), scorer.encoding))
            assert_allclose(alone[0], expected[place], atol=1e-6)


def test_spellings_of_one_row_have_one_score_and_other_rows_others(scorers: dict[str, formats.Scorer]) -> None:
    plain = ("12.25", "1", "7", "True", "0.5", "x")
    same = [("12.250", "1.0", "7.0", "tRuE", "0.50", " x"), (" 12.25", " 1", "7 ", "TRUE", "0.500", "x\t")]
    other = [("12.25", "1", "007", "True", "0.5", "x"), ("-999", *plain[1:]), ("12.25", "9", *plain[2:])]
    frame = pd.DataFrame([plain, *same, *other], columns=list(NAMES))
    for scorer in scorers.values():
        found = scorer.predict_proba(frame)
        assert_allclose(found[1:3], found[[0, 0]], atol=1e-6)
        assert np.abs(found[3:] - found[0]).max(axis=1).min() > 1e-5


@pytest.mark.parametrize("form", formats.FORMATS)
def test_every_format_carries_how_to_read(form: str, scorers: dict[str, formats.Scorer], model: TrainedModel) -> None:
    encoding = scorers[form].encoding
    assert encoding == model.encoding
    assert encoding.features[0].missing == ("", "?", "-999")
    assert encoding.features[0].unit == "mmol/l"
    assert encoding.numbers.decimal == "."


ONE_BY_ONE = """\
import sys
program, model, *tables = sys.argv[1:]
for table in tables:
    sys.argv = ["", model, table]
    exec(program, {})
    print("---")
assert "fl_app" not in sys.modules
"""


def recipe(directory: Path, *tables: Path) -> list[NDArray[np.float64]]:
    """The ONNX example of the quick start, as it stands there, with each table of ours."""
    (block,) = (block for block in blocks_of("docs/quickstart.md") if "onnxruntime" in block.text)
    scores = []
    for table in tables:
        program = block.text.replace("fl_app/demo/data/adult.test.csv.gz", str(table))
        assert program != block.text
        (directory / "recipe.py").write_text(program, "utf-8")
        with contextlib.chdir(directory):
            scores.append(np.array(runpy.run_path("recipe.py")["probabilities"], dtype=np.float64))
    return scores


def loader(directory: Path, *tables: Path) -> list[NDArray[np.float64]]:
    """The ten lines that `fl-app export` prints, once for each table, in one process that knows nothing of ours."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, LOADER, "model.pt2", *map(str, tables)],
        cwd=directory, capture_output=True, text=True, check=True, timeout=250,
    )  # fmt: skip
    answers = done.stdout.split("---")[:-1]
    return [np.array([line.split(",") for line in answer.split()[1:]], dtype=np.float64) for answer in answers]


PLAIN = {
    "lab": ["12.25", "12.250", " 3", "-999", "-999.0", "", "40.5"],
    "code": ["1", "1.0", " 2 ", "", "9", "-999", "-999.0"],
    "ward": ["007", "7", "7.0", "NA", "V22", "K\xf6ln", "Ko\u0308ln"],
    "flag": ["TRUE", "True", "true", "FALSE", " false", "", "True"],
    "ratio": ["0.5", "-1.5", "0.00001", "", "0.5 ", "0.5", "0.5"],
    "extra": ["x", "y", "", "?", "x", "  y", "x"],
}


@pytest.mark.parametrize("program", [recipe, loader])
def test_programs_that_know_nothing_of_ours_give_the_same_scores(
    program: Any, files: Path, scorers: dict[str, formats.Scorer], tmp_path: Path
) -> None:
    rows = list(zip(*PLAIN.values(), strict=True))
    path = written(tmp_path / "r.csv", rows)
    expected = scorers["safetensors"].predict_proba(read_rows(path))
    alone = [written(tmp_path / f"{place}.csv", [rows[place]]) for place in (0, 3)]
    padded = tmp_path / "padded.csv"
    padded.write_text(" lab ,code,ward , flag,ratio,extra\n" + "".join(f"{','.join(row)}\n" for row in rows), "utf-8")
    plain, first, fourth, with_spaces = program(files, path, *alone, padded)
    assert_allclose(plain, expected, atol=1e-6)
    assert_allclose(first, expected[[0]], atol=1e-6)  # alone, 007 is not 7, and a ward NA is not missing
    assert_allclose(fourth, expected[[3]], atol=1e-6)
    assert_allclose(with_spaces, expected, atol=1e-6)


def test_the_loader_takes_an_absent_optional_column_for_missing(
    files: Path, scorers: dict[str, formats.Scorer], tmp_path: Path
) -> None:
    path = tmp_path / "r.csv"
    path.write_text("\ufeffflag;code;ward;ratio\nTrue;1;007;0.5;\nFalse;2;7;;\n", "utf-8")
    expected = scorers["safetensors"].predict_proba(read_rows(path, scorers["safetensors"].encoding))
    assert_allclose(loader(files, path)[0], expected, atol=1e-6)


def test_a_model_of_files_with_decimal_commas_reads_such_files_everywhere(tmp_path: Path) -> None:
    size = 300
    rng = np.random.default_rng(0)
    numbers = [f"{n:,.1f}".translate(str.maketrans(",.", ".,")) for n in rng.integers(0, 90_000, size) / 2]
    rows = [
        f"{number};{ratio};{label}"
        for number, ratio, label in zip(
            numbers, rng.choice(["0,5", "1,5"], size), rng.choice(["a", "b"], size), strict=True
        )
    ]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["x;ratio;y", *rows, ""]))
    table = read_table(path, {"sep": ";", "decimal": ",", "thousands": "."})
    schema = schema_of(table, name="p", force_stypes={"categorical": ["ratio"]})
    structure = DataStructure(target="y")
    encoding = Encoding.of(schema, structure, statistic_sums(table, schema, structure))
    assert encoding.categorical[0].values == ("0.5", "1.5")
    made = random_model(encoding)
    expected = made.predict_proba(table)
    assert np.ptp(expected[:, 0]) > 1e-3
    for form in formats.FORMATS:
        formats.export(made, tmp_path / f"model.{form}")
        scorer = formats.open_scorer(tmp_path / f"model.{form}")
        assert_allclose(scorer.predict_proba(read_rows(path, scorer.encoding)), expected, atol=1e-6)
    assert_allclose(loader(tmp_path, path)[0], expected, atol=1e-6)
    path.write_text("\n".join(["x,ratio,y", *(",".join(f'"{cell}"' for cell in row.split(";")) for row in rows)]))
    assert_allclose(recipe(tmp_path, path)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "spelling", "is_known"),
    [
        ("0.5", "0.50", False),
        ("V22", "  V22", False),
        ("V22", "\tV22", False),
        ("True", "tRUE", False),
        ("0.00001", "1e-05", False),
        ("0.5", " 0.5", True),
        ("7", "7.0", True),
        ("True", "TRUE", True),
        ("K\xf6ln", "Ko\u0308ln ", True),
    ],
)
def test_what_a_list_of_texts_knows_and_what_only_our_reader_does(value: str, spelling: str, is_known: bool) -> None:
    column = Column(name="x", kind="categorical", values=(value,))
    words = vocabulary(column)
    assert (words.get(spelling) == words[value]) is is_known
    encoded = Table.of(pd.DataFrame({"x": [value, spelling]}))
    assert codes_of(encoded, column).tolist() == [2, 2]
