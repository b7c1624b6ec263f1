"""Which rows the study has, in the order in which they are trained: cheap ones first, and choices last."""

from dataclasses import replace
from typing import Any

from benchmarks.joining.rows import PACKAGED, Row
from benchmarks.joining.splits import SPLITS

SEEDS = 3
PODS = (2, 3, 5, 10)
# A pod with fewer rows makes fewer steps in an epoch; a higher rate makes up for it.
RATES = {2: 0.001, 3: 0.0015, 5: 0.002, 10: 0.003}
# Where a pod has one class only, or one kind of people, a whole epoch of its own leads astray: one step of plain
# descent a round makes the average the gradient over all rows, and the server takes Adam's step along it. Adam does not
# heed the gradient's scale; a rate of 100 lifts it clear of the float32 rounding of the parameters it is added to.
ONE_STEP: dict[str, Any] = {
    "rounds": 60,
    "local_epochs": None,
    "local_steps": 1,
    "optimizer": "SGD",
    "lr": 100.0,
    "lr_decay": 0.1,
    "strategy": "FedAdam",
    "strategy_params": {"eta": 0.005, "tau": 1e-4},
}


def _row(split: str, pods: int, seed: int) -> Row:
    if split == "dirichlet 0.1" or (split, pods) == ("by education", 10):
        return Row(split, pods, seed, batch_size=2048 // pods, **ONE_STEP)
    return Row(split, pods, seed, lr=RATES[pods])


def _grid(pods: int) -> list[Row]:
    return [_row(split, pods, seed) for seed in range(SEEDS) for split in SPLITS]


def _headline(seed: int) -> Row:
    return Row(PACKAGED, 2, seed, "tabm", rounds=10, lr=0.003, lr_pooled=0.001, min_bin_rows=1, alone=False)


def _choices() -> list[Row]:
    """Return settings that are weighed against those of the grid, which they differ from in one thing."""
    rows = []
    for split, pods in (("iid", 2), ("dirichlet 0.1", 2)):
        usual = Row(split, pods, lr=RATES[pods], only_federated=True)
        others: list[dict[str, Any]] = [
            {"rounds": 16},
            {"rounds": 4, "local_epochs": 2},
            {"strategy": "FedProx", "strategy_params": {"proximal_mu": 0.01}},
            {"strategy": "FedAvgM", "strategy_params": {"server_learning_rate": 1.0, "server_momentum": 0.5}},
            ONE_STEP | {"batch_size": 2048 // pods},
        ]
        rows += [usual, *(replace(usual, **other) for other in others)]
    easy = Row("iid", 2, only_federated=True)
    rows += [replace(easy, architecture=name) for name in ("periodic", "tutorial")]
    return rows + [replace(easy, min_bin_rows=least) for least in (1, 3, 10, 20)]


STUDY = [*map(_headline, range(SEEDS)), *(row for pods in PODS for row in _grid(pods)), *_choices()]
SMALL = Row("one large", 3, rounds=6, batch_size=64, rows=3000)
