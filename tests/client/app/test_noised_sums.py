"""A pod's share of the noise: its distribution in the sum, what it hides, and what it has nothing to do with."""

from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from scipy import stats

from client.app.noised_sums import noised
from fl_app.secagg.noise import RandomBytes
from fl_app.tabular.label_counts import LABELS, LabelCounts
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import (
    HISTOGRAM,
    LEVELS,
    MOMENTS,
    NOISE_TAIL,
    VARIANCE,
    Statistics,
    blocks_of,
    grid,
    histogram_variances,
)

P_VALUE = 1e-6
COLUMNS = tuple(
    Column(name=f"x{k}", kind="continuous", low=0, high=high, integer=integer)
    for k, (high, integer) in enumerate([(4, False), (1000, True), (90, True), (8, True)] * 5)
)
LABEL_COUNTS = np.array([0, 3, 40, 1000])


def stream(number: int) -> RandomBytes:
    cipher = Cipher(AES256(number.to_bytes(32, "big")), CTR(bytes(16))).encryptor()
    return lambda size: cipher.update(bytes(size))


def none() -> Statistics:
    return Statistics.zeros(COLUMNS)


def shares(pods: int, minimum_cohort: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The noise alone, summed over so many pods without rows."""
    parts = [
        noised(none(), COLUMNS, np.zeros(2000, dtype=np.int64), minimum_cohort, stream(100 * seed + pod))
        for pod in range(pods)
    ]
    total = {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}
    return {name: values - (0 if name == MOMENTS else NOISE_TAIL * pods) for name, values in total.items()}


def is_gaussian(values: np.ndarray, variance: float) -> bool:
    """Whether the values may have mean 0 and this variance: a chi-square test of their squares."""
    low, high = stats.chi2.ppf([P_VALUE / 2, 1 - P_VALUE / 2], len(values))
    sure = low < float((values.astype(float) ** 2).sum() / variance) < high
    return sure and abs(values.mean()) < 5 * (variance / len(values)) ** 0.5


@pytest.mark.parametrize(("pods", "minimum_cohort"), [(2, 2), (3, 3), (3, 2), (10, 3), (4, 7)])
def test_without_the_share_of_a_curious_pod_the_noise_is_still_what_is_wanted(pods: int, minimum_cohort: int) -> None:
    """With ``minimum_cohort`` pods: the noise of all but one has exactly the variance; with more it has more."""
    others = shares(pods - 1, minimum_cohort)
    factor = Fraction(pods - 1, minimum_cohort - 1)
    variances = histogram_variances(COLUMNS)
    for variance in set(LEVELS.values()):
        assert is_gaussian(others[HISTOGRAM][variances == variance], float(factor * variance))
    assert is_gaussian(others[MOMENTS], float(factor * VARIANCE))
    assert is_gaussian(others[LABELS], float(factor * VARIANCE))
    # Such a test finds half the variance.
    assert not is_gaussian(others[HISTOGRAM][variances == LEVELS[1]], float(2 * factor * LEVELS[1]))


def test_all_levels_together_tell_as_much_as_one_count() -> None:
    assert sum(Fraction(1, variance) for variance in LEVELS.values()) == Fraction(1, VARIANCE)
    cells = [len(grid(column)) - 1 for column in COLUMNS]
    assert len(histogram_variances(COLUMNS)) == sum(-(-n // size) for n in cells for size in blocks_of(n))
    assert len(none().histogram) == len(histogram_variances(COLUMNS))


def test_the_noise_has_nothing_to_do_with_the_rows() -> None:
    full = Statistics(none().moments + 7, none().histogram + np.arange(len(none().histogram)) % 50)
    one = noised(none(), COLUMNS, LABEL_COUNTS * 0, 3, stream(1))
    other = noised(full, COLUMNS, LABEL_COUNTS, 3, stream(1))
    assert (other[HISTOGRAM] - one[HISTOGRAM] == full.histogram).all()
    assert (other[MOMENTS] - one[MOMENTS] == 7).all()
    assert (other[LABELS] - one[LABELS] == LABEL_COUNTS).all()
    # In units of its own deviation: else the few cells with the most noise would make almost all of the correlation.
    deviations = histogram_variances(COLUMNS) ** 0.5
    system = [(noised(none(), COLUMNS, LABEL_COUNTS, 3)[HISTOGRAM] - NOISE_TAIL) / deviations for _ in range(2)]
    assert stats.pearsonr(*system).pvalue > P_VALUE
    assert stats.pearsonr(system[0], system[0] + system[1]).pvalue < P_VALUE


def test_what_leaves_is_whole_so_that_nothing_stands_behind_the_point() -> None:
    """Noise in integers on a sum of 12.3718 would leave .3718: one row's value, to whoever knows the rest."""
    rows = Statistics(none().moments + np.array([0.3718, 0.5, 2.0]), none().histogram)
    exact = noised(none(), COLUMNS, LABEL_COUNTS, 3, stream(2))[MOMENTS]
    told = noised(rows, COLUMNS, LABEL_COUNTS, 3, stream(2))[MOMENTS]
    assert told.dtype == np.int64
    assert (told - exact).reshape(-1, 3).tolist() == [[0, 1, 2]] * len(COLUMNS)
    moved = np.floor(np.arange(-20, 20, 0.01) + 1 + 0.5) - np.floor(np.arange(-20, 20, 0.01) + 0.5)
    assert set(moved.tolist()) == {1.0}  # rounded so, a row moves a sum by one at most


@pytest.mark.parametrize("minimum_cohort", [2, 3, 1000])
def test_counts_that_leave_are_within_the_declared_bounds(minimum_cohort: int) -> None:
    parts = noised(none(), COLUMNS, LABEL_COUNTS, minimum_cohort)
    for name in (HISTOGRAM, LABELS):
        assert parts[name].min() >= 0
        assert parts[name].max() <= 1000 + 2 * NOISE_TAIL
    # exp(-tail^2 / 2 variance) bounds the probability of more, on either side
    assert 2 * np.exp(-(NOISE_TAIL**2) / (2 * max(LEVELS.values()))) < 2.0**-250


def test_sums_are_read_without_what_counts_were_raised_by() -> None:
    full = Statistics(none().moments + 1000, none().histogram + 500)
    parts = [noised(full, COLUMNS, LABEL_COUNTS, 3, stream(pod)) for pod in range(3)]
    total = {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}
    read = Statistics.from_sums(total, 3)
    assert read.pods == 3
    assert abs(read.histogram.mean() - 1500) < 1
    assert abs(read.moments.mean() - 3000) < 3
    labels = LabelCounts.from_sums(total[LABELS], 3)
    assert labels.unpublished == labels.missing == 0
    assert labels.classes[1] == pytest.approx(3000, abs=40)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_cell_of_few_rows_cannot_be_told_from_an_empty_one(rows: int) -> None:
    """The best guess, from all levels and with one of three pods colluding, whether ``rows`` are in a cell.

    Its advantage over tossing a coin is what the normal distribution says for noise of `VARIANCE`: 13% for one row.
    """
    empty, held = [], []
    for seed in range(4):
        noise = shares(2, 3, seed)[HISTOGRAM]
        at = 0
        for column in COLUMNS:
            cells = len(grid(column)) - 1
            sizes = blocks_of(cells)
            if len(sizes) < 3:
                at += sum(-(-cells // size) for size in sizes)
                continue
            levels = []
            for size in sizes:
                levels.append(noise[at : at + -(-cells // size)])
                at += -(-cells // size)
            # Evidence of rows that lie alone in their largest block: each level's count over its variance.
            for cell in range(0, cells, 256):
                seen = [level[cell // size] / LEVELS[size] for level, size in zip(levels, sizes, strict=True)]
                empty.append(sum(seen))
                held.append(sum(seen) + sum(rows / LEVELS[size] for size in sizes))
    middle = rows / VARIANCE / 2
    right = (np.mean(np.array(empty) < middle) + np.mean(np.array(held) >= middle)) / 2
    best = stats.norm.cdf(rows / VARIANCE**0.5 / 2)
    assert right == pytest.approx(best, abs=5 * (0.5 / len(empty)) ** 0.5)
    assert best < 0.65
