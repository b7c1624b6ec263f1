"""A run over pods whose tables hold dates: each figure is computed once more from the pooled rows, read by pandas."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

from client.app.row_split import split_rows
from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.federation.kinds import read_federation
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure, Optimizer
from fl_app.tabular.table_file import read_rows
from server.app.description_result import DescriptionResult
from server.app.results import Results
from server.display.description import categories, numbers
from server.exports.formats import FORMATS, export, open_scorer
from server.exports.model_card import card
from server.exports.pt2 import loader
from server.modeller.description import described, description_config
from server.modeller.launch import fit
from tests.support.small_federation import PODS, in_this_process, small_federation

FORMATS_OF = {"north": "%Y-%m-%dT%H:%M", "south": "%d.%m.%Y %H:%M"}
UNITS = {"north": "days", "south": "hours"}


def moments(count: int, seed: int) -> pd.DataFrame:
    """Admissions of three years; later ones, those in winter, and those at night tend to end badly."""
    rng = np.random.default_rng(seed)
    when = np.datetime64("2021-01-01", "h") + rng.integers(0, 3 * 365 * 24, count)
    frame = pd.DataFrame({"admitted": when.astype("datetime64[s]"), "score": rng.normal(0, 1, count).round(3)})
    risk = (frame["admitted"].dt.year - 2022) + (frame["admitted"].dt.month <= 3) + (frame["admitted"].dt.hour < 6)
    frame["outcome"] = np.where(risk + rng.normal(0, 0.4, count) > 0.9, "ill", "well")
    frame.loc[::40, "admitted"] = pd.NaT
    return frame


def written(frame: pd.DataFrame, form: str, missing: str = "") -> pd.DataFrame:
    return frame.assign(admitted=frame["admitted"].dt.strftime(form).fillna(missing))


def hours_of(frame: pd.DataFrame) -> pd.Series:
    return (frame["admitted"] - pd.Timestamp(0)) / pd.Timedelta(hours=1)


class Run(NamedTuple):
    directory: Path
    path: Path
    model: TrainedModel
    results: Results
    train: pd.DataFrame
    test: pd.DataFrame


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("dates")
    federation = small_federation(directory).model_copy(update={"test_target": "outcome"})
    frames = {name: moments(700, seed) for seed, name in enumerate(PODS)}
    for name, frame in frames.items():
        written(frame, FORMATS_OF[name], "1900-01-01T00:00" if name == "north" else "").to_csv(
            directory / f"{name}.csv", index=False
        )
        pod = yaml.safe_load((directory / f"{name}.yaml").read_text())
        options = {"na_values": ["1900-01-01"]} if name == "north" else {"date_format": FORMATS_OF[name]}
        pod["datasource_args"] |= {"read_options": options}
        parts = ["month", "hour"] if name == "north" else ["hour", "month", "weekday"]
        date = {"unit": UNITS[name], "parts": parts}
        if name == "south":
            date["bounds"] = ["2021-01-01", "2024-01-01"]
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(pod | {"data_config": {"dates": {"admitted": date}}}))
    written(moments(300, 9), FORMATS_OF["north"]).to_csv(directory / "public.csv", index=False)
    config = RunConfig(
        pods=PODS,
        datastructure=DataStructure(target="outcome"),
        rounds=4,
        local_epochs=3,
        batch_size=32,
        optimizer=Optimizer(name="AdamW", params={"lr": 0.01}),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FL_APP_HOME", str(directory / "home"))
        in_this_process(patch)
        done = fit(config, federation, runs=directory / "runs")
    parts = {name: split_rows(len(frame), name) for name, frame in frames.items()}
    train, test = (pd.concat([frames[name].iloc[parts[name][place]] for name in PODS]) for place in (0, 2))
    return Run(directory, done.path, TrainedModel.load(done.model_path()), done.results(), train, test)


def test_the_pods_agree_on_the_finest_unit_the_widest_bounds_and_the_parts_of_both(run: Run) -> None:
    date, month, hour, score = run.model.encoding.features
    assert date.summary == "2020-01-01 to 2028-01-01 in hours since 1970-01-01"
    assert [column.name for column in (month, hour, score)] == ["admitted (month)", "admitted (hour)", "score"]
    told = run.results.schema_differences
    assert "admitted: north has dates in days, which it reads in hours as the others do" in told
    assert "admitted: south has 2021-01-01..2024-01-01 of 2020-01-01..2028-01-01" in told
    assert "admitted: south gives weekday too, which others do not" in told
    assert any("south writes dates as %d.%m.%Y %H:%M" in difference for difference in told)


def test_normalisation_is_that_of_the_pooled_rows(run: Run) -> None:
    normalisation, hours = run.model.encoding.normalisation, hours_of(run.train).dropna()
    assert abs(normalisation.mean[0] - hours.mean()) < 0.01 * hours.std()
    assert_allclose(normalisation.std[0], hours.std(ddof=0), rtol=0.02)
    edges = np.array(normalisation.bins[0])
    counts = np.histogram(hours, edges)[0]
    assert counts[1:-1].min() >= 5
    assert len(counts) > 20  # of 1,092 rows, for all that noise says
    assert np.diff(edges)[1:-1].max() < 24 * 90


def test_rows_are_encoded_as_pandas_reads_them(run: Run) -> None:
    encoding = run.model.encoding
    encoded = encoding.encode(run.test.reset_index(drop=True))
    hours, present = hours_of(run.test).to_numpy(), run.test["admitted"].notna().to_numpy()
    expected = (hours - encoding.normalisation.mean[0]) / encoding.normalisation.std[0]
    assert_allclose(encoded.numbers[present, 0], expected[present], atol=1e-6)
    assert not encoded.numbers[~present, 0].any()
    when = {"admitted (month)": run.test["admitted"].dt.month - 1, "admitted (hour)": run.test["admitted"].dt.hour}
    for place, column in enumerate(encoding.categorical):
        assert_array_equal(encoded.codes[:, place], (when[column.name] + 2).fillna(1))


def test_figures_are_those_of_the_pooled_rows(run: Run) -> None:
    scores = run.model.predict_proba(run.test)[:, 1]
    final = run.results.final
    assert final is not None
    assert final.num_examples == len(run.test)
    assert final.auc == pytest.approx(roc_auc_score(run.test["outcome"] == "well", scores), abs=2e-3)
    assert (final.auc or 0) > 0.9


def test_files_are_read_alike_in_any_way_that_dates_are_written(run: Run, tmp_path: Path) -> None:
    frame = run.test.reset_index(drop=True)
    expected = run.model.predict_proba(frame)
    for form, options in (
        ("%Y-%m-%d %H:%M:%S", {}),
        ("%Y-%m-%dT%H:%MZ", {}),
        ("%d/%m/%y %H:%M", {"date_format": {"admitted": "%d/%m/%y %H:%M"}}),
    ):
        written(frame, form).to_csv(tmp_path / "rows.csv", index=False)
        found = run.model.predict_proba(read_rows(tmp_path / "rows.csv", run.model.encoding, options))
        assert_array_equal(found, expected, err_msg=form)
    frame.to_parquet(tmp_path / "rows.parquet")
    assert_array_equal(run.model.predict_proba(read_rows(tmp_path / "rows.parquet", run.model.encoding)), expected)
    zoned = frame.assign(admitted=frame["admitted"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    assert_array_equal(run.model.predict_proba(zoned), expected)


def test_every_export_scores_alike_and_says_what_its_numbers_are(run: Run, tmp_path: Path) -> None:
    frame = written(run.test.reset_index(drop=True), "%Y-%m-%d %H:%M")
    expected = run.model.predict_proba(frame)
    for form in FORMATS:
        path = tmp_path / f"model.{form}"
        export(run.model, path)
        assert_allclose(open_scorer(path).predict_proba(frame), expected, atol=1e-5, err_msg=form)
        text = card(run.model, path, run.results.document())
        assert "| `admitted` | date, in `hours since 1970-01-01` | 2020-01-01 to 2028-01-01 |" in text
        assert "| `admitted (month)` | text, the month of the date admitted | `01`, `02`" in text
    frame.to_csv(tmp_path / "rows.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-c", loader(run.model.encoding), "model.pt2", "rows.csv"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    scores = np.array([line.split(",") for line in done.stdout.split()[1:]], dtype=np.float64)
    assert_allclose(scores, expected, atol=1e-5)


def test_an_onnx_runtime_gets_the_number_and_the_parts(run: Run, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    export(run.model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    reading = json.loads(session.get_modelmeta().custom_metadata_map["reading"])
    assert reading["dates"] == {"admitted": {"seconds": 3600, "format": ""}}
    assert reading["parts"]["admitted (hour)"] == {"date": "admitted", "part": "hour"}
    frame = run.test[run.test["admitted"].notna()].reset_index(drop=True)
    inputs = {
        "admitted": hours_of(frame).to_numpy(np.float64),
        "admitted (month)": frame["admitted"].dt.strftime("%m").to_numpy(object),
        "admitted (hour)": frame["admitted"].dt.strftime("%H").to_numpy(object),
        "score": frame["score"].to_numpy(np.float64),
    }
    (found,) = session.run(None, {name: values[:, None] for name, values in inputs.items()})
    assert_allclose(found, run.model.predict_proba(frame), atol=1e-5)


def test_a_date_that_is_none_is_an_error_with_its_row(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("admitted,score\n2021-05-01 08:00,1\n2021-02-31 08:00,1\n")
    with pytest.raises(SystemExit) as left:
        main(("predict", str(run.path), str(tmp_path / "t.csv")))
    assert left.value.code
    said = capsys.readouterr().err
    assert "column 'admitted' is declared a date but holds text that is none by ISO 8601" in said
    assert "'2021-02-31 08:00' (in data row 2)" in said


@pytest.fixture(scope="module")
def description(run: Run) -> DescriptionResult:
    """Without noise."""
    config = description_config(PODS, target="outcome")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FL_APP_HOME", str(run.directory / "home"))
        in_this_process(patch)
        made = read_federation(run.directory / "fl-app.toml", "small")
        found = described(config, made, run.directory / "descriptions").results().description
    assert found is not None
    return found


def test_parts_of_a_date_are_counted_as_categories_and_by_no_class(description: DescriptionResult) -> None:
    columns = {column.name: column for column in description.columns}
    assert list(columns) == ["admitted", "admitted (month)", "admitted (hour)", "score", "outcome"]
    frames = [moments(700, seed)["admitted"].dropna() for seed in range(len(PODS))]
    for name, of, form in (("month", lambda at: at.dt.month, "{:02}"), ("hour", lambda at: at.dt.hour, "{:02}")):
        column = columns[f"admitted ({name})"]
        counts = sum(of(frame).value_counts().reindex(range(24), fill_value=0) for frame in frames)
        assert {entry.value: entry.rows for entry in column.categories if entry.rows} == {
            form.format(value): count for value, count in counts.items() if count
        }
        assert (column.kind, column.pods, column.rows, column.unpublished) == ("categorical", 2, 1364, 0)
        assert column.missing == pytest.approx(36 / 1400, abs=1e-6)
        assert not column.balance
    assert columns["admitted"].balance
    shown = {row[0]: row[3] for row in categories(description)}
    assert shown["admitted (month)"].count("%") == 6


def test_quantiles_are_shown_as_dates(run: Run, description: DescriptionResult) -> None:
    (row, _) = numbers(description)
    hours = hours_of(run.train).dropna()
    assert row[0] == "admitted (hours)"
    for shown, share in zip(row[-3:], (0.5, 0.75, 0.95), strict=True):
        exact = pd.Timestamp(0) + pd.Timedelta(hours=float(np.quantile(hours, share)))
        assert abs(pd.Timestamp(shown) - exact) < pd.Timedelta(days=2), shown
