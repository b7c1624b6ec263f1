"""Ranks in a histogram: exact where its counts are, and as far off as is said where there is noise."""

import itertools

import numpy as np
import pandas as pd
import pytest

from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import LEVELS, VARIANCE, blocks_of, grid, statistics_of
from server.app.description_result import QUANTILES
from server.app.ranks import Ranks

GAIN = Column(name="gain", kind="continuous", low=0, high=2048)
AGE = Column(name="age", kind="continuous", low=0, high=128, integer=True)
YEARS = Column(name="years", kind="continuous", low=0, high=16, integer=True)
COLUMNS = (GAIN, AGE, YEARS)


def rows(size: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "gain": np.minimum(rng.gamma(0.7, 200, size), 2048),
            "age": rng.integers(17, 91, size),
            "years": np.clip(rng.normal(10, 3, size).round(), 0, 16),
        }
    )


def levels_of(table: pd.DataFrame, column: Column) -> list[np.ndarray]:
    from fl_app.tabular.cells import Table

    return next(iter(statistics_of(Table.of(table), (column,)).levels((column,))))


def noised(table: pd.DataFrame, column: Column, pods: int, rng: np.random.Generator) -> Ranks:
    sizes = blocks_of(len(grid(column)) - 1)
    levels = [
        counts + np.rint(rng.normal(0, (pods * LEVELS[size]) ** 0.5, len(counts))).astype(int)
        for counts, size in zip(levels_of(table, column), sizes, strict=True)
    ]
    return Ranks.of(column, levels, len(table) + rng.normal(0, (pods * VARIANCE) ** 0.5), pods)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_without_noise_ranks_are_exact(column: Column) -> None:
    table = rows(3000)
    values = table[column.name].to_numpy(float)
    ranks = Ranks.of(column, levels_of(table, column), len(table), 0)
    assert ranks.deviation == 0
    assert (ranks.below[:-1] == [(values < edge).sum() for edge in ranks.edges[:-1]]).all()
    for share, right in zip(QUANTILES, np.quantile(values, QUANTILES, method="inverted_cdf"), strict=True):
        if column.integer:
            assert ranks.quantile(share) == right
        else:
            cell = np.diff(ranks.edges)[np.searchsorted(ranks.edges, right, side="right") - 1]
            assert ranks.quantile(share) == pytest.approx(right, abs=cell)
    edges, counts = ranks.histogram(10)
    inside = [((values >= low) & (values < high)).sum() for low, high in itertools.pairwise(edges)]
    assert counts == inside
    assert 1 < len(counts) <= 10


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
@pytest.mark.parametrize("size", [0, 300, 20_000])
def test_noise_in_a_rank_is_what_is_said(column: Column, size: int) -> None:
    table, rng = rows(size), np.random.default_rng(1)
    values = table[column.name].to_numpy(float)
    true = np.array([(values < edge).sum() for edge in grid(column)])
    true[-1] = size
    runs = [noised(table, column, 2, rng) for _ in range(40)]
    off = np.array([ranks.below - true for ranks in runs])
    of_all = (2 * VARIANCE) ** 0.5
    assert off.std(axis=0).max() < 1.4 * (runs[0].deviation + of_all)  # of 40 runs, and of the worst of many edges
    assert off.std(axis=0).max() > 0.2 * runs[0].deviation
    assert np.abs(off.mean(axis=0)).max() < 1.2 * (runs[0].deviation + of_all)
    assert all((np.diff(ranks.below) >= 0).all() for ranks in runs)


def test_all_levels_together_know_more_than_single_cells() -> None:
    table, rng = rows(2000), np.random.default_rng(2)
    values = table["gain"].to_numpy()
    off, alone = [], []
    for _ in range(30):
        sizes = blocks_of(len(grid(GAIN)) - 1)
        exact = levels_of(table, GAIN)
        noise = [rng.normal(0, LEVELS[size] ** 0.5, len(c)) for c, size in zip(exact, sizes, strict=True)]
        levels = [np.rint(c + n).astype(int) for c, n in zip(exact, noise, strict=True)]
        middle = len(levels[-1]) // 2
        true = (values < grid(GAIN)[middle]).sum()
        off.append(Ranks.of(GAIN, levels, 2000, 1).below[middle] - true)
        alone.append(levels[-1][:middle].sum() - true)
    assert np.std(off) < np.std(alone) / 2
