import numpy as np
import pandas as pd
import pytest

from benchmarks.joining.splits import LEAST_ROWS, SMALL_POD, SPLITS, TARGET


def table(rows: int = 6000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"education-num": rng.integers(1, 17, rows), TARGET: rng.choice(["<=50K", ">50K"], rows)})


@pytest.mark.parametrize("pods", [2, 5])
@pytest.mark.parametrize("split", SPLITS)
def test_every_row_lies_with_one_pod(split: str, pods: int) -> None:
    parts = SPLITS[split](table(), pods, np.random.default_rng(1))
    assert len(parts) == pods
    assert sorted(np.concatenate(parts).tolist()) == list(range(6000))
    assert min(map(len, parts)) >= LEAST_ROWS


def test_splits_are_what_they_are_called() -> None:
    rows, rng = table(), np.random.default_rng(1)
    years = [rows["education-num"].to_numpy()[part] for part in SPLITS["by education"](rows, 3, rng)]
    assert years[0].max() <= years[1].min()
    assert years[1].max() <= years[2].min()
    assert [len(part) for part in SPLITS["one large"](rows, 4, rng)] == [6000 - 3 * SMALL_POD, *[SMALL_POD] * 3]

    def unlikeness(split: str) -> float:
        shares = []
        for seed in range(20):
            parts = SPLITS[split](rows, 3, np.random.default_rng(seed))
            shares.append(np.std([(rows[TARGET].to_numpy()[part] == ">50K").mean() for part in parts]))
        return float(np.mean(shares))

    assert unlikeness("iid") < unlikeness("dirichlet 0.5") < unlikeness("dirichlet 0.1")
