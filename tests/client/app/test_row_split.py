import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.app.row_split import split_rows
from fl_app.errors import DataError


@given(st.integers(10, 3000), st.text())
def test_a_split_is_disjoint_whole_and_repeatable(rows: int, seed_text: str) -> None:
    parts = split_rows(rows, seed_text)
    assert sorted(np.concatenate(parts)) == list(range(rows))
    train, validation, test = map(len, parts)
    assert train == rows * 8 // 10
    assert abs(validation - rows / 10) < 1
    assert abs(test - rows / 10) <= 1
    for one, again in zip(parts, split_rows(rows, seed_text), strict=True):
        assert (one == again).all()
        assert one.dtype == np.int64


def test_splits_of_different_seeds_differ_and_known_ones_stay() -> None:
    one, other = split_rows(1000, "a")[2], split_rows(1000, "b")[2]
    assert len(set(one) & set(other)) < 30
    assert [part.tolist() for part in split_rows(10, "census")] == [[0, 1, 2, 4, 6, 7, 8, 9], [5], [3]]


@given(st.integers(100, 3000), st.integers(1, 40), st.integers(0, 40))
def test_the_owner_says_how_many_rows_are_kept_from_training(rows: int, validation: int, test: int) -> None:
    parts = split_rows(rows, "a", validation_percent=validation, test_percent=test)
    assert sorted(np.concatenate(parts)) == list(range(rows))
    for part, percent in zip(parts, (100 - validation - test, validation, test), strict=True):
        assert abs(len(part) - rows * percent / 100) <= 1
        assert len(part) or not percent


def test_a_table_too_small_for_its_shares_is_refused() -> None:
    assert [len(part) for part in split_rows(10, "a", validation_percent=1, test_percent=0)] == [9, 1, 0]
    with pytest.raises(DataError, match=r"validation_percent and test_percent: not one row for each"):
        split_rows(50, "a", validation_percent=1, test_percent=1)


def test_a_table_too_small_to_split_is_refused() -> None:
    with pytest.raises(DataError, match="too few rows"):
        split_rows(9, "a")
