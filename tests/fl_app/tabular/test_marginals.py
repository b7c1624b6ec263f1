import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fl_app.tabular.cells import Table
from fl_app.tabular.encoding import Encoding, features_of, statistic_sums
from fl_app.tabular.label_counts import label_sums
from fl_app.tabular.marginals import Marginals, edges_of, marginals_of, size_of
from fl_app.tabular.schema import schema_of

from .tables import TARGET, shop

FRAME = shop(4000)
SCHEMA = schema_of(FRAME, name="shop")
COLUMNS = features_of(SCHEMA, TARGET)


def counted(frame: pd.DataFrame) -> np.ndarray:
    return marginals_of(Table.of(frame), COLUMNS)


def marginals(frame: pd.DataFrame, deviation: float = 0.0, noise: float = 0.0) -> Marginals:
    labels = label_sums(Table.of(frame), SCHEMA.column("bought"))
    rng = np.random.default_rng(0)
    sums, rows = (part + np.round(rng.normal(0, noise, part.shape)) for part in (counted(frame), labels))
    return Marginals.from_sums(sums, rows, COLUMNS, deviation)


def test_a_row_is_in_one_count_of_each_column_whatever_its_values() -> None:
    strange = pd.DataFrame(
        {
            "age": [np.nan, 1e300, -5.0],
            "gift": [0, 70000, -1],
            "town": ["Ulm", None, "Bonn"],
            "colour": ["red", "", "x"],
        }
    ).assign(bought="no")
    for frame in (FRAME.head(50), strange):
        parts = np.split(counted(frame), np.cumsum([size_of(column) for column in COLUMNS])[:-1])
        assert [int(part.sum()) for part in parts] == [len(frame)] * len(COLUMNS)
        assert all(part.min() >= 0 for part in parts)


def test_counts_of_two_tables_are_those_of_both() -> None:
    assert_array_equal(counted(FRAME[:900]) + counted(FRAME[900:]), counted(FRAME))


def test_bins_hold_enough_rows_and_follow_the_values() -> None:
    encoding = marginals(FRAME).encoding(SCHEMA, TARGET, least_rows=40)
    rows = encoding.encode(FRAME)
    for place, column in enumerate(encoding.continuous):
        bins = np.bincount(rows.bins[:, place], minlength=encoding.bin_counts[place])
        assert bins[0] == FRAME[column.name].isna().sum()
        assert bins[1:].min() >= 40
        assert len(bins) > 3
    # The few amounts that a column nearly always zero has are in bins of their own.
    gifts = np.unique(rows.bins[FRAME["gift"].to_numpy() > 0, 1], return_counts=True)[1]
    assert len(gifts) == 3


def test_mean_and_deviation_are_near_those_of_the_exact_statistics() -> None:
    exact = Encoding.of(SCHEMA, TARGET, statistic_sums(FRAME, SCHEMA, TARGET)).normalisation
    near = marginals(FRAME).encoding(SCHEMA, TARGET, least_rows=5).normalisation
    assert_allclose(near.mean, exact.mean, rtol=0.1)
    assert_allclose(near.std, exact.std, rtol=0.2)


def test_with_noise_the_bins_are_wider_and_hardly_any_is_empty() -> None:
    plain = marginals(FRAME).encoding(SCHEMA, TARGET, least_rows=5)
    noisy = marginals(FRAME, deviation=30.0, noise=30.0).encoding(SCHEMA, TARGET, least_rows=5)
    assert sum(noisy.bin_counts) < sum(plain.bin_counts)
    bins = noisy.encode(FRAME).bins
    empty = sum(
        int((np.bincount(bins[:, place], minlength=codes)[1:] == 0).sum())
        for place, codes in enumerate(noisy.bin_counts)
    )
    assert empty <= 2


def test_counts_by_code_are_those_of_the_encoded_rows() -> None:
    made = marginals(FRAME)
    encoding = made.encoding(SCHEMA, TARGET, least_rows=40)
    rows = encoding.encode(FRAME)
    numbers, categories = made.by_code(encoding)
    for counts, codes, sizes in (
        (numbers, rows.bins, encoding.bin_counts),
        (categories, rows.codes, encoding.cardinalities),
    ):
        expected = [np.bincount(codes[:, place], minlength=size) for place, size in enumerate(sizes)]
        assert_array_equal(counts, np.concatenate(expected))


def test_noise_alone_makes_a_usable_encoding() -> None:
    nothing = marginals(FRAME.head(0), deviation=20.0, noise=20.0)
    assert nothing.rows >= 1
    encoding = nothing.encoding(SCHEMA, TARGET, least_rows=5)
    assert np.isfinite([*encoding.normalisation.mean, *encoding.normalisation.std]).all()
    assert min(encoding.normalisation.std) > 0
    assert len(encoding.encode(FRAME)) == len(FRAME)


@pytest.mark.parametrize("name", ["age", "gift"])
def test_the_blocks_of_a_number_cover_its_bounds(name: str) -> None:
    column = SCHEMA.column(name)
    edges = edges_of(column)
    assert edges[0] <= column.bounds[0]
    assert edges[-1] >= column.bounds[1]
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= 257
