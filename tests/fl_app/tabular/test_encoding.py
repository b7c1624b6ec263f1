import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fl_app.errors import DataError
from fl_app.tabular.cells import Table
from fl_app.tabular.combining import combine
from fl_app.tabular.encoding import (
    FIRST_VALUE,
    MISSING,
    UNKNOWN,
    Encoding,
    statistic_sums,
    summed_columns,
)
from fl_app.tabular.schema import Column, Schema, schema_of
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import GRID_CELLS, Statistics, blocks_of, cell_of, grid, statistics_of

from .tables import TARGET, encoding_of, shop

numbers = st.floats(-1e6, 1e6) | st.integers(-100, 100).map(float)


def column(low: float, high: float, *, integer: bool = False) -> Column:
    return Column(name="x", kind="continuous", low=low, high=high, integer=integer)


@given(st.lists(numbers, min_size=1), st.lists(numbers, min_size=1), st.booleans())
def test_sums_over_pods_normalise_as_the_pooled_rows_do(first: list[float], second: list[float], gaps: bool) -> None:
    frames = [pd.DataFrame({"x": [*part, *([None] if gaps else [])], "t": "a"}) for part in (first, second)]
    pooled = np.array([*first, *second])
    schema = schema_of(pd.concat(frames), name="p", force_stypes={"continuous": ["x"]})
    columns = (schema.column("x"),)
    parts = [statistics_of(Table.of(frame), columns) for frame in frames]
    total, whole = parts[0] + parts[1], statistics_of(Table.of(pd.concat(frames)), columns)
    assert_array_equal(total.histogram, whole.histogram)
    assert_allclose(total.moments, whole.moments, rtol=1e-12, atol=1e-9)
    assert np.abs(total.moments).max() <= len(pooled)
    cells = len(grid(columns[0])) - 1
    assert [int(level.sum()) for level in next(total.levels(columns))] == [len(pooled)] * len(blocks_of(cells))

    schema = Schema(name="p", columns=(*columns, Column(name="t", kind="categorical", values=("a", "b"))))
    normalisation = Encoding.of(schema, DataStructure(target="t"), total).normalisation
    _, high = columns[0].bounds
    assert_allclose(normalisation.mean, [pooled.mean()], rtol=1e-9, atol=1e-9 * high)
    if pooled.std() > 1e-3 * high:
        assert_allclose(normalisation.std, [pooled.std()], rtol=1e-6)


def test_federated_normalisation_is_the_pooled_one() -> None:
    pods = [shop(500, seed=1), shop(300, seed=2)]
    schema = combine([schema_of(frame, name=name) for frame, name in zip(pods, "ab", strict=True)])
    total = statistic_sums(pods[0], schema, TARGET) + statistic_sums(pods[1], schema, TARGET)
    pooled = pd.concat(pods)[["age", "gift"]]
    normalisation = Encoding.of(schema, TARGET, total).normalisation
    assert_allclose(normalisation.mean, pooled.mean(), rtol=1e-9)
    assert_allclose(normalisation.std, pooled.std(ddof=0), rtol=1e-9)


def test_statistics_travel_as_flat_arrays_whose_layout_the_schema_gives() -> None:
    frame = shop()
    schema = schema_of(frame, name="a")
    statistics = statistic_sums(frame, schema, TARGET)
    layout = Statistics.zeros(summed_columns(schema, TARGET)).arrays()
    arrays = statistics.arrays()
    assert [(k, v.shape, v.dtype) for k, v in arrays.items()] == [(k, v.shape, v.dtype) for k, v in layout.items()]
    back = Statistics.from_sums({name: values.astype(np.float64) + 1e-7 for name, values in arrays.items()})
    assert_array_equal(back.histogram, statistics.histogram)
    assert_allclose(back.moments, statistics.moments, atol=1e-6)


@given(numbers, numbers, st.booleans())
def test_a_grid_covers_the_bounds_in_a_limited_number_of_cells(one: float, other: float, integer: bool) -> None:
    low, high = sorted((one, other))
    if high - low < 1e-6:
        return
    if integer:
        low, high = np.floor(low), np.ceil(high)
    edges = grid(column(low, high, integer=integer))
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= low
    assert edges[-1] >= high
    assert 1 <= len(edges) - 1 <= GRID_CELLS + 1


def test_an_integer_column_of_small_range_has_a_cell_for_each_value() -> None:
    edges = grid(column(-2, 4, integer=True))
    assert_array_equal(cell_of(np.arange(-2.0, 5), edges), np.arange(7))


def test_a_skewed_column_keeps_neighbouring_values_apart() -> None:
    edges = grid(column(0, 131072, integer=True))
    values = np.array([0, 114, 594, 2174, 3103, 3137, 5013, 5178, 7298, 7443, 7688, 14084, 15024, 99999], dtype=float)
    assert len(set(cell_of(values, edges))) == len(values)


def test_encoding_marks_unknown_and_missing() -> None:
    frame = shop()
    encoding = encoding_of(frame)
    row = {"age": None, "gift": 0, "town": "Ulm", "colour": None, "bought": "yes"}
    encoded = encoding.encode(pd.DataFrame([row, row | {"age": 40.0, "town": "Bonn", "colour": "?"}]))
    assert_array_equal(encoded.codes, [[UNKNOWN, MISSING], [FIRST_VALUE + 1, MISSING]])
    assert encoded.numbers[0, 0] == 0
    assert encoded.bins[0, 0] == 0
    assert encoded.bins.min(axis=0).tolist() == [0, 1]
    assert_allclose(encoded.numbers[1, 0], (40 - frame["age"].mean()) / frame["age"].std(ddof=0), rtol=1e-6)
    assert encoded.labels is not None
    assert encoded.labels.tolist() == [1, 1]
    parts = (encoded.numbers, encoded.bins, encoded.codes, encoded.labels)
    assert [part.dtype.name for part in parts] == ["float32", "int8", "int8", "int8"]


@pytest.mark.parametrize(("values", "kept"), [(126, "int8"), (127, "int16"), (32_766, "int16"), (32_767, "int32")])
def test_codes_are_kept_in_the_smallest_type_that_holds_them(values: int, kept: str) -> None:
    towns = [f"t{place:05}" for place in range(values)]
    frame = pd.DataFrame({"town": towns, "bought": np.where(np.arange(values) % 2, "yes", "no")})
    schema = schema_of(frame, name="shop", min_count=1)
    encoding = Encoding.of(schema, TARGET, statistic_sums(frame, schema, TARGET))
    encoded = encoding.encode(frame)
    assert encoded.codes.dtype.name == kept
    assert encoded.codes[:, 0].tolist() == list(range(FIRST_VALUE, FIRST_VALUE + values))


@given(st.lists(st.tuples(st.sampled_from(["Aachen", "Bonn", "Celle"]), st.sampled_from(["red", "blue"]))))
def test_codes_give_the_values_back(rows: list[tuple[str, str]]) -> None:
    encoding = encoding_of(shop())
    frame = pd.DataFrame(rows, columns=["town", "colour"], dtype=object).assign(age=1.0, gift=2)
    codes = encoding.encode(frame, with_labels=False).codes
    decoded = [
        tuple(column.values[code - FIRST_VALUE] for column, code in zip(encoding.categorical, row, strict=True))
        for row in codes
    ]
    assert decoded == rows


def test_rows_without_a_published_label_are_dropped_and_counted() -> None:
    frame = shop(100)
    encoding = encoding_of(frame)
    spoiled = frame.assign(bought=pd.Series(["maybe", None, "?", *frame["bought"][3:]], dtype=object))
    encoded = encoding.encode(spoiled)
    assert encoded.dropped == 3
    assert encoded.labels is not None
    assert_array_equal(encoding.labels_of(spoiled), [-1, -1, -1, *encoded.labels])
    assert_array_equal(encoded.codes, encoding.encode(frame).codes[3:])
    assert len(encoding.encode(spoiled, with_labels=False)) == 100


def test_numbers_outside_the_public_bounds_count_as_the_bound() -> None:
    encoding = encoding_of(shop())
    frame = shop(2).assign(age=[1e9, 128.0])
    encoded = encoding.encode(frame)
    assert encoded.numbers[0, 0] == encoded.numbers[1, 0]
    assert encoded.bins[0, 0] == encoded.bins[1, 0]


def test_an_absent_column_is_all_missing_if_optional_and_an_error_if_not() -> None:
    frame = shop()
    with pytest.raises(DataError, match="no column 'age'"):
        encoding_of(frame).encode(frame.drop(columns="age"))
    schemas = [
        schema_of(frame, name="a", optional=["age", "town"]),
        schema_of(frame.drop(columns=["age", "town"]), name="b"),
    ]
    schema = combine(schemas)
    lacking = frame.drop(columns=["age", "town"])
    encoding = Encoding.of(
        schema, TARGET, statistic_sums(frame, schema, TARGET) + statistic_sums(lacking, schema, TARGET)
    )
    encoded = encoding.encode(lacking)
    assert (encoded.numbers[:, 0] == 0).all()
    assert (encoded.bins[:, 0] == 0).all()
    assert (encoded.codes[:, 0] == MISSING).all()


def test_a_column_that_never_varies_or_is_empty_is_harmless() -> None:
    frame = shop().assign(same=7.0, empty=np.nan)
    encoded = encoding_of(frame).encode(frame)
    assert np.isfinite(encoded.numbers).all()
    assert_array_equal(encoded.numbers[:, 2:], 0)


def test_json_round_trip_encodes_alike() -> None:
    frame = shop()
    encoding = encoding_of(frame)
    back = Encoding.from_json(encoding.to_json())
    assert back == encoding
    one, other = encoding.encode(frame), back.encode(frame)
    assert_array_equal(one.numbers, other.numbers)
    assert_array_equal(one.bins, other.bins)


@given(st.binary() | st.text())
def test_arbitrary_json_raises_only_our_error(junk: bytes | str) -> None:
    with pytest.raises(DataError):
        Encoding.from_json(junk)


def test_a_normalisation_of_another_table_is_refused() -> None:
    text = encoding_of(shop()).to_json()
    with pytest.raises(DataError, match="expected 2"):
        Encoding.from_json(text.replace('"mean":[', '"mean":[1.0,', 1))


def test_codes_of_bins_are_those_of_the_normalisation() -> None:
    frame = shop()
    encoding = encoding_of(frame)
    bins = encoding.encode(frame).bins
    assert (bins.max(axis=0) < encoding.bin_counts).all()
    gift = frame["gift"].to_numpy()
    assert len({bins[gift == value][0, 1] for value in np.unique(gift)}) == len(np.unique(gift))


def test_a_code_that_would_cost_memory_is_refused() -> None:
    encoding = encoding_of(shop())
    largest = str(max(encoding.normalisation.codes[0]))
    with pytest.raises(DataError, match="needs a code, from 1 to"):
        Encoding.from_json(encoding.to_json().replace(f",{largest}]", ",150000000]", 1))


def test_rows_stand_in_their_places_whichever_have_labels() -> None:
    frame = shop(60)
    encoding, left_out = encoding_of(frame), [0, 5, 59]
    every, _ = encoding.encode(frame).in_place()
    frame.loc[left_out, "bought"] = [None, "perhaps", None]
    whole, places = encoding.encode(frame).in_place()
    assert places.tolist() == [place for place in range(60) if place not in left_out]
    for name in ("numbers", "bins", "codes", "labels"):
        assert len(getattr(whole, name)) == len(frame)
        assert_array_equal(getattr(whole, name)[places], getattr(every, name)[places])
        assert not getattr(whole, name)[left_out].any()
