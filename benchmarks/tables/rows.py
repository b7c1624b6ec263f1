"""One table and one seed: the product's own run over its pods, and what the model does on the test rows."""

import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.joining.federation import run, write_federation
from benchmarks.tables.baselines import baselines
from benchmarks.tables.sources import SOURCES
from fl_app.config import RunConfig
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure

SEEDS = 3
POLICY = {"minimum_cohort": 2}
"""Of a table there are two pods or more; all else that an owner may say is left to its default."""
Entry = dict[str, Any]


def measure(name: str) -> Entry:
    """Score the baselines of a table, and a federated run for each seed."""
    source = SOURCES[name]()
    return {
        "table": name,
        "classes": source.classes,
        "pods": {pod: len(rows) for pod, rows in source.pods.items()},
        "test_rows": len(source.test),
        **baselines(source),
        "runs": [federated(name, seed) for seed in range(SEEDS)],
    }


def federated(name: str, seed: int) -> Entry:
    """Train with nothing said but the target, the columns to leave out and the seed.

    The run does not have the test rows: no round is chosen by them.
    """
    logging.getLogger("flwr").setLevel(logging.WARNING)
    torch.set_num_threads(1)  # as the pods do
    started, source = time.process_time(), SOURCES[name]()
    with tempfile.TemporaryDirectory() as directory:
        federation = write_federation(Path(directory), source.pods, {"policy": POLICY})
        config = RunConfig(
            pods=tuple(source.pods),
            datastructure=DataStructure(target=source.target, ignore_cols=source.ignored),
            seed=seed,
        )
        results, path = run(config, federation, Path(directory) / "runs")
        metrics = TrainedModel.load(path).evaluate(source.test)
    return {
        "seed": seed,
        "auc": metrics["auc"],
        "accuracy": metrics["accuracy"],
        "rounds": len(results["rounds"]),
        "training": results["training"]["settings"],
        "seconds": round(time.process_time() - started, 1),
    }
