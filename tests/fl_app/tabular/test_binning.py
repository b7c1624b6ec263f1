"""Bins and codes of exact counts, and of counts with noise: what is cut, where nothing is, and how surely."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fl_app.tabular.binning import MARGIN, MAX_BINS, Blocks, mean_and_std, merge_cells, resolve, value_codes
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import LEVELS, VARIANCE, blocks_of, cell_of, grid

counts = st.lists(st.integers(0, 40), min_size=2, max_size=60)
PODS = 3


def exact(edges: np.ndarray, held: np.ndarray) -> Blocks:
    return Blocks(edges, held, np.zeros(len(held), dtype=np.int64))


def noisy(held: np.ndarray, seed: int, pods: int = PODS) -> tuple[list[np.ndarray], np.ndarray]:
    """The levels of a histogram of cells with the noise of so many pods, each of which adds all of it; and edges."""
    rng = np.random.default_rng(seed)
    levels = [np.add.reduceat(held, np.arange(0, len(held), size)) for size in blocks_of(len(held))]
    sizes = blocks_of(len(held))
    spread = [math.sqrt(pods * LEVELS[size]) for size in sizes]
    drawn = [np.rint(rng.normal(0, s, len(level))).astype(np.int64) for s, level in zip(spread, levels, strict=True)]
    return [level + noise for level, noise in zip(levels, drawn, strict=True)], np.arange(len(held) + 1.0)


def rows_in(bins: tuple[float, ...], held: np.ndarray) -> np.ndarray:
    """The rows in each bin, where cell k holds the value k + 1/2."""
    places = cell_of(np.arange(len(held)) + 0.5, np.array(bins))
    return np.bincount(places, weights=held, minlength=len(bins) - 1)


@given(counts, st.integers(1, 30))
def test_bins_are_ascending_and_hold_enough_rows(cells: list[int], least: int) -> None:
    edges, held = np.arange(len(cells) + 1.0), np.array(cells)
    bins = np.array(merge_cells(exact(edges, held), least))
    assert bins[0] == edges[0]
    assert bins[-1] == edges[-1]
    assert (np.diff(bins) > 0).all()
    rows = np.bincount(cell_of(np.repeat(edges[:-1] + 0.5, held), bins), minlength=len(bins) - 1)
    assert rows.sum() == held.sum()
    assert len(rows) == 1 or rows.min() >= least


def test_bins_follow_distinct_values_and_are_limited_in_number() -> None:
    mostly_zero = np.array([10_000, 0, 0, 12, 0, 30, 3])
    assert merge_cells(exact(np.arange(8.0), mostly_zero), 10) == (0.0, 2.0, 4.5, 7.0)
    many = merge_cells(exact(np.arange(4097.0), np.full(4096, 50)), 10)
    assert len(many) - 1 == MAX_BINS


def test_a_value_with_enough_rows_is_a_category_of_its_own() -> None:
    edges = np.arange(7.0)
    cells, codes = value_codes(exact(edges, np.array([3, 50, 2, 0, 40, 4])), min_rows=5)
    coded = [codes[cell] for cell in cell_of(edges[:-1] + 0.5, np.array(cells))]
    assert coded[1] == 1
    assert coded[4] == 2
    assert coded[0] == coded[2] == 3  # rare values share one, around the common value between them
    assert coded[5] in (3, 4)
    assert cells[0] == 0
    assert cells[-1] == 6


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 12))
def test_no_code_stands_for_fewer_rows_than_asked(counts: list[int], least: int) -> None:
    rows = np.array(counts)
    edges = np.arange(len(rows) + 1.0)
    cells, codes = value_codes(exact(edges, rows), least)
    assert list(cells) == sorted(set(cells))
    coded = np.array(codes)[cell_of(edges[:-1] + 0.5, np.array(cells))]
    totals = np.bincount(coded, weights=rows)
    assert all(total >= min(least, rows.sum()) for total in totals if total)


def test_a_column_of_many_values_keeps_few_codes() -> None:
    edges = np.arange(3001.0)
    _, codes = value_codes(exact(edges, np.full(3000, 20)), 5)
    assert max(codes) <= 2 * MAX_BINS


def test_levels_are_opened_where_rows_are_and_cover_the_grid_once() -> None:
    held = np.zeros(4096, dtype=np.int64)
    held[1000:1010] = 500
    levels, edges = noisy(held, seed=1)
    blocks = resolve(edges, levels, PODS, 10)
    assert_array_equal(blocks.edges[[0, -1]], [0, 4096])
    assert (np.diff(blocks.edges) > 0).all()
    assert set(np.diff(blocks.edges).tolist()) == {1.0, 16.0, 256.0}
    assert_array_equal(blocks.variances, [PODS * LEVELS[int(size)] for size in np.diff(blocks.edges)])
    for cell in range(1000, 1010):
        assert {float(cell), cell + 1.0} <= set(blocks.edges.tolist())
    # Far fewer counts are left to add their noise up than the grid has cells.
    assert len(blocks.counts) < 4096 / 3


def test_exact_counts_are_resolved_wherever_enough_rows_are() -> None:
    held = np.zeros(300, dtype=np.int64)
    held[[7, 8, 290]] = [4, 30, 3]
    levels = [np.add.reduceat(held, np.arange(0, 300, size)) for size in blocks_of(300)]
    blocks = resolve(np.arange(301.0), levels, 0, 10)
    assert blocks.counts.sum() == 37
    assert blocks.variances.sum() == 0
    assert {7.0, 8.0, 9.0} <= set(blocks.edges.tolist())  # the block with enough rows is open
    assert set(blocks.edges[blocks.edges >= 256].tolist()) == {256.0, 300.0}  # that with three is whole


@pytest.mark.parametrize("seed", range(20))
def test_empty_cells_do_not_add_up_to_rows(seed: int) -> None:
    """A thousand cells of noise whose negative counts were taken for none would seem to hold thousands of rows."""
    held = np.zeros(4096, dtype=np.int64)
    held[:40] = 100
    levels, edges = noisy(held, seed)
    bins = merge_cells(resolve(edges, levels, PODS, 10), 10)
    far = [edge for edge in bins if edge > 100]
    # What noise alone passes for: one count in ten of a whole block, at 1.25 deviations and ten rows.
    assert len(far) < 0.02 * 4096
    lone = value_codes(resolve(edges, levels, PODS, 10), 10)
    assert max(lone[1]) < 40 + 0.04 * 4096
    near = resolve(edges, levels, PODS, 10).counts[:40]
    assert abs(int(near.sum()) - 4000) < 6 * math.sqrt(40 * PODS * LEVELS[1])


def test_bins_of_noised_counts_hold_the_rows_they_should() -> None:
    """Of a column like the census' capital gains: over many draws, few bins that hold rows hold fewer than ten."""
    rng = np.random.default_rng(0)
    held = np.zeros(4096, dtype=np.int64)
    held[rng.choice(3000, 100, replace=False)] = rng.integers(1, 60, 100)
    few = total = 0
    for seed in range(40):
        levels, edges = noisy(held, seed)
        rows = rows_in(merge_cells(resolve(edges, levels, PODS, 10), 10), held)
        few += int(((rows > 0) & (rows < 10)).sum())
        total += int((rows >= 10).sum())
    assert total > 40 * 20
    assert few < 0.2 * total


@pytest.mark.parametrize(("rows", "most"), [(0, 0.007), (3, 0.02), (5, 0.035)])
def test_a_value_of_few_rows_is_alone_no_more_often_than_noise_makes_it(rows: int, most: float) -> None:
    threshold = 10 + MARGIN * math.sqrt(PODS * LEVELS[1])
    noise = np.rint(np.random.default_rng(3).normal(0, math.sqrt(PODS * LEVELS[1]), 100_000)).astype(np.int64)
    blocks = Blocks(np.arange(100_001.0), rows + noise, np.full(100_000, PODS * LEVELS[1]))
    share = blocks.full(10).mean()
    assert share == ((rows + noise) >= threshold).mean()
    assert share < most


def test_a_bin_is_sure_of_its_rows_if_a_run_in_it_is() -> None:
    """Empty cells before a full one neither hide it nor hold up the cut."""
    held = np.array([-9, 4, -12, 3, 60, -5, 2, 70])
    blocks = Blocks(np.arange(9.0), held, np.full(8, PODS * LEVELS[1]))
    assert merge_cells(blocks, 10) == (0.0, 5.0, 8.0)
    short = Blocks(np.arange(9.0), np.array([-9, 4, -12, 3, 60, -5, 2, 7]), blocks.variances)
    assert merge_cells(short, 10) == (0.0, 8.0)  # too few are left for a bin of their own


YEAR = Column(name="year", kind="continuous", low=0, high=2048, integer=True)
RATIO = Column(name="ratio", kind="continuous", low=0, high=4)


def normalised(column: Column, numbers: np.ndarray, seed: int, pods: int = 2) -> tuple[float, float]:
    edges = grid(column)
    held = np.bincount(cell_of(numbers, edges), minlength=len(edges) - 1)
    levels, _ = noisy(held, seed, pods)
    low, high = column.bounds
    u = (numbers - (low + high) / 2) / ((high - low) / 2)
    noise = np.random.default_rng(seed).normal(0, math.sqrt(pods * VARIANCE), 3)
    moments = np.rint(np.array([u.sum(), (u * u).sum(), len(u)]) + noise).tolist()
    return mean_and_std(column, moments, edges, levels, pods)


@pytest.mark.parametrize("seed", range(20))
def test_a_tables_mean_and_deviation_survive_the_noise(seed: int) -> None:
    numbers = np.random.default_rng(seed).normal(2.4, 0.7, 5000).clip(0, 4)
    mean, std = normalised(RATIO, numbers, seed)
    assert mean == pytest.approx(numbers.mean(), abs=0.05 * numbers.std())
    assert std == pytest.approx(numbers.std(), rel=0.05)


@pytest.mark.parametrize("seed", range(20))
def test_a_column_far_from_the_middle_of_its_bounds_is_found_by_its_blocks(seed: int) -> None:
    """Years from 1990 to 2020 within 0 to 2048: their variance is less than the noise of the moments."""
    numbers = np.random.default_rng(seed).integers(1990, 2021, 2000).astype(float)
    mean, std = normalised(YEAR, numbers, seed)
    assert mean == pytest.approx(numbers.mean(), abs=0.3 * numbers.std())
    assert std == pytest.approx(numbers.std(), rel=0.5)


def test_few_rows_that_are_mostly_zero_are_not_taken_for_all_alike() -> None:
    """Their deviation was 1e-6 in one of six draws of the noise, and every other number was 100,000 of them."""
    share = Column(name="share", kind="continuous", low=0, high=1)
    for seed in range(200):
        numbers = np.random.default_rng(seed).choice([0.0, 0.5, 1.0], 210, p=[0.85, 0.1, 0.05])
        mean, std = normalised(share, numbers, seed)
        assert abs(mean) < 0.3
        assert 0.05 < std < 0.5


@pytest.mark.parametrize("rows", [0, 1, 5, 30, 100])
@pytest.mark.parametrize("column", [YEAR, RATIO])
def test_few_rows_still_give_a_scale(column: Column, rows: int) -> None:
    low, high = column.bounds
    for seed in range(50):
        numbers = np.random.default_rng(seed).uniform(0.6 * high, 0.7 * high, rows)
        mean, std = normalised(column, numbers, seed)
        assert low <= mean <= high
        assert 0.01 * (high - low) < std <= high - low


def test_exact_sums_give_the_exact_mean_and_deviation() -> None:
    edges, levels = np.array([0.0, 1.0, 4.0]), [np.array([2, 0])]
    assert mean_and_std(RATIO, [0.0, 0.5, 2], edges, levels, 0) == (2.0, 1.0)
    assert mean_and_std(RATIO, [-2.0, 2.0, 2], edges, levels, 0) == (0.0, 1.0)  # all alike
    assert mean_and_std(RATIO, [0.0, 0.0, 0], edges, levels, 0) == (2.0, 1.0)
