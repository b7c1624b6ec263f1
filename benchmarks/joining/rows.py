"""One row of the study: a split, a number of pods, a seed and a network, trained in every way."""

import logging
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from benchmarks.joining.baselines import alone, pooled
from benchmarks.joining.federation import create_federation, run, tables_of
from benchmarks.joining.splits import SPLITS, TARGET, Parts
from client.app.pod_table import PodTable
from fl_app.config import RunConfig, Settled
from fl_app.federation.kinds import SimulatedFederation
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure, Optimizer

CENSUS = Path(__file__).resolve().parents[2] / "fl_app" / "demo" / "data"
PACKAGED = "the demonstration's"
PODS = ("census-income-demo-dataset", "census-income-yaml-demo-dataset")
CATEGORICAL = [TARGET, "workclass", "education", "marital-status", "occupation", "relationship", "race", "gender"]
CATEGORICAL += ["native-country"]


@dataclass(frozen=True)
class Row:
    """What is trained: the settings of a federated run, and ``lr_pooled`` for AdamW where rows lie in one place.

    ``rows`` is 0 for the whole table. ``alone`` says whether pods are trained by themselves too; ``only_federated``
    leaves out all that a choice of settings is not measured by.
    """

    split: str
    pods: int
    seed: int = 0
    architecture: str = "mlp"
    rounds: int = 8
    local_epochs: int | None = 1
    local_steps: int | None = None
    strategy: Literal["FedAvg", "FedAdam", "FedAvgM", "FedProx"] = "FedAvg"
    strategy_params: dict[str, float] = field(default_factory=dict)
    min_bin_rows: int = 5
    batch_size: int = 256
    optimizer: str = "AdamW"
    lr: float = 0.001
    lr_decay: float = 0.02
    lr_pooled: float = 0.001
    rows: int = 0
    alone: bool = True
    only_federated: bool = False

    def config(self, *, secure: bool) -> RunConfig:
        """Return the settings of the federated run."""
        return RunConfig(
            **self._everywhere(),
            rounds=self.rounds,
            local_epochs=self.local_epochs,
            local_steps=self.local_steps,
            batch_size=self.batch_size,
            optimizer=Optimizer(name=self.optimizer, params={"lr": self.lr}),
            lr_decay=self.lr_decay,
            strategy=self.strategy,
            strategy_params=self.strategy_params,
            early_stopping=None,
            secure=secure,
            # A tight bound makes the fixed-point step fine.
            update_bound=max(1.0, self.lr),
        )

    def in_one_place(self) -> Settled:
        """Return the settings for a lone pod and for pooled rows; a round is an epoch."""
        return Settled(
            **self._everywhere(),
            rounds=self.rounds if self.local_epochs else 8,
            local_epochs=1,
            batch_size=self.batch_size if self.local_epochs else 256,
            optimizer=Optimizer(name="AdamW", params={"lr": self.lr_pooled}),
            lr_decay=0.02,
            early_stopping=None,
        )

    def _everywhere(self) -> dict[str, Any]:
        return {
            "pods": tuple(f"pod-{place}" for place in range(1, self.pods + 1)),
            "datastructure": DataStructure(target=TARGET),
            "architecture": self.architecture,
            "min_bin_rows": self.min_bin_rows,
            "seed": self.seed,
        }


def census(name: str) -> pd.DataFrame:
    """Read one of the packaged census files, without its sampling weight."""
    return pd.read_csv(CENSUS / f"{name}.csv.gz", na_values=["?"]).drop(columns="fnlwgt")


def table_of(row: Row) -> pd.DataFrame:
    """Return all rows of `adult.data`, or as many of them as the row says."""
    table = pd.concat([census(pod) for pod in PODS], ignore_index=True)
    if not row.rows:
        return table
    chosen = np.random.default_rng(row.seed).permutation(len(table))[: row.rows]
    return table.iloc[chosen].reset_index(drop=True)


def parts_of(row: Row, table: pd.DataFrame) -> Parts:
    """Split by the row's seed, and by what is split, not by how it is trained."""
    if row.split == PACKAGED:
        return np.split(np.arange(len(table)), [len(census(PODS[0]))])
    rng = np.random.default_rng([row.seed, row.pods, list(SPLITS).index(row.split)])
    return SPLITS[row.split](table, row.pods, rng)


def measure(row: Row) -> dict[str, Any]:
    """Train as the row says, and score every model on the public test file."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    torch.set_num_threads(1)  # as the pods do; another number of threads rounds otherwise
    started = time.process_time()
    table, test = table_of(row), census("adult.test")
    parts = parts_of(row, table)
    over = (table[TARGET] == ">50K").to_numpy()
    entry: dict[str, Any] = {
        "row": asdict(row),
        "pod_rows": [len(part) for part in parts],
        "pod_positive": [round(float(over[part].mean()), 4) for part in parts],
    }
    with tempfile.TemporaryDirectory() as directory:
        federation = create_federation(Path(directory), [table.iloc[part] for part in parts], CATEGORICAL)
        entry["secure"], model = _federated(row, federation, Path(directory), test, secure=True)
        if not row.only_federated:
            entry["plain"], _ = _federated(row, federation, Path(directory), test, secure=False)
            config, tables = row.in_one_place(), tables_of(federation)
            entry["pooled"] = _score(pooled(tables, model.encoding, config), test)
            if row.alone:
                entry["alone"] = [_alone(table, config, test) for table in tables]
    entry["seconds"] = round(time.process_time() - started, 1)
    return entry


def _federated(
    row: Row, federation: SimulatedFederation, directory: Path, test: pd.DataFrame, *, secure: bool
) -> tuple[dict[str, Any], TrainedModel]:
    results, path = run(row.config(secure=secure), federation, directory / "runs")
    model = TrainedModel.load(path)
    steps = results["secure_aggregation"]["steps"].values()
    return {
        **_score(model, test),
        "rounds": len(results["rounds"]),
        "seconds": results["seconds"],
        "clipped": sum(round_["clipped"] for round_ in results["rounds"]),
        "bytes_to_pods": sum(step["bytes_out"] for step in steps),
        "bytes_from_pods": sum(step["bytes_in"] for step in steps),
        "validation_auc": [round_["auc"] for round_ in results["rounds"]],
    }, model


def _alone(table: PodTable, config: Settled, test: pd.DataFrame) -> dict[str, float]:
    """Score a lone pod; one that knows a single class can only name it for every row."""
    model = alone(table, config)
    if model is not None:
        return _score(model, test)
    return {"auc": 0.5, "accuracy": float((test[TARGET] == _most_frequent(table)).mean())}


def _most_frequent(table: PodTable) -> str:
    indices, texts = table.cells.texts(TARGET)
    return texts[int(np.bincount(indices[indices >= 0]).argmax())]


def _score(model: TrainedModel, test: pd.DataFrame) -> dict[str, float]:
    metrics = model.evaluate(test)
    return {"auc": metrics["auc"], "accuracy": metrics["accuracy"]}
