"""Which private runs are made, and what else they are compared with."""

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.joining.federation import create_federation, run, tables_of
from benchmarks.joining.rows import CATEGORICAL, Row, census, parts_of, table_of
from benchmarks.joining.splits import TARGET
from benchmarks.privacy import dp_ebm, linear_gradient
from benchmarks.privacy.private_run import trained
from fl_app.config import RunConfig
from fl_app.privacy.plan import rounds_for
from fl_app.privacy.settings import Privacy
from fl_app.tabular.model_file import TrainedModel
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
    ("secure sum", 2, 1),
    ("each by itself", 2, 1),
)
"""Private runs: their kind, how many pods, and on how many of them each relies."""
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
            return RunConfig(**common, rounds=PLAIN_ROUNDS, optimizer=optimizer)
        # All pods must answer, or fewer could be relied on.
        privacy = Privacy(epsilon=self.epsilon, delta=DELTA)
        return RunConfig(**common, rounds=rounds_for(self.epsilon), privacy=privacy, threshold=self.pods)


def _cases(seed: int) -> list[Case]:
    """Return all that is trained with a seed."""
    private = [Case(kind, epsilon, pods, honest, seed) for kind, pods, honest in PRIVATE for epsilon in EPSILONS]
    others = [Case("DP-EBM", epsilon, 1, 1, seed) for epsilon in EPSILONS]
    return [*private, Case("no privacy", 0.0, 3, 0, seed), *others]


CASES = [case for seed in range(SEEDS) for case in _cases(seed)]


def measure(case: Case) -> Entry:
    """Train a case's model, and score it on the public test file."""
    torch.set_num_threads(1)  # as the pods do
    started = os.times()
    scores = dp_ebm.scores(case.epsilon, DELTA, case.seed, BOUNDS) if case.kind == "DP-EBM" else _run(case)
    return {"case": asdict(case), **scores, "seconds": round(sum(np.subtract(os.times(), started)[:4]), 1)}


def _run(case: Case) -> dict[str, Any]:
    row = Row("iid", case.pods, case.seed)
    table = table_of(row)
    tables = [table.iloc[part] for part in parts_of(row, table)]
    with tempfile.TemporaryDirectory() as directory:
        federation = create_federation(Path(directory), tables, CATEGORICAL, BOUNDS)
        if case.kind == "no privacy":
            results, path = run(case.config, federation, Path(directory) / "runs")
            model, reported = TrainedModel.load(path), results["rounds"][-1]
        else:
            # Noise that can be drawn again tells what it hides: here it hides a public table.
            noise = np.random.default_rng([case.seed, case.pods, case.honest, EPSILONS.index(case.epsilon)])
            drawn, quick = noise.bytes, linear_gradient.gradient
            model, reported = trained(case.config, tables_of(federation), case.honest, drawn, quick)
    metrics = model.evaluate(census("adult.test"))
    return {
        "auc": metrics["auc"],
        "accuracy": metrics["accuracy"],
        "reported": {name: reported[name] for name in ("auc", "accuracy")},
    }
