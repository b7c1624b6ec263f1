"""GF(2^128), against multiplication as it is taught."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg.binary_field import Points, bytes_of, elements_of, inverse, product, times_x, weighted_sums

ELEMENTS = st.integers(0, 2**128 - 1)
EDGES = (0, 1, 2, 2**63, 2**64 - 1, 2**64, 2**127, 2**128 - 1)


def taught(one: int, other: int) -> int:
    """Multiply polynomials, then divide by that of the field."""
    total = 0
    for place in range(128):
        if other >> place & 1:
            total ^= one << place
    for place in reversed(range(128, 256)):
        if total >> place & 1:
            total ^= (2**128 + 0b10000111) << (place - 128)
    return total


def array(*elements: int) -> np.ndarray:  # type: ignore[type-arg]
    return elements_of(b"".join(element.to_bytes(16, "big") for element in elements), len(elements))


def integers(elements: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    data = bytes_of(elements)
    return [int.from_bytes(data[at : at + 16], "big") for at in range(0, len(data), 16)]


@given(st.lists(ELEMENTS, min_size=1, max_size=9))
def test_bytes_come_back(elements: list[int]) -> None:
    assert integers(array(*elements)) == elements


@given(ELEMENTS, ELEMENTS)
def test_products_and_inverses_of_public_elements(one: int, other: int) -> None:
    assert product(one, other) == taught(one, other)
    if one:
        assert taught(one, inverse(one)) == 1


@pytest.mark.parametrize("power", [1, 2, 32, 55, 56])
def test_times_a_power_of_x(power: int) -> None:
    assert integers(times_x(array(*EDGES), power)) == [taught(element, 1 << power) for element in EDGES]


@given(st.lists(st.tuples(ELEMENTS, st.integers(0, 2**20)), min_size=1, max_size=9))
def test_times_points(pairs: list[tuple[int, int]]) -> None:
    elements, points = zip(*pairs, strict=True)
    twice = np.stack([array(*elements), array(*elements[::-1])], axis=1)
    found = Points(points).times(twice)
    assert integers(found[:, 0]) == [taught(element, point) for element, point in pairs]
    wanted = [taught(element, point) for element, point in zip(elements[::-1], points, strict=True)]
    assert integers(found[:, 1]) == wanted


def test_edges_times_the_largest_points() -> None:
    for point in (0, 1, 2**32 - 1, 2**55, 2**56 - 1):
        found = Points([point] * len(EDGES)).times(array(*EDGES)[:, None])
        assert integers(found[:, 0]) == [taught(element, point) for element in EDGES]


@given(st.lists(st.tuples(ELEMENTS, ELEMENTS, ELEMENTS), min_size=1, max_size=5))
def test_weighted_sums(rows: list[tuple[int, int, int]]) -> None:
    bits = np.array([[weight >> place & 1 for weight, *_ in rows] for place in range(128)], bool)
    elements = np.stack([array(*pair) for _, *pair in rows], axis=1)
    wanted = [0, 0]
    for weight, *pair in rows:
        wanted = [total ^ taught(weight, element) for total, element in zip(wanted, pair, strict=True)]
    assert integers(weighted_sums(bits, elements)) == wanted
