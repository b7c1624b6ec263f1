from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_app.secagg import masking
from fl_app.secagg.codec import PAYLOAD, Encoder, Layout, Segment
from fl_app.secagg.errors import AggregateRefused
from fl_app.secagg.field import FIELD_31, FIELD_61, Field, Words
from fl_app.secagg.keystream import BLOCK, derive, expand
from fl_app.secagg.masking import Sum, check_vector, mask
from tests.fl_app.secagg.randomness import uncorrelated, uniform
from tests.fl_app.secagg.test_codec import encode

fields = pytest.mark.parametrize("field", [FIELD_61, FIELD_31], ids=["61", "31"])
Int = npt.NDArray[np.int64]


def layout_of(size: int, pods: int, field: Field) -> Layout:
    return Layout(field, pods, 100, [Segment("x", "update", 8.0, size)])


def seeds_of(me: int, pods: int, label: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the seeds pod ``me`` adds and subtracts: one for each pair."""
    pair = {other: derive(bytes([min(me, other), max(me, other)]), "pair", label) for other in range(pods)}
    return [pair[o] for o in range(me + 1, pods)], [pair[o] for o in range(me)]


def masked(rows: list[Any], layout: Layout, label: bytes = b"") -> list[Words]:
    """Return the masked vectors of pods that weigh 3 each."""
    return [
        mask(layout, Encoder(layout, 3, {"x": np.asarray(row)}), *seeds_of(me, len(rows), label))
        for me, row in enumerate(rows)
    ]


def total(vectors: list[Words], layout: Layout) -> Int:
    summed = Sum(layout.field, layout.length)
    for vector in vectors:
        check_vector(layout, vector, "x")
        summed.add(vector)
    return summed.centred()


@fields
@given(data=st.data(), pods=st.integers(2, 9), size=st.integers(1, 12))
def test_the_sum_of_masked_vectors_is_the_sum_of_the_encodings_in_any_order(
    field: Field, data: st.DataObject, pods: int, size: int
) -> None:
    row = st.lists(st.floats(-8, 8), min_size=size, max_size=size)
    rows, layout = [data.draw(row) for _ in range(pods)], layout_of(size, pods, field)
    vectors = masked(rows, layout)
    want = sum(encode(layout, 3, {"x": np.array(row)}) for row in rows)
    assert total(data.draw(st.permutations(vectors)), layout).tolist() == want.tolist()  # type: ignore[union-attr]


@fields
@settings(max_examples=6)
@given(
    size=st.sampled_from([PAYLOAD - 3, PAYLOAD - 2, PAYLOAD - 1, PAYLOAD, 2 * PAYLOAD + 17, 18 * PAYLOAD]),
    pods=st.integers(2, 5),
)
def test_it_is_so_over_the_edges_of_blocks(field: Field, size: int, pods: int) -> None:
    layout = layout_of(size, pods, field)
    rows = [np.linspace(-8 + me, 8 - me, size) for me in range(pods)]
    want = sum(encode(layout, 3, {"x": row}) for row in rows)
    assert (total(masked(rows, layout), layout) == want).all()


@fields
def test_a_mask_is_the_expanded_seed_added_or_subtracted(field: Field) -> None:
    layout = layout_of(PAYLOAD + 40, 2, field)
    row, seed = np.linspace(-1, 1, PAYLOAD + 40), bytes(range(32))
    plain = encode(layout, 3, {"x": row}).astype(object)
    expanded = expand(seed, field, layout.length).astype(object)
    for add, subtract, sign in (([seed], [], 1), ([], [seed], -1)):
        masked = mask(layout, Encoder(layout, 3, {"x": row}), add, subtract)
        assert masked.dtype == field.dtype
        assert (masked == (plain + sign * expanded) % field.prime).all()


class Largest:
    """A mask stream of nothing but the largest element: the worst case for the accumulators."""

    def __init__(self, seed: bytes, field: Field) -> None:
        self._largest = field.prime - 1

    def read(self, block: int, out: Words, size: int) -> Words:
        out[:] = self._largest
        return out[:size]


@fields
@pytest.mark.parametrize(("plus", "minus"), [(1, 0), (0, 1), (3, 0), (4, 0), (0, 4), (7, 0), (2, 7), (20, 3), (50, 50)])
def test_the_largest_masks_do_not_overflow(
    field: Field, plus: int, minus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking, "MaskStream", Largest)
    layout = layout_of(4, 2, field)
    row = np.array([8.0, -8.0, 0.0, 1.0])
    plain = encode(layout, 100, {"x": row}).astype(object)
    masked = mask(layout, Encoder(layout, 100, {"x": row}), [b""] * plus, [b""] * minus)
    assert (masked == (plain + (plus - minus) * (field.prime - 1)) % field.prime).all()


@fields
@given(st.integers(1, 40))
def test_sums_of_the_largest_words_do_not_overflow(field: Field, vectors: int) -> None:
    summed, half = Sum(field, 3), (field.prime - 1) // 2
    for _ in range(vectors):
        summed.add(np.array([field.prime - 1, 0, half], field.dtype))
    want = [(v * vectors + half) % field.prime - half for v in (field.prime - 1, 0, half)]
    assert summed.centred().tolist() == want


@fields
@given(data=st.data())
def test_a_sum_of_any_words_is_centred_and_congruent(field: Field, data: st.DataObject) -> None:
    half = (field.prime - 1) // 2
    edges = st.sampled_from([0, 1, 2, half - 1, half, half + 1, half + 2, field.prime - 2, field.prime - 1])
    row = st.lists(st.integers(0, field.prime - 1) | edges, min_size=3, max_size=3)
    rows = data.draw(st.lists(row, min_size=1, max_size=17))
    summed = Sum(field, 3)
    for words in rows:
        summed.add(np.array(words, field.dtype))
    assert summed.centred().tolist() == [
        (sum(column) + half) % field.prime - half for column in zip(*rows, strict=True)
    ]


@fields
def test_masks_can_be_taken_off_a_sum_however_often_it_has_been_added_to(field: Field) -> None:
    seeds, half = [bytes([i]) * 32 for i in range(5)], (field.prime - 1) // 2
    masks = [expand(seed, field, 40).astype(object) for seed in seeds]
    for vectors in range(1, 18):
        summed, added, subtracted = Sum(field, 40), seeds[: vectors % 4], seeds[4 - vectors % 3 : 4]
        for _ in range(vectors):
            summed.add(np.full(40, field.prime - 1, field.dtype))
        summed.remove(added, subtracted)
        want = -vectors - sum(masks[: vectors % 4]) + sum(masks[4 - vectors % 3 : 4])
        assert summed.centred().tolist() == [(int(v) + half) % field.prime - half for v in want + np.zeros(40, object)]


# --- what a masked vector shows


@fields
def test_masked_words_are_uniform_whatever_they_hide(field: Field) -> None:
    size = 60_000
    label = np.random.default_rng().bytes(8)  # other words each time
    for vector in masked([np.zeros(size), np.full(size, 8.0)], layout_of(size, 2, field), label):
        assert uniform(vector, field.bits)


@fields
def test_masked_words_of_two_rounds_are_uncorrelated(field: Field) -> None:
    size, row = 30_000, np.linspace(-8, 8, 30_000)
    layout, fresh = layout_of(size, 2, field), np.random.default_rng().bytes(8)
    one, other = (masked([row, row], layout, fresh + label)[0] for label in (b"1", b"2"))
    assert uncorrelated(one, other, field.prime)


@fields
def test_the_statistics_do_find_what_they_are_for(field: Field) -> None:
    size, row = 30_000, np.linspace(-8, 8, 30_000)
    layout = layout_of(size, 2, field)
    plain = (encode(layout, 3, {"x": row}) % field.prime).astype(field.dtype)
    assert not uniform(plain, field.bits)
    one = masked([row, row], layout)[0]
    other = masked([row + 0.001, row], layout)[0]  # the same masks twice: their difference is the update's
    assert uniform(one, field.bits)
    assert not uncorrelated(one, other, field.prime)


# --- the scalar-share attack


def scalar_masked(layout: Layout, row: Int, scalar: int) -> npt.NDArray[Any]:
    """Mask as older systems do: one random field element for the whole vector."""
    plain = encode(layout, 1, {"x": row}).astype(object)
    return (plain + scalar) % layout.field.prime


def attack(vector: npt.NDArray[Any], layout: Layout) -> tuple[int, npt.NDArray[np.float64]]:
    """Take the most frequent word for an untouched element's, that is for the mask; read the update off the rest.

    Returns how often that word occurs, and the update so found.
    """
    (word, times), *_ = Counter(vector.tolist()).most_common(1)
    unmasked = np.array([int(v) - int(word) for v in vector.tolist()], object) % layout.field.prime
    half = (layout.field.prime - 1) // 2
    centred = np.array([v - layout.field.prime if v > half else v for v in unmasked], np.float64)
    payload = np.delete(centred, np.arange(0, layout.length, BLOCK))
    return times, payload[1 : 1 + layout.segments[1].size] / layout.scales["x"]


def sparse_update(size: int = 5_000) -> npt.NDArray[np.float64]:
    """Return an update as of an embedding: most rows are untouched."""
    rng = np.random.default_rng(5)
    return np.where(rng.random(size) < 0.1, rng.normal(size=size), 0.0)


@fields
def test_the_most_frequent_difference_recovers_an_update_under_a_scalar_mask(field: Field) -> None:
    layout, update = layout_of(5_000, 2, field), sparse_update()
    scalar = int(expand(bytes(32), field, 1)[0])
    times, unmasked = attack(scalar_masked(layout, update, scalar), layout)
    assert times > 4_000
    np.testing.assert_allclose(unmasked, update, atol=1 / layout.scales["x"])


@fields
def test_the_same_attack_recovers_nothing_from_ours(field: Field) -> None:
    layout, update = layout_of(5_000, 2, field), sparse_update()
    label = np.random.default_rng().bytes(8)
    for vector in masked([update, np.zeros_like(update)], layout, label):
        times, unmasked = attack(vector, layout)
        assert times <= 3  # at 31 bits two of 5,000 words may agree by chance
        assert abs(np.corrcoef(unmasked, update)[0, 1]) < 0.1
        assert np.mean(np.abs(unmasked - update) < 0.01) < 0.01


# --- what the server takes for a masked vector


@fields
def test_vectors_of_another_length_type_or_field_are_refused(field: Field) -> None:
    layout = layout_of(4, 2, field)
    good = np.zeros(layout.length, field.dtype)
    check_vector(layout, good, "a")
    other = FIELD_31 if field is FIELD_61 else FIELD_61
    for bad in (good[1:], np.append(good, good[:1]), good.reshape(1, -1), good.astype(other.dtype),
                good.astype(np.int64), good.astype(np.float64), good.astype(field.dtype.newbyteorder()),
                np.zeros(layout.length, object)):  # fmt: skip
        with pytest.raises(AggregateRefused, match="pod 'a' sent"):
            check_vector(layout, bad, "a")


@fields
@pytest.mark.parametrize("before", [0, 1, 7, 8])
def test_words_that_are_not_field_elements_are_refused_and_leave_no_trace(field: Field, before: int) -> None:
    length = 2 * BLOCK + 5
    good = np.arange(length).astype(field.dtype)
    for at in (0, BLOCK, length - 1):
        for word in (field.prime, (1 << 8 * field.dtype.itemsize) - 1):
            summed, bad = Sum(field, length), np.full(length, field.prime - 1, field.dtype)
            bad[at] = word
            for _ in range(before):
                summed.add(good)
            with pytest.raises(AggregateRefused, match="not field elements"):
                summed.add(bad)
            summed.add(good)
            assert (summed.centred() == (before + 1) * np.arange(length)).all()
