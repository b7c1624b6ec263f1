"""Which groups are told apart: never so that what is left is of few rows, or of few pods."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.errors import DataError
from fl_app.tabular.groups import MOST_GROUPS, GroupCounts, group_column, own_groups, told_apart
from fl_app.tabular.schema import Column

PODS = ("a", "b", "c", "d")


@given(
    st.lists(st.lists(st.integers(0, 12), min_size=2, max_size=2), max_size=5),
    st.lists(st.integers(0, 6), min_size=2, max_size=2),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_at_a_pod_each_group_and_the_rest_are_enough_or_none(
    counts: list[list[int]], beside: list[int], unlabelled: int, of_class: int
) -> None:
    rows = np.array(counts, np.int64).reshape(-1, 2)
    groups, rest = own_groups(rows, np.array(beside), unlabelled, 5, of_class)
    left = np.array(beside) + rows.sum(axis=0) - rows[list(groups)].sum(axis=0)
    for part in rows[list(groups)]:
        assert part.sum() >= 5
        assert part.min() >= of_class
    assert rest == bool(left.sum() or unlabelled)
    if groups and rest:
        assert left.sum() >= 5
        assert left.min() >= of_class


@given(
    st.lists(st.sets(st.sampled_from(PODS)), max_size=5),
    st.sets(st.sampled_from(PODS)),
    st.sets(st.sampled_from(PODS)),
    st.integers(1, 4),
)
def test_as_many_pods_add_to_each_group_and_to_the_rest(
    publishers: list[set[str]], rest: set[str], adding: set[str], least: int
) -> None:
    apart = told_apart(publishers, rest, adding, least)
    assert len(apart) == len(publishers)
    left = rest & adding
    for told, pods in zip(apart, publishers, strict=True):
        if told:
            assert len(pods & adding) >= least
        else:
            left |= pods & adding
    if any(apart):
        assert len(left) == 0 or len(left) >= least


def test_the_smallest_group_goes_first() -> None:
    counts = np.array([[9, 9], [3, 4], [20, 1]])
    assert own_groups(counts, np.array([1, 0]), 0, 5, 0) == ((0, 2), True)
    assert own_groups(counts, np.array([0, 0]), 0, 5, 0) == ((0, 1, 2), False)
    assert told_apart([{"a", "b", "c"}, {"a", "b"}, {"a", "b", "c"}], {"c"}, PODS, 2) == (True, False, True)


def test_many_groups_have_no_histograms() -> None:
    assert GroupCounts.zeros(3, 2).histograms.shape == (4, 1, 2, 512)
    assert GroupCounts.zeros(MOST_GROUPS, 10).histograms.shape == (0, 10, 2, 512)
    counts = GroupCounts.zeros(3, 2)
    counts.confusion[1, 0, 1] = 7
    again = GroupCounts.from_arrays(counts.arrays(), 3, 2)
    assert np.array_equal(again.confusion, counts.confusion)


def test_a_column_of_many_categories_is_none_to_tell_rows_apart_by() -> None:
    values = tuple(sorted(f"v{number}" for number in range(MOST_GROUPS + 1)))
    with pytest.raises(DataError, match="has 51 categories; 1 to 50"):
        group_column("x", Column(name="x", kind="categorical", values=values))
    with pytest.raises(DataError, match="is a number"):
        group_column("x", Column(name="x", kind="continuous", low=0, high=1))
