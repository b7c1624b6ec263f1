import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.app.row_split import fold_rows, split_rows
from fl_app.errors import DataError
from fl_app.tabular.folds import FOLD_COUNTS, TENTHS, Fold


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


@pytest.mark.parametrize("of", [2, 5, 10])
@pytest.mark.parametrize("rows", [10, 101, 999])
def test_each_row_is_held_out_in_one_fold_and_all_parts_are_whole(rows: int, of: int) -> None:
    folds = [fold_rows(rows, "a", Fold(number=number, of=of), 1) for number in range(1, of + 1)]
    assert sorted(np.concatenate([test for _, _, test in folds])) == list(range(rows))
    for train, validation, test in folds:
        assert sorted(np.concatenate([train, validation, test])) == list(range(rows))
        assert abs(len(test) - rows / of) <= TENTHS // of
        assert abs(len(validation) - rows / TENTHS) < 1


def test_all_sets_of_rows_that_folds_tell_apart_are_tenths() -> None:
    """What a row's parts in all runs, of 2, 5 and 10 folds, leave together is as many rows as one fold of ten."""
    rows, parts = 320, []
    for of in FOLD_COUNTS:
        for number in range(1, of + 1):
            part = np.zeros(rows, np.int64)
            for value, held in enumerate(fold_rows(rows, "a", Fold(number=number, of=of), 1)):
                part[held] = value
            parts.append(part)
    _, sizes = np.unique(np.array(parts), axis=1, return_counts=True)
    assert sizes.tolist() == [32] * TENTHS


def test_folds_have_nothing_to_do_with_the_usual_parts() -> None:
    """Were both cut from one order, fold 10 of 10 less the usual test rows would be a few rows: 9 in 100 are those."""
    usual = set(split_rows(1000, "a", test_percent=9)[2])
    shared = [len(usual & set(fold_rows(1000, "a", Fold(number=number, of=10), 1)[2])) for number in range(1, 11)]
    assert max(shared) < 20


def test_a_pod_with_few_rows_in_a_tenth_holds_none_out() -> None:
    fold = Fold(number=2, of=5)
    train, validation, test = fold_rows(49, "a", fold, 5)
    assert train.tolist() == list(range(49))
    assert (len(validation), len(test)) == (0, 0)
    assert len(fold_rows(50, "a", fold, 5)[2]) == 10
    with pytest.raises(DataError, match="at least 10"):
        fold_rows(9, "a", fold, 1)
