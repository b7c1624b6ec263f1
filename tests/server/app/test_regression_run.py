"""A run over pods whose target is a number: each figure is computed once more from the pooled rows."""

import io
import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from rich.console import Console
from sklearn import datasets, metrics
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from client.app.row_split import split_rows
from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.errors import FlAppError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.privacy.settings import Privacy
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure, Optimizer
from server.app.results import Metrics, Results
from server.app.run_directory import RunDirectory
from server.display.progress import Progress, results_table
from server.display.report import write_report
from server.display.words import interval_told
from server.exports.formats import FORMATS, export, open_scorer
from server.exports.model_card import card
from server.modeller.launch import fit
from tests.support.intervals import of_numbers
from tests.support.small_federation import PODS, in_this_process, small_federation, write_pod

LOW, HIGH = 0.0, 80.0
"""The owners' bounds of the target, which some rows lie beyond."""
SETTINGS = {
    "pods": PODS,
    "datastructure": DataStructure(target="hours", ignore_cols=("note",)),
    "rounds": 4,
    "local_epochs": 3,
    "batch_size": 32,
    "optimizer": Optimizer(name="AdamW", params={"lr": 0.003}),
}


def rows(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, trade = rng.integers(18, 70, count), rng.choice(["farm", "shop"], count)
    hours = (10 + age / 2 + 20 * (trade == "farm") + rng.normal(0, 8, count)).round(1)
    frame = pd.DataFrame({"age": age.astype(float), "trade": trade, "hours": hours, "note": "x"})
    frame.loc[::50, "age"] = np.nan
    frame.loc[::25, "hours"] = np.nan
    return frame


def federation_of(directory: Path) -> SimulatedFederation:
    made = small_federation(directory)
    for seed, name in enumerate(PODS):
        rows(500, seed).to_csv(directory / f"{name}.csv", index=False)
        settings = f"data_config: {{bounds: {{hours: [{LOW:g}, {HIGH:g}]}}, units: {{hours: h}}}}\n"
        path = write_pod(directory, name)
        path.write_text(path.read_text() + settings)
    rows(200, 9).to_csv(directory / "public.csv", index=False)
    return made


class Run(NamedTuple):
    directory: RunDirectory
    results: Results
    model: TrainedModel
    validation: pd.DataFrame
    test: pd.DataFrame
    public: pd.DataFrame


@pytest.fixture(scope="module", params=["squared", "absolute"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FL_APP_HOME", str(directory / "home"))
        in_this_process(patch)
        done = fit(RunConfig(**SETTINGS, loss=request.param), federation_of(directory), runs=directory / "runs")
    read = {name: pd.read_csv(directory / f"{name}.csv") for name in (*PODS, "public")}
    parts = {name: split_rows(len(read[name]), name) for name in PODS}
    held = [
        pd.concat([read[name].iloc[parts[name][place]] for name in PODS]).dropna(subset="hours") for place in (1, 2)
    ]
    public = read["public"].dropna(subset="hours")
    return Run(done, done.results(), TrainedModel.load(done.model_path()), *held, public)


def test_every_figure_is_that_of_the_pooled_rows(run: Run) -> None:
    numeric = run.model.encoding.numeric
    assert numeric is not None
    scored: list[tuple[pd.DataFrame, Metrics | None]] = [
        (run.validation, run.results.rounds[-1]),
        (run.test, run.results.final),
        (run.public, run.results.test),
    ]
    for frame, found in scored:
        observed, predicted = frame["hours"].clip(LOW, HIGH).to_numpy(), run.model.predict(frame)
        assert found is not None
        assert found.num_examples == len(frame)
        mae, mse = metrics.mean_absolute_error(observed, predicted), metrics.mean_squared_error(observed, predicted)
        exact = {
            "mae": mae,
            "rmse": mse**0.5,
            "r2": metrics.r2_score(observed, predicted),
            "loss": mse / numeric.std**2 if numeric.loss == "squared" else mae / numeric.std,
        }
        for name, value in exact.items():
            assert_allclose(getattr(found, name), value, rtol=1e-6, err_msg=name)
        if found is not run.results.rounds[-1]:
            for name, ends in of_numbers(observed, predicted).items():
                assert_allclose(found.intervals[name], ends, rtol=1e-6, err_msg=name)
        assert found.accuracy is None
        assert found.auc is None
    assert run.results.final is not None
    assert (run.results.final.r2 or 0) > 0.5


def test_rows_are_counted_by_the_groups_of_value_and_prediction(run: Run) -> None:
    regression = run.results.regression
    assert regression is not None
    edges = np.array(regression.groups)
    assert (edges[0], edges[-1], regression.unit) == (LOW, HIGH, "h")
    for frame, pairs in ((run.test, regression.pairs), (run.public, regression.test_pairs)):
        counted = np.histogram2d(frame["hours"].clip(LOW, HIGH), run.model.predict(frame), bins=(edges, edges))[0]
        assert np.array_equal(pairs, counted)


def test_scale_and_rows_are_those_of_the_pooled_rows(run: Run) -> None:
    counts, regression = run.results.label_counts, run.results.regression
    assert counts is not None
    assert regression is not None
    assert (counts.classes, counts.missing, counts.unpublished) == ((960,), 40, 0)
    assert run.results.test_left_out == {"": 8}
    frames = [pd.read_csv(run.directory.path.parents[1] / f"{name}.csv") for name in PODS]
    train = pd.concat([frame.iloc[split_rows(len(frame), name)[0]] for name, frame in zip(PODS, frames, strict=True)])
    hours = train["hours"].dropna().clip(LOW, HIGH)
    assert_allclose([regression.mean, regression.std], [hours.mean(), hours.std(ddof=0)], rtol=0.05)
    assert [column.name for column in run.model.encoding.features] == ["age", "trade"]


def test_what_is_shown_names_the_metrics_of_numbers(run: Run) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=160)
    with Progress(console) as progress:
        progress(run.results)
    console.print(results_table(run.results))
    text = shown.getvalue()
    assert "rows of all pods with a number in hours" in text
    assert "left out of training and of figures: at least 40 without a label" in text
    assert "mae and rmse are in h; values and predictions beyond 0 to 80 count as the nearer of the two" in text
    assert not re.search(r"\bauc", text)  # within a word fingerprints of keys may have the letters
    final = run.results.final
    assert final is not None
    assert f"{final.mae:.4f}" in text
    assert run.results.test is not None
    told = [interval_told(metrics.intervals[name]) for metrics in (final, run.results.test) for name in ("r2", "mae")]
    assert all(ends in text for ends in told)
    assert " to " in told[1]
    assert "95% confidence intervals" in text
    page, pictures = write_report(run.directory)
    assert {picture.name for picture in pictures} == {"curves.png", "loss.png", "pairs.png"}
    written = page.read_text()
    assert "Predicted and observed" in written
    assert f"{final.r2:.4f}" in written
    assert told[0] in written
    assert not re.search(r"\bROC\b|area under a curve", written)


def test_every_export_predicts_alike_and_its_card_says_what(run: Run, tmp_path: Path) -> None:
    expected = run.model.predict(run.public)
    assert expected.min() >= LOW
    assert expected.max() <= HIGH
    for form in FORMATS:
        path = tmp_path / f"model.{form}"
        export(run.model, path)
        scorer = open_scorer(path)
        assert_allclose(scorer.predict(run.public), expected, rtol=1e-5)
        with pytest.raises(FlAppError, match="is a number: use predict"):
            scorer.predict_proba(run.public)
    written = card(run.model, tmp_path / "model.onnx", run.results.document())
    assert "Predicts the number `hours`, in `h`, for each row" in written
    final = run.results.final
    assert final is not None
    assert f"| r2 | {final.r2:.4f} ({interval_told(final.intervals['r2'])}) |" in written
    assert not re.search(r"\bauc", written)


def test_predict_writes_a_column_of_numbers(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.public.drop(columns="hours").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SystemExit) as left:
        main(("predict", str(run.directory.path), str(tmp_path / "t.csv"), "--id", "trade"))
    assert not left.value.code
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table) == ["trade", "hours [h]"]
    assert_allclose(table["hours [h]"], run.model.predict(run.public), rtol=1e-8)
    with pytest.raises(SystemExit) as left:
        main(("predict", str(run.directory.path), str(tmp_path / "t.csv"), "--classes"))
    assert left.value.code == 2
    assert "--classes: the model's target 'hours' is a number" in capsys.readouterr().err


def test_runs_are_listed_and_compared_with_their_r2(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(("runs", "--runs", str(run.directory.path.parent), "--json"))
    (listed,) = json.loads(capsys.readouterr().out)
    assert run.results.final is not None
    assert (listed["r2"], listed["auc"]) == (run.results.final.r2, None)


def test_a_small_table_is_learnt_as_well_as_by_ridge_regression_of_pooled_rows(work: Path) -> None:
    frame = datasets.load_diabetes(as_frame=True, scaled=False).frame
    order = np.random.default_rng(0).permutation(len(frame))
    public, rest = frame.iloc[order[:100]], frame.iloc[order[100:]]
    federation = small_federation(work)
    for name, part in {"north": rest[::2], "south": rest[1::2], "public": public}.items():
        part.to_csv(work / f"{name}.csv", index=False)
    config = RunConfig(pods=PODS, datastructure=DataStructure(target="target"))
    results = fit(config, federation, runs=work / "runs").results()
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 20)))
    ridge.fit(rest.drop(columns="target"), rest["target"])
    rival = metrics.r2_score(public["target"], ridge.predict(public.drop(columns="target")))
    assert results.test is not None
    assert results.test.r2 is not None
    assert results.test.r2 > rival - 0.03


def test_early_stopping_follows_a_metric_of_numbers_and_keeps_its_best_round(work: Path) -> None:
    stopping = EarlyStopping(metric="rmse", patience=1, min_delta=50)
    done = fit(RunConfig(**{**SETTINGS, "rounds": 6}, early_stopping=stopping), federation_of(work), runs=work / "runs")
    results = done.results()
    assert results.stopped is not None
    assert "rmse has not fallen by more than 50" in results.stopped.why
    known = [entry.rmse for entry in results.rounds if entry.rmse is not None]
    kept = next(entry for entry in results.rounds if entry.round == results.kept)
    assert kept.rmse == min(known)
    assert results.early_stopping is not None
    assert results.early_stopping.best == kept.rmse
    assert results.rounds[-1].document().get("accuracy") is None


def test_pods_with_too_few_rows_add_none_and_the_public_file_stands_in(work: Path) -> None:
    federation = federation_of(work)
    for name in PODS:
        path = work / f"{name}.yaml"
        path.write_text(path.read_text().replace("minimum_rows_per_class: 1", "minimum_rows_per_class: 51"))
    results = fit(RunConfig(**SETTINGS), federation, runs=work / "runs").results()
    assert results.final is not None
    assert results.final.num_examples == 0
    assert results.no_figures
    assert results.test is not None
    assert results.test.r2 is not None


def test_a_private_run_of_a_number_is_refused_before_anything_is_trained(work: Path) -> None:
    config = RunConfig(**{**SETTINGS, "batch_size": 256}, privacy=Privacy(epsilon=3))
    with pytest.raises(FlAppError, match="the target 'hours' is a number, and only classes are learnt"):
        fit(config, federation_of(work), runs=work / "runs")
