"""Which private runs are made, and what else they are compared with."""

import os
import tempfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.joining.federation import create_federation, run, tables_of
from benchmarks.joining.rows import CATEGORICAL, Row, census, parts_of, table_of
from benchmarks.joining.splits import TARGET
from benchmarks.privacy import dp_ebm
from benchmarks.privacy.linear_gradient import QuickGradient
from benchmarks.privacy.private_run import trained
from client.app.pod_table import PodTable
from fl_app.config import RunConfig, Settled
from fl_app.federation.kinds import SimulatedFederation
from fl_app.privacy.plan import rounds_for
from fl_app.privacy.settings import Privacy
from fl_app.tabular.cells import Table
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.regime import LARGE
from fl_app.tabular.settings import PRIVATE_ARCHITECTURE, DataStructure, Optimizer

Entry = dict[str, Any]
Kind = Literal["secure sum", "each by itself", "no privacy", "DP-EBM"]
SEEDS = 10
EPSILONS = (0.5, 1.0, 3.0, 8.0)
DELTA = 1e-5
BOUNDS = {
    "age": (0.0, 100.0),
    "education-num": (1.0, 16.0),
    "capital-gain": (0.0, 100_000.0),
    "capital-loss": (0.0, 10_000.0),
    "hours-per-week": (0.0, 100.0),
}
"""What an owner states of numbers without looking at them; pods and DP-EBM are given the same."""
PRIVATE: tuple[tuple[Kind, int, int], ...] = (
    ("secure sum", 3, 2),
    ("each by itself", 3, 1),
    ("secure sum", 10, 9),
    ("secure sum", 10, 2),
    ("each by itself", 10, 1),
    ("secure sum", 2, 1),  # of two pods, one of which may collude, each has all the noise in any case
)
"""Private runs: their kind, how many pods, and on how many of them each relies."""
POOLED: tuple[Kind, int, int] = ("DP-EBM", 1, 1)
PLAIN_ROUNDS, PLAIN_RATE = 8, 0.03
"""Of ordinary runs; by the pods' validation rows .03 was the best of four rates, from .01 to .3."""


@dataclass(frozen=True)
class Case:
    """A model that is trained and scored.

    Attributes
    ----------
    kind : str
        "secure sum": a private run. "each by itself": the same, but each pod's own sums have all the noise, as they
        need it where they are read. "no privacy": an ordinary run with the same network. "DP-EBM": of all rows in one
        place.
    epsilon : float
        0 without privacy.
    pods : int
        Among which the rows are dealt.
    honest : int
        Of them, those whose noise is relied on; 0 without privacy.
    seed : int
        Of how rows are dealt, and of the noise.
    """

    kind: Kind
    epsilon: float
    pods: int
    honest: int
    seed: int

    @property
    def config(self) -> RunConfig:
        """The settings of the run."""
        common: dict[str, Any] = {
            "pods": tuple(f"pod-{place}" for place in range(1, self.pods + 1)),
            "datastructure": DataStructure(target=TARGET),
            "architecture": PRIVATE_ARCHITECTURE,
            "local_epochs": 1,
            "seed": self.seed,
        }
        if self.kind == "no privacy":
            optimizer = Optimizer(name="AdamW", params={"lr": PLAIN_RATE})
            return Settled.of(RunConfig(**common, rounds=PLAIN_ROUNDS, optimizer=optimizer, early_stopping=None), LARGE)
        # All pods must answer, or fewer could be relied on.
        privacy = Privacy(epsilon=self.epsilon, delta=DELTA)
        return RunConfig(**common, rounds=rounds_for(self.epsilon), privacy=privacy, threshold=self.pods)


def _cases(seed: int) -> list[Case]:
    """Return all that is trained with a seed."""
    lines = [*PRIVATE, POOLED]
    private = [Case(kind, epsilon, pods, honest, seed) for kind, pods, honest in lines for epsilon in EPSILONS]
    return [*private, Case("no privacy", 0.0, 3, 0, seed)]


CASES = [case for seed in range(SEEDS) for case in _cases(seed)]


def measure(case: Case) -> Entry:
    """Train a case's model, and score it on the public test file."""
    torch.set_num_threads(1)  # as the pods do
    started = os.times()
    scores = dp_ebm.scores(case.epsilon, DELTA, case.seed, BOUNDS) if case.kind == "DP-EBM" else _run(case)
    return {"case": asdict(case), **scores, "seconds": round(sum(np.subtract(os.times(), started)[:4]), 1)}


def _run(case: Case) -> dict[str, Any]:
    if case.kind == "no privacy":
        model, reported = _ordinary(case)
    else:
        # Noise that can be drawn again tells what it hides: here it hides a public table.
        noise = np.random.default_rng([case.seed, case.pods, case.honest, EPSILONS.index(case.epsilon)])
        tables, quick = _tables(case.pods, case.seed), QuickGradient(noise.bytes)
        model, reported = trained(case.config, tables, case.honest, noise.bytes, quick)
    metrics = model.evaluate(_test())
    return {
        "auc": metrics["auc"],
        "accuracy": metrics["accuracy"],
        "reported": {name: reported[name] for name in ("auc", "accuracy")},
    }


def _ordinary(case: Case) -> tuple[TrainedModel, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as directory:
        results, path = run(case.config, _federation(Path(directory), case.pods, case.seed), Path(directory) / "runs")
        return TrainedModel.load(path), results["rounds"][-1]


def _federation(directory: Path, pods: int, seed: int) -> SimulatedFederation:
    row = Row("iid", pods, seed)
    table = table_of(row)
    return create_federation(directory, [table.iloc[part] for part in parts_of(row, table)], CATEGORICAL, BOUNDS)


@lru_cache(maxsize=1)
def _tables(pods: int, seed: int) -> list[PodTable]:
    """Return the pods' tables, read; cases that share them follow each other."""
    with tempfile.TemporaryDirectory() as directory:
        tables = tables_of(_federation(Path(directory), pods, seed))
        for table in tables:
            table.schema()
        return tables


@lru_cache(maxsize=1)
def _test() -> Table:
    return Table.of(census("adult.test"))
