import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_app.secagg.codec import PAYLOAD, Encoder, Layout, Segment
from fl_app.secagg.field import FIELD_31, FIELD_61, Field
from fl_app.secagg.keystream import BLOCK, derive, expand
from fl_app.secagg.mask_pipeline import spans
from fl_app.secagg.masking import Sum, mask
from fl_app.secagg.tags import (
    NUMBERS,
    ROW,
    LinearForm,
    Tag,
    first_coefficients,
    pads,
    tag_elements,
)
from tests.fl_app.secagg.randomness import uniform

KEY = bytes(range(32))
LARGEST = 1 << 52
EDGES = (1, 2, ROW - 1, ROW, ROW + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 7, 16 * BLOCK, 17 * BLOCK + 1)
fields = pytest.mark.parametrize("field", [FIELD_61, FIELD_31], ids=["61 bits", "31 bits"])


def layout_of(field: Field, size: int = 5, pods: int = 3) -> Layout:
    return Layout(field, pods, 10, [Segment("x", "update", 8.0, size)], tag_elements(field))


def with_length(field: Field, length: int) -> Layout:
    """Return a layout of which the form uses the field, the tag and the length alone."""
    layout = layout_of(field)
    layout.length = length
    return layout


def encoded(layout: Layout, values: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.int64]:
    out, encoder = np.full(layout.length, 7, np.int64), Encoder(layout, 3, values)
    for block, at in spans(layout.length):
        encoder.write(block, out[at])
    return out


def without_roll_calls(vector: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return vector[np.arange(len(vector)) % BLOCK > 0]


def form_of(layout: Layout, vector: npt.NDArray[np.int64], key: bytes = KEY) -> list[int]:
    form = LinearForm(layout, key)
    for block, at in spans(len(vector)):
        form.read(block, vector[at])
    return form.value()


def by_definition(field: Field, vector: npt.NDArray[np.int64], key: bytes = KEY) -> list[int]:
    """Return H by the words of its module's docstring, in Python's integers."""
    first, rows = first_coefficients(key).astype(int).tolist(), -(-len(vector) // ROW)
    count, elements = rows * NUMBERS, vector.tolist()
    second = expand(derive(key, "fl-app/secagg/1/tag-second"), field, tag_elements(field) * count).tolist()
    values = []
    for part in range(tag_elements(field)):
        coefficients, total = iter(second[part * count : (part + 1) * count]), 0
        for row, number in itertools.product(range(rows), range(NUMBERS)):
            inside = elements[row * ROW : (row + 1) * ROW]
            total += next(coefficients) * sum(first[j][number] * element for j, element in enumerate(inside))
        values.append(total % field.prime)
    return values


# --- the form


@fields
@pytest.mark.parametrize("length", [1, ROW - 1, ROW, ROW + 1, BLOCK, BLOCK + 1, 4 * BLOCK, 5 * BLOCK + 7])
def test_the_form_is_that_of_pythons_integers(field: Field, length: int) -> None:
    rng = np.random.default_rng(length)
    vector = rng.integers(-LARGEST, LARGEST, length, endpoint=True)
    assert form_of(with_length(field, length), vector) == by_definition(field, vector)


@fields
@pytest.mark.parametrize("value", [LARGEST, -LARGEST, LARGEST - 1, (1 << 51) + (1 << 25), (1 << 25), -(1 << 25) - 1])
def test_the_form_is_exact_where_all_products_have_one_sign(field: Field, value: int) -> None:
    """The largest sums that there can be: every element as large as it may be, with its coefficient's sign."""
    signs = np.where(first_coefficients(KEY)[:, 0] < 0, -1, 1)
    vector = np.tile(signs, 8) * value
    assert form_of(with_length(field, BLOCK), vector) == by_definition(field, vector)


def test_products_and_sums_stay_within_what_float64_holds_exactly() -> None:
    low, high, coefficient = 1 << 25, LARGEST >> 26, 1 << 15
    assert int(np.abs(first_coefficients(KEY)).max()) <= coefficient
    assert ROW * coefficient * max(low, high) <= 1 << 53


@pytest.mark.parametrize("pods", [2, 3, 10, 1000])
@fields
def test_the_headroom_keeps_sums_within_the_range_that_the_form_reads(field: Field, pods: int) -> None:
    for segment in (Segment("x", "update", 8.0), Segment("x", "sum", 1e5), Segment("x", "count", 1000.0)):
        layout = Layout(field, pods, 10, [segment], tag_elements(field))
        assert all(layout.capacity(each) <= LARGEST for each in layout.segments)
        assert pods <= LARGEST  # the roll calls


@fields
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 3 * ROW))
def test_the_form_of_a_sum_is_the_sum_of_the_forms(field: Field, seed: int, length: int) -> None:
    layout, rng = with_length(field, length), np.random.default_rng(seed)
    one, other = (rng.integers(-(1 << 51), 1 << 51, length, endpoint=True) for _ in range(2))
    summed = zip(form_of(layout, one), form_of(layout, other), strict=True)
    assert form_of(layout, one + other) == [(a + b) % field.prime for a, b in summed]


@fields
@pytest.mark.parametrize("length", EDGES)
def test_every_element_counts(field: Field, length: int) -> None:
    layout, vector = with_length(field, length), np.zeros(length, np.int64)
    seen = {tuple(form_of(layout, vector))}
    places = sorted({0, length // 2, length - 1, *(at for at in (ROW - 1, ROW, BLOCK - 1, BLOCK) if at < length)})
    for place in places:
        vector[place] = 1
        seen.add(tuple(form_of(layout, vector)))
        vector[place] = 0
    assert len(seen) == 1 + len(places)


def test_first_coefficients_are_all_the_whole_numbers_of_16_bits() -> None:
    values = np.concatenate([first_coefficients(bytes([i]) * 32).ravel() for i in range(8)]).astype(np.int64)
    assert (values.min(), values.max()) == (-(1 << 15), (1 << 15) - 1)
    assert uniform(values + (1 << 15), 16)


def test_another_key_gives_another_form() -> None:
    layout, vector = layout_of(FIELD_61), np.ones(layout_of(FIELD_61).length, np.int64)
    assert len({tuple(form_of(layout, vector, bytes([i]) * 32)) for i in range(50)}) == 50


# --- pads


@fields
def test_pads_are_the_pods_own_and_add_up(field: Field) -> None:
    names = [f"pod-{i}" for i in range(20)]
    each = [pads(field, KEY, [name]) for name in names]
    assert all(len(pad) == tag_elements(field) for pad in each)
    assert len({element for pad in each for element in pad}) == len(names) * tag_elements(field)
    assert pads(field, KEY, names) == [sum(column) % field.prime for column in zip(*each, strict=True)]
    assert pads(field, KEY, names[:1]) != pads(field, bytes(32), names[:1])


# --- in the vector


@fields
@pytest.mark.parametrize("size", [1, PAYLOAD - 4, PAYLOAD - 3, PAYLOAD - 2, PAYLOAD - 1, PAYLOAD, 5 * PAYLOAD - 4])
def test_the_tag_lies_behind_the_values_and_moves_none(field: Field, size: int) -> None:
    layout, bare = layout_of(field, size), Layout(field, 3, 10, [Segment("x", "update", 8.0, size)])
    assert layout.tag_places[-1] == layout.length - 1
    assert len(layout.tag_places) == tag_elements(field)
    assert not set(layout.tag_places) & set(range(0, layout.length, BLOCK))  # no roll call
    plain, tagged = (encoded(each, {"x": np.linspace(-8.0, 8.0, size)}) for each in (bare, layout))
    assert (tagged[list(layout.tag_places)] == 0).all()
    assert (without_roll_calls(tagged)[: -tag_elements(field)] == without_roll_calls(plain)).all()


@fields
@pytest.mark.parametrize("size", [1, PAYLOAD - 3, PAYLOAD - 2, 4 * PAYLOAD - 3, 16 * PAYLOAD + 5])
def test_a_masked_vector_holds_its_tag(field: Field, size: int) -> None:
    layout, values = layout_of(field, size), {"x": np.linspace(-9.0, 9.0, size)}
    added = zip(form_of(layout, encoded(layout, values)), pads(field, KEY, ["a"]), strict=True)
    wanted = [(value + pad) % field.prime for value, pad in added]
    seeds = [bytes([i]) * 32 for i in range(2)]
    words = mask(layout, Encoder(layout, 3, values), seeds[:1], seeds[1:], Tag(layout, KEY, "a"))
    total = Sum(field, layout.length)
    total.add(words)
    total.remove(seeds[:1], seeds[1:])
    assert [int(total.words()[place]) for place in layout.tag_places] == wanted
