"""A seeded run with secure aggregation and the same run in the clear end in the same model."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fl_app.config import RunConfig
from fl_app.tabular.settings import DataStructure, Optimizer
from server.modeller.launch import fit
from tests.support.close import close
from tests.support.small_federation import PODS, in_this_process, small_federation


@pytest.mark.parametrize(("optimizer", "lr"), [("SGD", 0.05), ("AdamW", 0.001)])
@pytest.mark.parametrize("strategy", ["FedAvg", "FedProx"])
def test_a_seeded_secure_run_equals_the_plain_one(
    optimizer: str, lr: float, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    federation = small_federation(tmp_path, secure_only=False)
    in_this_process(monkeypatch)
    models, results = [], []
    for secure in (True, False):
        config = RunConfig(
            pods=PODS,
            datastructure=DataStructure(target="outcome"),
            rounds=3,
            local_epochs=1,
            batch_size=64,
            optimizer=Optimizer(name=optimizer, params={"lr": lr}),
            strategy=strategy,
            strategy_params={"proximal_mu": 0.1} if strategy == "FedProx" else {},
            secure=secure,
            seed=3,
        )
        run = fit(config, federation, runs=tmp_path / "runs")
        models.append(load_file(run.path / "model.safetensors"))
        results.append(run.results().document())
    assert results[0]["secure_aggregation"]["enabled"]
    assert not results[1]["secure_aggregation"]["enabled"]
    for name, array in models[0].items():
        np.testing.assert_allclose(array, models[1][name], atol=1e-6, rtol=0)
    assert results[0]["final"] == close(results[1]["final"], abs=1e-6)
