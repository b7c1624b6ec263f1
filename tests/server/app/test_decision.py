"""The decision threshold of a run: what it is chosen on, what is told of it, and that `predict` goes by it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn import metrics

from client.app.row_split import split_rows
from fl_app.config import RunConfig
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure
from server.app.run_directory import RunDirectory
from server.commands.predict import predict
from server.display.scored_rows import figures_told
from server.modeller.launch import UnfitData, fit
from tests.support.small_federation import PODS, small_federation, table


def trained(work: Path, target: str, rule: Any) -> RunDirectory:
    config = RunConfig(
        pods=PODS,
        datastructure=DataStructure(target=target),
        rounds=2,
        local_epochs=2,
        batch_size=16,
        decision=rule,
        early_stopping=None,
    )
    return fit(config, small_federation(work), runs=work / "runs")


@pytest.mark.parametrize("rule", ["youden", "f1"])
def test_the_threshold_is_chosen_on_validation_rows_kept_in_the_model_and_told(work: Path, rule: str) -> None:
    run = trained(work, "outcome", rule)
    results, model = run.results(), TrainedModel.load(run.model_path())
    decision = results.decision
    assert decision is not None
    assert decision.threshold is not None
    assert decision.final is not None
    assert decision.test is not None
    assert model.threshold == decision.threshold
    read = {name: pd.read_csv(work / f"{name}.csv", na_values=["?"]) for name in PODS}
    validation, test = (
        pd.concat([rows.iloc[split_rows(len(rows), name)[part]] for name, rows in read.items()]) for part in (1, 2)
    )

    def named(rows: pd.DataFrame, threshold: float) -> Any:
        return np.where(model.predict_proba(rows)[:, 1] >= threshold, "yes", "no")

    truth, scores = (validation["outcome"] == "yes").to_numpy(), model.predict_proba(validation)[:, 1]

    def figure(threshold: float) -> float:
        said = scores >= threshold
        if rule == "youden":
            return float((said[truth].mean() + (~said[~truth]).mean()) / 2)
        return float(2 * (said & truth).sum() / (said.sum() + truth.sum()))

    assert figure(decision.threshold) == pytest.approx(max(map(figure, results.score_edges[0][:-1])))
    for rows, found, matrix in ((test, decision.final, decision.confusion), (table(300, 9), decision.test, None)):
        labels, at = rows["outcome"], named(rows, decision.threshold)
        assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, at))
        assert found.f1 == pytest.approx(metrics.f1_score(labels, at, pos_label="yes"))
        assert matrix is None or np.array_equal(matrix, metrics.confusion_matrix(labels, at))
    assert f"from a score of {decision.threshold:.4f} on" in "\n".join(figures_told(results))
    scored = CliRunner().invoke(predict, [str(run.model_path()), str(work / "public.csv"), "--classes"])
    written = pd.read_csv(io.StringIO(scored.stdout))
    assert written["class"].tolist() == named(table(300, 9), decision.threshold).tolist()


def test_a_threshold_for_more_than_two_classes_is_refused_before_anything_is_trained(work: Path) -> None:
    with pytest.raises(UnfitData, match="--threshold f1 needs a target of two classes: 'colour' has 3"):
        trained(work, "colour", "f1")
    assert not RunDirectory.find("latest", work / "runs").results().rounds
