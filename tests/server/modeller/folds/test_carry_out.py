"""Cross-validations of the small federation: figures are those of the pooled rows, and one that ended early goes on."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from client.app.row_split import fold_rows
from fl_app import PyTorchTabularClassifier, combine_pod_schemas
from fl_app.config import RunConfig
from fl_app.errors import DataError, UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.pod.pod_file import load_pod
from fl_app.privacy.settings import Privacy
from fl_app.tabular.folds import Fold
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure
from server.app.run_directory import RunDirectory
from server.modeller import several_runs
from server.modeller.folds.carry_out import carry_out, plan
from server.modeller.folds.directory import CrossValidation, FoldsDirectory
from server.modeller.launch import FitFailed
from server.modeller.launch import carry_out as carry_out_run
from tests.support.small_federation import PODS

BASE = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), rounds=2, local_epochs=2, batch_size=64)


def validated(small: SimulatedFederation, folds: int = 2, **settings: Any) -> CrossValidation:
    return carry_out(plan(Path("runs"), RunConfig(**{**dict(BASE), **settings}), small, folds), small)


def run_of(validation: CrossValidation, fold: int) -> RunDirectory:
    entry = validation.on(fold)
    assert entry is not None
    return RunDirectory(Path("runs") / entry.run)


def held_out(validation: CrossValidation, fold: int) -> pd.DataFrame:
    """Return the rows of both pods that a fold holds out, as they stand in their files."""
    parts = []
    for name in PODS:
        rows = pd.read_csv(f"{name}.csv", na_values=["?"])
        asked = Fold.from_text(f"{fold}/{validation.folds}")
        parts.append(
            rows.iloc[
                fold_rows(len(rows), name, asked, load_pod(Path(f"{name}.yaml")).policy.minimum_evaluation_rows)[2]
            ]
        )
    return pd.concat(parts)


def test_pooled_figures_are_those_of_all_rows_each_scored_by_the_model_that_has_not_seen_it(
    small: SimulatedFederation,
) -> None:
    validation = validated(small, 5)
    assert validation.status == "completed"
    truths, scores = [], []
    for fold in range(1, 6):
        run, rows = run_of(validation, fold), held_out(validation, fold)
        assert run.config() == RunConfig(**{**dict(BASE), "fold": Fold(number=fold, of=5)})
        truths.append((rows["outcome"] == "yes").to_numpy())
        scores.append(TrainedModel.load(run.model_path()).predict_proba(rows)[:, 1])
    truth, score = np.concatenate(truths), np.concatenate(scores)
    assert validation.rows == len(truth) == sum(len(pd.read_csv(f"{name}.csv")) for name in PODS)
    found = {name: spread.pooled for name, spread in validation.metrics.items()}
    assert np.array_equal(validation.confusion, metrics.confusion_matrix(truth, score > 0.5))
    exact = {
        "accuracy": metrics.accuracy_score(truth, score > 0.5),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, score > 0.5),
        "f1": metrics.f1_score(truth, score > 0.5),
        "recall": metrics.recall_score(truth, score > 0.5),
        "precision": metrics.precision_score(truth, score > 0.5),
        "brier": metrics.brier_score_loss(truth, score),
        "loss": metrics.log_loss(truth, score),
    }
    assert {name: found[name] for name in exact} == pytest.approx(exact, abs=1e-5)
    pairs = [one.sum() * (~one).sum() for one in truths]
    areas = [metrics.roc_auc_score(*one) for one in zip(truths, scores, strict=True)]
    assert found["auc"] == pytest.approx(np.average(areas, weights=pairs), abs=2e-3)
    by_fold = [metrics.accuracy_score(one, other > 0.5) for one, other in zip(truths, scores, strict=True)]
    assert validation.metrics["accuracy"].mean == pytest.approx(np.mean(by_fold))
    assert validation.metrics["accuracy"].std == pytest.approx(np.std(by_fold, ddof=1))


def test_errors_of_a_number_are_pooled(small: SimulatedFederation) -> None:
    validation = validated(small, datastructure=DataStructure(target="age", ignore_cols=("outcome",)))
    truths, found = list[np.ndarray[Any, Any]](), list[np.ndarray[Any, Any]]()
    for fold in (1, 2):
        rows = held_out(validation, fold).dropna(subset=["age"])
        truths.append(rows["age"].to_numpy())
        found.append(TrainedModel.load(run_of(validation, fold).model_path()).predict(rows))
    truth, said = np.concatenate(truths), np.concatenate(found)
    within = sum(((one - one.mean()) ** 2).sum() for one in truths)
    exact = {
        "mae": metrics.mean_absolute_error(truth, said),
        "rmse": metrics.root_mean_squared_error(truth, said),
        "r2": 1 - ((truth - said) ** 2).sum() / within,
    }
    assert {name: validation.metrics[name].pooled for name in exact} == pytest.approx(exact, rel=1e-3, abs=1e-3)
    assert (validation.rows, validation.confusion) == (len(truth), ())


def test_every_fold_begins_with_the_same_statistics(small: SimulatedFederation) -> None:
    """Sums over other rows would carry other noise: ten runs would tell more of a cell than one does."""
    validation = validated(small, 2)
    encodings = {run_of(validation, fold).encoding()[1] for fold in (1, 2)}
    assert len(encodings) == 1
    usual = plan_and_run(small)
    assert {usual.encoding()[1]} == encodings


def plan_and_run(small: SimulatedFederation) -> RunDirectory:
    from server.modeller.launch import fit

    return fit(BASE, small, runs=Path("runs"))


def limit(name: str, **terms: int) -> None:
    path = Path(f"{name}.yaml")
    policy = load_pod(path).policy.model_dump(exclude_defaults=True)
    text = path.read_text()
    path.write_text(text[: text.index("policy:")] + f"policy: {json.dumps({**policy, **terms})}\n")


def test_a_limit_of_the_day_ends_it_and_another_day_goes_on(small: SimulatedFederation) -> None:
    directory = plan(Path("runs"), BASE, small, 2)
    limit("south", maximum_runs_per_day=1)
    stopped = carry_out(directory, small)
    assert (stopped.status, len(stopped.completed)) == ("stopped", 1)
    assert "(maximum_runs_per_day)" in stopped.why
    assert stopped.metrics == {}
    limit("south", maximum_runs_per_day=10)
    going = carry_out(directory)
    assert (going.status, going.why) == ("completed", "")
    assert going.completed[0] == stopped.completed[0]
    assert sum(map(sum, going.confusion)) == going.rows == 1200


def test_a_pod_takes_part_in_no_more_folds_than_its_owner_allows(small: SimulatedFederation) -> None:
    limit("south", maximum_folds=2)
    assert validated(small, 2).status == "completed"
    with pytest.raises(FitFailed, match=r"pod 'south' takes part in at most 2 folds.*\(maximum_folds\).*asks for 5"):
        validated(small, 5)


def failing(monkeypatch: pytest.MonkeyPatch, text: str, *places: int) -> None:
    calls = Counter[str]()

    def launched(run: RunDirectory, *given: Any) -> None:
        calls["runs"] += 1
        if calls["runs"] in places:
            raise FitFailed(text, run)
        carry_out_run(run, *given)

    monkeypatch.setattr(several_runs, "carry_out_run", launched)


def test_a_run_that_fails_ends_it_and_what_is_done_is_not_done_again(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "the pods did not connect", 2)
    directory = plan(Path("runs"), BASE, small, 2)
    with pytest.raises(FitFailed, match="the pods did not connect"):
        carry_out(directory, small)
    failed = directory.read()
    assert (failed.status, failed.why) == ("failed", "the pods did not connect")
    going = carry_out(directory)
    assert going.status == "completed"
    assert going.completed[0] == failed.completed[0]


def test_a_simulation_that_does_not_start_is_started_again(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "the run's process failed: Ray's raylet ended while it started: x", 2, 3)
    assert validated(small, 2).status == "completed"


def test_pods_whose_tenths_are_too_small_give_no_figures(small: SimulatedFederation) -> None:
    for name in PODS:
        limit(name, minimum_evaluation_rows=61)
    with pytest.raises(DataError, match="fold 1: no figures over the pods' held-out rows"):
        validated(small, 2)


@pytest.mark.parametrize(
    ("folds", "settings", "said"),
    [
        (3, {}, "folds: should be one of 2, 5, 10, not 3"),
        (5, {"privacy": Privacy(epsilon=3.0), "rounds": None, "local_epochs": None, "batch_size": None}, "epsilon"),
        (5, {"pods": ("north", "east")}, "has no pod 'east'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    small: SimulatedFederation, folds: int, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        plan(Path("runs"), RunConfig(**{**dict(BASE), **settings}), small, folds)
    assert not Path("runs").exists()


def test_two_processes_cannot_carry_out_one(small: SimulatedFederation) -> None:
    directory = plan(Path("runs"), BASE, small, 2)
    with directory.carried_out(), pytest.raises(UsageError, match="is under way"):
        carry_out(directory, small)


def test_in_python_it_gives_the_figures_and_keeps_no_model(small: SimulatedFederation) -> None:
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), combine_pod_schemas(federation=small), epochs=1)
    validation = model.cross_validate(2, federation=small)
    assert validation.metrics["auc"].pooled is not None
    with pytest.raises(UsageError, match="there is no trained model yet"):
        model.predict("public.csv")
    (path,) = Path("runs").glob("folds-*")
    assert FoldsDirectory(path).read() == model.cross_validate(federation=small, resume=path.name)
    with pytest.raises(UsageError, match="no directory of a cross-validation"):
        model.cross_validate(federation=small, resume="nothing")
