"""What a run says of its pods' rows, computed once more by pandas and scikit-learn on the pooled rows."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn import datasets, metrics

from client.app.row_split import split_rows
from fl_app.config import RunConfig
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure, Optimizer
from fl_app.tabular.statistics import VARIANCE
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.modeller.launch import fit
from tests.support.small_federation import PODS, in_this_process, small_federation

CENSUS = Path(__file__).resolve().parents[3] / "fl_app" / "demo" / "data"
MINIMUM = 3
"""``minimum_category_count`` of the pods."""


class Run(NamedTuple):
    """A finished run, and its pods' rows as pandas reads them, by part and pooled."""

    results: Results
    model: TrainedModel
    target: str
    pods: list[pd.DataFrame]
    train: pd.DataFrame
    test: pd.DataFrame


def from_scikit_learn(load: Callable[..., object]) -> list[pd.DataFrame]:
    frame = load(as_frame=True).frame  # type: ignore[attr-defined]
    order = np.random.default_rng(7).permutation(len(frame))
    return [frame.iloc[part].reset_index(drop=True) for part in (order[: len(order) // 3], order[len(order) // 3 :])]


def census() -> list[pd.DataFrame]:
    names = ("census-income-demo-dataset", "census-income-yaml-demo-dataset")
    return [pd.read_csv(CENSUS / f"{name}.csv.gz").drop(columns="fnlwgt")[:3000] for name in names]


TABLES: dict[str, tuple[Callable[[], list[pd.DataFrame]], str]] = {
    "census": (census, "TARGET"),
    "wine": (lambda: from_scikit_learn(datasets.load_wine), "target"),
    "digits": (lambda: from_scikit_learn(datasets.load_digits), "target"),
    "breast": (lambda: from_scikit_learn(datasets.load_breast_cancer), "target"),
}


@pytest.fixture(scope="module", params=TABLES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    make, target = TABLES[request.param]
    directory = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FL_APP_HOME", str(directory / "home"))
        in_this_process(patch)
        federation = small_federation(directory)
        for name, frame in zip(PODS, make(), strict=True):
            frame.to_csv(directory / f"{name}.csv", index=False)
            frame.to_csv(directory / "public.csv", index=False)
        config = RunConfig(
            pods=PODS,
            datastructure=DataStructure(target=target),
            rounds=4,
            local_epochs=4,
            batch_size=16,
            optimizer=Optimizer(name="AdamW", params={"lr": 0.003}),
        )
        done: RunDirectory = fit(config, federation, runs=directory / "runs")
    read = {name: pd.read_csv(directory / f"{name}.csv", na_values=["?"]) for name in PODS}
    parts = {name: split_rows(len(frame), name) for name, frame in read.items()}
    train, _, test = (pd.concat([read[name].iloc[parts[name][place]] for name in PODS]) for place in range(3))
    return Run(done.results(), TrainedModel.load(done.model_path()), target, list(read.values()), train, test)


def test_kinds_values_and_bounds(run: Run) -> None:
    pooled = pd.concat(run.pods)
    for column in run.model.encoding.features:
        if column.kind == "categorical":
            assert not pd.api.types.is_numeric_dtype(pooled[column.name])
            frequent = [pod[column.name].value_counts() for pod in run.pods]
            values = set().union(*(counts[counts >= MINIMUM].index for counts in frequent))
            assert set(column.values) == values
        else:
            numbers = pooled[column.name].dropna()
            largest = numbers.abs().max()
            high = 2.0 ** math.ceil(math.log2(largest)) if largest else 1.0
            assert column.bounds == (-high if numbers.min() < 0 else 0.0, high)
            assert column.integer == bool((numbers == numbers.round()).all())
    assert list(run.model.classes) == sorted(map(str, pooled[run.target].unique()))


def test_means_and_deviations(run: Run) -> None:
    normalisation = run.model.encoding.normalisation
    for column, mean, std in zip(run.model.encoding.continuous, normalisation.mean, normalisation.std, strict=True):
        numbers = run.train[column.name].dropna()
        scale = column.bounds[1] - column.bounds[0]
        # Pods round their sums, and the encoding takes as much of a small table's sums for noise as could be noise.
        possible = scale / 2 * math.sqrt(2.5 * math.sqrt(len(PODS) * VARIANCE) / len(numbers))
        exact = numbers.std(ddof=0)
        assert_allclose(mean, numbers.mean(), atol=scale / len(numbers) + 0.35 * exact * (exact < 2 * possible))
        if exact < 2 * possible:
            assert 0.25 * exact < std < max(1.4 * exact, 1.01 * possible, 0.3)
        else:
            assert_allclose(std, exact, rtol=3e-2)


def test_rows_by_label(run: Run) -> None:
    counts = run.results.label_counts
    assert counts is not None
    pooled = pd.concat(run.pods)[run.target].astype(str).value_counts()
    assert dict(zip(run.results.classes, counts.classes, strict=True)) == pooled.to_dict()
    assert (counts.missing, counts.unpublished) == (0, 0)


def test_every_metric(run: Run) -> None:
    final, classes = run.results.final, list(run.model.classes)
    assert final is not None
    truth = run.test[run.target].astype(str).to_numpy()
    scores = run.model.predict_proba(run.test)
    named = np.array(classes)[scores.argmax(axis=1)]
    assert final.num_examples == len(truth)
    assert np.array_equal(run.results.confusion, metrics.confusion_matrix(truth, named, labels=classes))
    two = {"pos_label": classes[1]} if len(classes) == 2 else {"average": "macro"}
    exact = {
        "accuracy": metrics.accuracy_score(truth, named),
        "f1": metrics.f1_score(truth, named, **two),
        "recall": metrics.recall_score(truth, named, **two),
        "precision": metrics.precision_score(truth, named, **two),
    }
    for name, value in exact.items():
        assert_allclose(getattr(final, name), value, atol=1e-9, err_msg=name)
    one_hot = np.array(classes) == truth[:, None]
    if len(classes) == 2:
        auc = metrics.roc_auc_score(one_hot[:, 1], scores[:, 1])
        brier = metrics.brier_score_loss(one_hot[:, 1], scores[:, 1])
    else:
        auc = metrics.roc_auc_score(one_hot, scores, average="macro")
        brier = float(np.square(scores - one_hot).sum(axis=1).mean())
    assert final.auc is not None
    assert abs(final.auc - auc) <= max(2e-3, run.results.auc_error or 0.0)
    assert_allclose(final.brier, brier, atol=1e-6)
    assert_allclose(final.loss, metrics.log_loss(truth, scores, labels=classes), atol=1e-5)
