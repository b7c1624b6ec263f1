"""A run whose classes weigh the same: a rare class is found, by weights that every pod derives from verified counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fl_app.config import RunConfig, Settled
from fl_app.errors import UsageError
from fl_app.flower import names
from fl_app.replica.tabular import TabularRule, class_weights_of
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.regime import regime_for
from fl_app.tabular.settings import DataStructure
from server.app.checkpoint import Checkpoint
from server.app.run_directory import RunDirectory
from server.modeller.launch import fit
from tests.support.small_federation import PODS, small_federation


def rare(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.normal(50, 10, rows)
    outcome = np.where(rng.random(rows) < 0.12 / (1 + np.exp((55 - age) / 4)) + 0.02, "yes", "no")
    return pd.DataFrame({"age": age, "outcome": outcome})


def trained(work: Path, **settings: Any) -> RunDirectory:
    federation = small_federation(work)
    for seed, name in enumerate(PODS):
        rare(900, seed).to_csv(work / f"{name}.csv", index=False)
    config = RunConfig(
        pods=PODS,
        datastructure=DataStructure(target="outcome"),
        rounds=3,
        local_epochs=4,
        batch_size=32,
        early_stopping=None,
        **settings,
    )
    return fit(config, federation.model_copy(update={"test_file": None, "test_target": None}), runs=work / "runs")


def test_a_rare_class_is_found_by_weights_from_the_pods_counts(work: Path) -> None:
    run = trained(work, class_weight="balanced")
    results = run.results()
    assert results.label_counts is not None
    counts = np.array(results.label_counts.classes)
    replica = Checkpoint.load(run.checkpoint_path).replica
    assert class_weights_of(replica) == pytest.approx(counts.sum() / (2 * counts))
    request = TabularRule().request(run.config().to_json(), replica, names.TRAIN, 4, PODS)
    told = request.config_records[names.CONFIG_RECORD][names.CLASS_WEIGHTS]
    assert isinstance(told, bytes)
    assert np.array_equal(np.frombuffer(told, "<f8"), class_weights_of(replica))
    assert results.final is not None
    assert (results.final.recall or 0) > 0.3


def test_without_weights_the_same_run_finds_none_of_it(work: Path) -> None:
    results = trained(work).results()
    assert results.final is not None
    assert results.final.recall == 0


def test_early_stopping_that_is_left_open_follows_what_training_makes_better() -> None:
    def of(**settings: Any) -> EarlyStopping | None:
        config = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), **settings)
        return Settled.of(config, regime_for(10_000)).early_stopping

    plain, weighed = of(), of(class_weight="balanced")
    assert (plain and plain.metric, weighed and weighed.metric) == ("loss", "auc")
    given = of(class_weight="balanced", early_stopping=EarlyStopping(metric="loss"))
    assert given == EarlyStopping(metric="loss")


def test_a_run_with_privacy_weighs_no_class() -> None:
    with pytest.raises(UsageError, match="weighs no class"):
        RunConfig(
            pods=PODS,
            datastructure=DataStructure(target="outcome"),
            class_weight="balanced",
            privacy={"epsilon": 1.0},
        )
