"""Dates in a private run, and a date as the target: each figure is computed once more from the pooled rows."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from rich.console import Console
from sklearn import metrics

from client.app.budget import SPENT
from client.app.ledger import Ledger
from client.app.row_split import split_rows
from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.federation.kinds import SimulatedFederation
from fl_app.privacy.settings import Privacy
from fl_app.tabular.binning import cell_of
from fl_app.tabular.marginals import edges_of
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure, Optimizer
from fl_app.tabular.table_file import read_rows
from server.app.run_directory import RunDirectory
from server.display.progress import Progress, results_table
from server.display.report import write_report
from server.modeller.launch import FitFailed, fit
from tests.server.app.test_dates_run import moments, written
from tests.support.small_federation import PODS, in_this_process, small_federation

FORM = "%d.%m.%Y %H:%M"


class Made(NamedTuple):
    directory: Path
    federation: SimulatedFederation
    train: pd.DataFrame
    test: pd.DataFrame


@pytest.fixture
def made(work: Path) -> Made:
    """Two pods with dates, as days, and their months and hours; each row with a date."""
    federation = small_federation(work).model_copy(update={"test_file": None})
    frames = {name: moments(700, seed).dropna(subset="admitted") for seed, name in enumerate(PODS)}
    for name, frame in frames.items():
        written(frame, FORM).to_csv(work / f"{name}.csv", index=False)
        pod = yaml.safe_load((work / f"{name}.yaml").read_text())
        pod["datasource_args"] |= {"read_options": {"date_format": FORM}}
        dates = {"admitted": {"unit": "days", "bounds": ["2020-01-01", "2025-01-01"], "parts": ["month", "hour"]}}
        (work / f"{name}.yaml").write_text(yaml.safe_dump(pod | {"data_config": {"dates": dates}}))
    parts = {name: split_rows(len(frame), name) for name, frame in frames.items()}
    train, test = (pd.concat([frames[name].iloc[parts[name][place]] for name in PODS]) for place in (0, 2))
    return Made(work, federation, train.reset_index(drop=True), test.reset_index(drop=True))


def run_of(made: Made, target: str, **given: Any) -> RunDirectory:
    config = RunConfig(pods=PODS, datastructure=DataStructure(target=target), **given)
    return fit(config, made.federation, runs=made.directory / "runs")


PRIVATE = {"privacy": Privacy(epsilon=8.0), "architecture": "linear", "rounds": 30, "local_epochs": 1}


def days(frame: pd.DataFrame) -> pd.Series:
    return (frame["admitted"] - pd.Timestamp(0)) / pd.Timedelta(days=1)


def test_dates_and_their_parts_are_learnt_with_differential_privacy(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as silent:  # what is summed without noise is that of the pooled rows
        silent.setattr(
            "fl_app.privacy.shares.discrete_gaussian", lambda variance, size, randomness: np.zeros(size, np.int64)
        )
        run = run_of(made, "outcome", **PRIVATE)
    results, model = run.results(), TrainedModel.load(run.model_path())
    assert [column.name for column in model.encoding.categorical] == ["admitted (month)", "admitted (hour)"]
    date = next(column for column in model.encoding.continuous if column.date)
    edges, values = edges_of(date), days(made.train).to_numpy()
    middles = (edges[:-1] + edges[1:])[cell_of(values, edges)] / 2
    place = model.encoding.continuous.index(date)
    assert abs(model.encoding.normalisation.mean[place] - middles.mean()) < 0.05 * values.std()
    scores = model.predict_proba(made.test)
    named = scores.argmax(axis=1) == (made.test["outcome"] == "well")
    assert results.final is not None
    assert results.final.num_examples == len(made.test)
    assert results.final.accuracy == pytest.approx(named.mean(), abs=1e-4)
    assert metrics.roc_auc_score(made.test["outcome"] == "well", scores[:, 1]) > 0.8
    assert results.privacy is not None
    plan = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), **PRIVATE).plan
    assert plan is not None
    # A row is in one count of the date, of each part, of the score and of the labels: the noise is for all of them.
    told = results.privacy.steps["statistics"].noise["rows by value"]
    assert told == pytest.approx(plan.statistics(4).deviation * np.sqrt(len(PODS)), rel=1e-3)
    noised = run_of(made, "outcome", **PRIVATE)
    assert noised.results().status == "completed"
    scores = TrainedModel.load(noised.model_path()).predict_proba(made.test)
    assert metrics.roc_auc_score(made.test["outcome"] == "well", scores[:, 1]) > 0.7


def test_a_private_run_whose_target_is_a_date_is_refused_before_anything_is_spent(made: Made) -> None:
    with pytest.raises(FitFailed, match="privacy: the target 'admitted' is a number, and only classes are learnt"):
        run_of(made, "admitted", **PRIVATE)
    for name in PODS:
        entries = list(Ledger(made.directory / "home" / "pods" / name / "ledger.db").entries())
        assert entries
        assert not {"begin", SPENT} & {entry.event for entry in entries}


def test_a_date_is_learnt_as_the_target(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(
        made,
        "admitted",
        rounds=3,
        local_epochs=2,
        batch_size=32,
        optimizer=Optimizer(name="AdamW", params={"lr": 0.01}),
    )
    results, model = run.results(), TrainedModel.load(run.model_path())
    assert [column.name for column in model.encoding.features] == ["score", "outcome"]  # no part of the target
    observed, predicted = days(made.test).to_numpy(), model.predict(made.test)
    final, regression = results.final, results.regression
    assert final is not None
    assert regression is not None
    assert final.mae == pytest.approx(metrics.mean_absolute_error(observed, predicted), rel=1e-6)
    assert final.rmse == pytest.approx(metrics.root_mean_squared_error(observed, predicted), rel=1e-6)
    assert final.r2 == pytest.approx(metrics.r2_score(observed, predicted), abs=1e-6)
    assert final.r2 > 0.1
    assert_allclose([regression.mean, regression.std], [days(made.train).mean(), days(made.train).std()], rtol=0.02)
    edges = np.array(regression.groups)
    assert_array_equal(regression.pairs, np.histogram2d(observed, predicted, bins=(edges, edges))[0])
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    with Progress(console) as progress:
        progress(results)
    console.print(results_table(results))
    text = " ".join(shown.getvalue().split())
    assert "mae and rmse are in days; values and predictions beyond 2020-01-01 to 2025-01-01 count" in text
    assert "rows of all pods with a date in admitted" in text
    assert f"mean {pd.Timestamp(regression.mean, unit='D').round('D').date()}, standard deviation" in text
    write_report(run)
    made.test.drop(columns="admitted").to_csv(made.directory / "new.csv", index=False)
    with pytest.raises(SystemExit) as left:
        main(("predict", str(run.path), str(made.directory / "new.csv")))
    assert not left.value.code
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert_allclose(table["admitted [days since 1970-01-01]"], predicted, rtol=1e-8)
    again = read_rows(made.directory / "new.csv", model.encoding)
    assert_array_equal(model.predict(again), predicted)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)
