"""Of which class, over which rows and how certain a run's figures are, is told: whole runs in this process."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console
from sklearn import metrics

from fl_app.config import RunConfig, Settled
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.intervals import of_auc, wilson
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.regime import regime_for
from fl_app.tabular.settings import DataStructure
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.display.progress import Progress, results_table
from server.display.report import write_report
from server.display.scored_rows import scored_rows
from server.display.training_told import in_words
from server.exports.model_card import card
from server.modeller.launch import FitFailed, UnfitData, fit
from tests.support.small_federation import PODS, small_federation, table


def trained(work: Path, *, few_rows: bool = False, public: bool = True, **settings: Any) -> RunDirectory:
    """Train; with ``few_rows`` the owners keep their evaluation counts to themselves."""
    federation = small_federation(work)
    if few_rows:
        for name in PODS:
            path = work / f"{name}.yaml"
            pod = yaml.safe_load(path.read_text())
            path.write_text(yaml.safe_dump(pod | {"policy": {**pod["policy"], "minimum_rows_per_class": 1000}}))
    if not public:
        federation = federation.model_copy(update={"test_file": None, "test_target": None})
    settings = {"rounds": 2, "local_epochs": 5, "batch_size": 16, **settings}
    config = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), **settings)
    return fit(config, federation, runs=work / "runs")


def told(results: Results) -> str:
    out = io.StringIO()
    with Progress(Console(file=out, width=200)) as progress:
        progress(results)
    return out.getvalue()


@pytest.mark.parametrize("positive", [None, "no", "yes"])
def test_the_positive_class_is_named_and_can_be_chosen(work: Path, positive: str | None) -> None:
    run = trained(work, positive=positive)
    results, model = run.results(), TrainedModel.load(run.model_path())
    named = positive or "yes"
    assert results.positive == named
    truth = table(300, 9)["outcome"].to_numpy()
    scores = model.predict_proba(table(300, 9))
    predicted = [model.classes[place] for place in scores.argmax(axis=1)]
    assert results.test is not None
    assert results.test.recall == pytest.approx(metrics.recall_score(truth, predicted, pos_label=named))
    assert results.test.precision == pytest.approx(metrics.precision_score(truth, predicted, pos_label=named))
    assert results.test.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    assert model.evaluate(table(300, 9))["recall"] == pytest.approx(results.test.recall)
    right, rows = truth == named, np.array(predicted) == named
    assert results.test.intervals["recall"] == pytest.approx(wilson((right & rows).sum(), right.sum()))
    assert results.test.intervals["precision"] == pytest.approx(wilson((right & rows).sum(), rows.sum()))
    assert results.test.intervals["accuracy"] == pytest.approx(wilson((truth == predicted).sum(), len(truth)))
    yes = int((truth == "yes").sum())
    assert results.test.intervals["auc"] == pytest.approx(of_auc(results.test.auc or 0, yes, len(truth) - yes))
    assert not results.rounds[-1].intervals
    page = write_report(run)[0].read_text()
    low, high = results.test.intervals["auc"]
    out = io.StringIO()
    Console(file=out, width=250).print(results_table(results))
    for text in (out.getvalue(), card(model, Path("m.pt"), results.document()), page):
        assert f"{low:.3f}-{high:.3f}".replace("0.", ".") in text
    for text in (told(results), card(model, Path("m.pt"), results.document()), page):
        assert "f1, recall and precision are of class" in text


def test_what_followed_from_the_table_is_recorded_and_told(work: Path) -> None:
    run = trained(work, rounds=None, local_epochs=None, batch_size=None)
    results, model = run.results(), TrainedModel.load(run.model_path())
    training, counts = results.training, results.label_counts
    assert training is not None
    assert counts is not None
    assert training.rows == sum(counts.classes)
    expected = Settled.of(run.config(), regime_for(training.rows))
    assert training.settings == {name: expected.model_dump(mode="json")[name] for name in training.settings}
    assert set(training.follows) >= {"architecture", "rounds", "local_epochs", "batch_size", "optimizer", "lr_decay"}
    assert 1 <= len(results.rounds) <= training.rounds == expected.rounds
    assert Settled(**model.extra["settings"]) == expected
    assert (model.architecture, run.settings()["rounds"]) == (expected.architecture, expected.rounds)
    assert f"as {training.rows:,} rows suggest" in told(results)
    assert in_words(training.settings) in told(results)
    given = trained(work, rounds=1, local_epochs=None, local_steps=3).results()
    assert given.training is not None
    assert (given.training.rounds, given.training.settings["local_steps"]) == (1, 3)
    assert "local_epochs" not in given.training.follows
    assert "1 round of 3 local steps" in told(given)


def test_a_positive_class_that_is_none_is_refused_before_anything_is_trained(work: Path) -> None:
    with pytest.raises(UnfitData, match="has no class 'maybe': its classes are 'no', 'yes'"):
        trained(work, positive="maybe")
    assert not RunDirectory.find("latest", work / "runs").results().rounds


def test_where_pods_add_no_rows_the_public_test_file_is_shown_and_the_reason_told(work: Path) -> None:
    run = trained(work, few_rows=True, early_stopping=EarlyStopping(metric="auc", patience=2))
    results = run.results()
    assert results.final is not None
    assert results.final.num_examples == 0
    assert {results.final.f1, results.final.recall, results.final.auc, results.final.accuracy} == {None}
    assert "minimum_rows_per_class" in results.no_figures
    shown = scored_rows(results)
    assert shown.label == "rows of the public test file"
    assert sum(map(sum, shown.confusion)) == 300
    assert results.early_stopping is not None
    best = max(entry.test.auc or 0 for entry in results.rounds if entry.test)
    assert results.early_stopping.best == best
    lines = told(results)
    assert "(public test file)" in lines
    assert "no figures over the pods' rows: no pod adds rows" in lines
    page = write_report(run)[0].read_text()
    assert "rows of the public test file" in page
    assert "no pod adds rows" in card(TrainedModel.load(run.model_path()), Path("m.pt"), results.document())


def test_early_stopping_without_any_figure_to_follow_is_refused(work: Path) -> None:
    with pytest.raises(FitFailed, match="early stopping follows auc, and no row defines it"):
        trained(work, few_rows=True, public=False, early_stopping=EarlyStopping(metric="auc"))
