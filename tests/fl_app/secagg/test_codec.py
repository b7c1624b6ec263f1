from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fl_app.secagg.codec import PAYLOAD, Aggregate, Decoder, Encoder, Layout, Segment, decode
from fl_app.secagg.errors import AggregateRefused, CapacityError, ProtocolError, ValueRefused
from fl_app.secagg.field import FIELD_31, FIELD_61, Field
from fl_app.secagg.keystream import BLOCK

fields = pytest.mark.parametrize("field", [FIELD_61, FIELD_31], ids=["61", "31"])
kinds = pytest.mark.parametrize("kind", ["update", "mean", "sum", "count"])


def encode(layout: Layout, weight: int, values: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Return the whole encoded vector."""
    encoder, out = Encoder(layout, weight, values), np.empty(layout.length, np.int64)
    for block in range(layout.blocks):
        encoder.write(block, out[block * BLOCK : (block + 1) * BLOCK])
    return out


def one(kind: Any, bound: float, size: int = 1, *, pods: int = 2, weight: int = 1, field: Field = FIELD_61) -> Layout:
    return Layout(field, pods, weight, [Segment("x", kind, bound, size)])


def reals(layout: Layout, *rows: Any, weights: tuple[int, ...] = ()) -> Aggregate:
    """Encode one row a pod, sum and decode."""
    weights = weights or (1,) * len(rows)
    arrays = [np.array(row, np.float64) for row in rows]
    return decode(layout, sum(encode(layout, w, {"x": a}) for w, a in zip(weights, arrays, strict=True)))  # type: ignore[arg-type]


# --- the capacity rule


@fields
@kinds
@given(
    bound=st.floats(2.0**-20, 2.0**30, width=32),
    pods=st.integers(2, 1000),
    max_weight=st.integers(1, 1 << 14),
)
def test_the_scale_is_the_largest_power_of_two_that_leaves_the_headroom(
    field: Field, kind: Any, bound: float, pods: int, max_weight: int
) -> None:
    segment = Segment("x", kind, bound)
    most = pods * Fraction(bound) * (max_weight if segment.weighted else 1) * 2**field.headroom
    try:
        layout = Layout(field, pods, max_weight, [segment])
    except CapacityError:
        # Not even scale 1 fits, for it or for the weight that travels with it.
        assert max(most, pods * max_weight * 2**field.headroom) >= 2 ** (field.bits - 1)
        return
    scale = Fraction(layout.scales["x"])
    assert scale.denominator == 1
    assert scale.numerator.bit_count() == 1
    assert most * scale < Fraction(field.prime, 2)
    assert kind == "count" or scale == 2**52 or 2 * scale * most >= Fraction(field.prime, 2)


def test_the_protocols_own_figures() -> None:
    scales = [one("update", 8.0, pods=n, weight=16384).scales["x"] for n in (2, 10, 50)]
    assert scales == [2.0 ** (e - 8 - 1) for e in (42, 40, 38)]  # PROTOCOL's 2^41, 2^39, 2^37, less the headroom
    scales = [one("update", 8.0, pods=n, weight=16384, field=FIELD_31).scales["x"] for n in (2, 10, 50)]
    assert scales == [2.0 ** (e - 2 - 1) for e in (12, 10, 8)]


@fields
def test_too_little_room_names_the_numbers_and_what_to_change(field: Field) -> None:
    with pytest.raises(CapacityError, match=r"sum of 'x' .* 10 pods x bound .* lower the bound .* prime_q 2\*\*61-1"):
        one("sum", 2.0**62, pods=10, field=field)


@pytest.mark.parametrize("bound", [float("inf"), 1e308, 5e-324])
def test_extreme_bounds_are_refused_as_bounds(bound: float) -> None:
    with pytest.raises(CapacityError):
        one("update", bound, weight=1000)


@pytest.mark.parametrize("weight", [0, -1])
def test_a_maximum_weight_that_is_not_positive_is_refused(weight: int) -> None:
    with pytest.raises(ValueRefused, match="maximum weight"):
        one("sum", 1.0, weight=weight)


@pytest.mark.parametrize("name", ["weight", "clipped", "x"])
def test_segments_have_names_of_their_own(name: str) -> None:
    with pytest.raises(ValueRefused, match="share a name"):
        Layout(FIELD_61, 2, 1, [Segment("x", "update", 1.0), Segment(name, "sum", 1.0)])


# --- the codec


@fields
@given(data=st.data(), pods=st.integers(2, 5), bound=st.sampled_from([0.1, 1.0, 8.0, 1000.0]))
def test_the_sum_of_unweighted_values_is_off_by_at_most_half_a_step_each(
    field: Field, data: st.DataObject, pods: int, bound: float
) -> None:
    layout = one("sum", bound, 4, pods=pods, field=field)
    rows = [data.draw(st.lists(st.floats(-bound, bound), min_size=4, max_size=4)) for _ in range(pods)]
    decoded = reals(layout, *rows).values["x"]
    for column, value in enumerate(decoded):
        exact = sum(Fraction(row[column]) for row in rows)
        assert abs(Fraction(float(value)) - exact) * Fraction(layout.scales["x"]) <= Fraction(pods, 2)


@fields
@given(data=st.data(), pods=st.integers(2, 4), kind=st.sampled_from(["update", "mean"]))
def test_the_weighted_mean_is_off_by_at_most_half_a_step(
    field: Field, data: st.DataObject, pods: int, kind: Any
) -> None:
    layout = one(kind, 8.0, 3, pods=pods, weight=500, field=field)
    rows = [data.draw(st.lists(st.floats(-8, 8), min_size=3, max_size=3)) for _ in range(pods)]
    weights = tuple(data.draw(st.integers(1, 500)) for _ in range(pods))
    decoded = reals(layout, *rows, weights=weights)
    assert (decoded.weight, decoded.pods, decoded.clipped) == (sum(weights), pods, 0)
    for column, value in enumerate(decoded.values["x"]):
        exact = sum(w * Fraction(row[column]) for w, row in zip(weights, rows, strict=True)) / sum(weights)
        step = 1 / Fraction(layout.scales["x"])  # of one pod's weighted value; there are `pods` of them in the sum
        tolerance = step * pods / 2 / sum(weights) + Fraction(8, 2**52)  # and float64's own rounding
        assert abs(Fraction(float(value)) - exact) <= tolerance


@fields
@given(
    bound=st.floats(0.01, 100.0),
    pods=st.integers(2, 6),
    weight=st.integers(1, 40),
    kind=st.sampled_from(["update", "mean"]),
)
def test_every_pod_may_be_at_its_bound(field: Field, bound: float, pods: int, weight: int, kind: Any) -> None:
    layout = one(kind, bound, pods=pods, weight=weight, field=field)
    for sign in (1, -1):
        decoded = reals(layout, *[[sign * bound]] * pods, weights=(weight,) * pods)
        assert decoded.values["x"][0] == pytest.approx(sign * bound, abs=1 / layout.scales["x"])


@given(st.lists(st.integers(0, 20), min_size=3, max_size=3), st.lists(st.integers(0, 20), min_size=3, max_size=3))
def test_counts_are_summed_exactly(one_row: list[int], other: list[int]) -> None:
    layout = one("count", 20.0, 3)
    total = sum(encode(layout, 1, {"x": np.array(row)}) for row in (one_row, other))
    decoded = decode(layout, total).values["x"]  # type: ignore[arg-type]
    assert decoded.dtype == np.int64
    assert decoded.tolist() == [a + b for a, b in zip(one_row, other, strict=True)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=9), st.lists(st.floats(-3, 3, width=32), max_size=9))
def test_clipping_is_exact_and_exactly_counted(dtype: Any, mine: list[float], others: list[float]) -> None:
    size = max(len(mine), len(others))
    rows = [np.array(row + [0.0] * (size - len(row)), dtype) for row in (mine, others)]
    layout = one("update", 1.1, size)
    decoded = decode(layout, sum(encode(layout, 1, {"x": row}) for row in rows))  # type: ignore[arg-type]
    assert decoded.clipped == sum(int((np.abs(row.astype(np.float64)) > 1.1).sum()) for row in rows)
    want = sum(np.clip(row.astype(np.float64), -1.1, 1.1) for row in rows) / 2
    np.testing.assert_allclose(decoded.values["x"], want, atol=1 / layout.scales["x"], rtol=0)


def test_clipping_is_counted_over_all_blocks() -> None:
    size = 2 * PAYLOAD + 100
    row = np.zeros(size)
    row[[0, 1, PAYLOAD - 1, PAYLOAD, 2 * PAYLOAD, size - 1]] = [9, -9, 9, np.float64(8.0000001), 9, -10]
    row[[5, 6]] = [8, -8]  # at the bound, not past it
    layout = one("update", 8.0, size)
    assert layout.blocks == 3
    assert reals(layout, row, np.zeros(size)).clipped == 6


@given(st.integers(1, 3 * PAYLOAD + 5), st.integers(1, 3), st.data())
def test_pieces_cover_the_payload_once_and_leave_the_roll_calls(size: int, at_once: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, size))
    layout = Layout(FIELD_61, 2, 1, [Segment("x", "sum", 1.0, cut), Segment("y", "sum", 1.0, size - cut)])
    seen, count = np.zeros(layout.length, np.int64), {"weight": 0, "x": 0, "y": 0}
    for block in range(0, layout.blocks, at_once):
        for segment, source, part in layout.pieces(block, seen[block * BLOCK : (block + at_once) * BLOCK]):
            part += np.arange(1, part.size + 1).reshape(part.shape)
            assert source.start == count[segment.name]
            count[segment.name] = source.stop
            assert source.stop - source.start == part.size
    assert count == {"weight": 1, "x": cut, "y": size - cut}
    assert (seen[::BLOCK] == 0).all()
    assert np.count_nonzero(seen) == layout.length - layout.blocks == layout.payload


@pytest.mark.parametrize("size", [PAYLOAD - 1, 2 * PAYLOAD, 5 * PAYLOAD + 17])
def test_it_does_not_matter_how_many_blocks_are_written_and_read_at_once(size: int) -> None:
    segments = [
        Segment("x", "update", 1.0, size),
        Segment("n", "count", 9.0, 40_000),
        Segment("m", "mean", 2.0, 70_000),
    ]
    layout = Layout(FIELD_61, 2, 3, segments)
    values = {"x": np.linspace(-1.5, 1.5, size), "n": np.arange(40_000) % 10, "m": np.linspace(2, -2, 70_000)}
    written, read, clipped = [], [], 2 * (np.abs(values["x"]) > 1).sum()
    for at_once in (1, 2, 3, layout.blocks):
        encoder, out = Encoder(layout, 3, values), np.empty(layout.length, np.int64)
        for block in range(0, layout.blocks, at_once):
            encoder.write(block, out[block * BLOCK : (block + at_once) * BLOCK])
        written.append(out)
        total = 2 * out
        decoder = Decoder(layout, memory=total)  # where it lies itself
        for block in range(0, layout.blocks, at_once):
            decoder.read(block, total[block * BLOCK : (block + at_once) * BLOCK].copy())
        read.append(decoder.aggregate())
    whole = decode(layout, 2 * written[0])
    for out, decoded in zip(written, read, strict=True):
        assert (out == written[0]).all()
        assert (decoded.weight, decoded.clipped) == (whole.weight, whole.clipped) == (6, clipped)
        assert all((decoded.values[name] == whole.values[name]).all() for name in ("x", "n", "m"))


def test_when_the_update_is_dropped_nothing_holds_the_memory_of_the_sum() -> None:
    segments = [Segment("x", "update", 1.0, 50), Segment("n", "count", 9.0, 2), Segment("m", "mean", 2.0)]
    layout = Layout(FIELD_61, 2, 3, segments)
    values: dict[str, Any] = {"x": np.zeros(50), "n": np.array([1, 2]), "m": np.ones(1)}
    encoder, out = Encoder(layout, 3, values), np.empty(layout.length, np.int64)
    encoder.write(0, out)
    total = (2 * out).view(np.uint64)
    decoder = Decoder(layout, memory=total)
    decoder.read(0, 2 * out)
    decoded = decoder.aggregate()
    assert np.shares_memory(decoded.values["x"], total)
    assert not any(np.shares_memory(decoded.values[name], total) for name in ("n", "m"))
    assert (decoded.values["n"].tolist(), decoded.values["m"].tolist()) == ([2, 4], [1.0])


# --- what is refused

BAD_REALS: list[Any] = [
    np.array([np.nan, 0.0]), np.array([np.inf, 0.0]), np.array([0.0, -np.inf]), np.zeros(1), np.zeros(3),
    np.zeros((1, 2)), np.zeros((2, 1)), np.zeros(2, int), np.zeros(2, bool), np.zeros(2, complex),
    np.array(["a", "b"]), np.array([None, None]),
]  # fmt: skip


@pytest.mark.parametrize("array", BAD_REALS, ids=lambda a: f"{a.dtype}{a.shape}{a.flat[0]}")
@pytest.mark.parametrize("kind", ["update", "mean", "sum"])
def test_reals_that_are_not_finite_or_of_another_shape_or_type_are_refused(kind: Any, array: Any) -> None:
    with pytest.raises(ValueRefused, match="'x'"):
        encode(one(kind, 8.0, 2), 1, {"x": array})


BAD_COUNTS: list[Any] = [
    np.array([-1, 0]), np.array([0, 21]), np.array([0, 2**63], np.uint64), np.array([-(2**63), 0]), np.zeros(2),
    np.zeros(1, int), np.zeros((2, 1), int), np.zeros(2, bool),
]  # fmt: skip


@pytest.mark.parametrize("array", BAD_COUNTS, ids=lambda a: f"{a.dtype}{a.shape}{a.flat[0]}")
def test_counts_past_their_bound_negative_or_of_another_shape_or_type_are_refused(array: Any) -> None:
    with pytest.raises(ValueRefused, match="'x'"):
        encode(one("count", 20.0, 2), 1, {"x": array})


@pytest.mark.parametrize("kind", ["mean", "sum"])
@pytest.mark.parametrize("value", [8.000001, -8.000001, 1e300])
def test_metrics_past_their_bound_are_refused_not_clipped(kind: Any, value: float) -> None:
    with pytest.raises(ValueRefused, match="past its declared bound 8"):
        encode(one(kind, 8.0), 1, {"x": np.array([value])})


def test_float32s_rounding_of_a_bound_does_not_pass_for_it() -> None:
    assert float(np.float32(0.1)) > 0.1
    with pytest.raises(ValueRefused, match="past its declared bound"):
        encode(one("sum", 0.1), 1, {"x": np.array([0.1], np.float32)})


def test_huge_updates_are_clipped_and_counted() -> None:
    decoded = reals(one("update", 8.0, 2), [1e308, -1e308], [0.0, 0.0])
    assert decoded.clipped == 2
    assert decoded.values["x"].tolist() == [4.0, -4.0]


def test_the_count_of_clipped_elements_stops_at_what_fits_in_the_small_field() -> None:
    layout = Layout(FIELD_31, 1 << 20, 1, [Segment("x", "update", 8.0, 1000)])
    for past, counted in ((200, 200), (1000, 255)):  # 255 x 2^20 pods is just below 2^28
        row = np.where(np.arange(1000) < past, 9.0, 0.0)
        assert encode(layout, 1, {"x": row})[-1] == counted


@pytest.mark.parametrize("weight", [-1, 501, 2**70])
def test_a_weight_beyond_the_declared_one_is_refused_and_not_told(weight: int) -> None:
    with pytest.raises(ValueRefused, match="0 to 500") as refused:
        Encoder(one("update", 8.0, weight=500), weight, {"x": np.zeros(1)})
    assert str(weight) not in str(refused.value).replace("0 to 500", "")


@pytest.mark.parametrize("names", [(), ("y",), ("x", "y"), ("x", "weight"), ("x", "clipped")])
def test_the_values_are_those_declared(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueRefused, match="not the declared ones: x"):
        Encoder(one("update", 8.0), 1, {name: np.zeros(1) for name in names})


# --- decoding what is not a sum of good vectors


def good_sum() -> tuple[Layout, npt.NDArray[np.int64]]:
    layout = Layout(FIELD_61, 3, 10, [Segment("u", "update", 8.0, 2 * PAYLOAD), Segment("n", "count", 5.0)])
    values = {"u": np.full(2 * PAYLOAD, 1.0), "n": np.array([2])}
    return layout, 3 * encode(layout, 10, values)


def test_the_sum_that_the_next_tests_spoil_is_good() -> None:
    layout, total = good_sum()
    decoded = decode(layout, total)
    assert (decoded.pods, decoded.weight, decoded.clipped, decoded.values["n"].tolist()) == (3, 30, 0, [6])


@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize("call", [0, 2, 4, -3])
def test_each_blocks_roll_call_must_count_every_pod(block: int, call: int) -> None:
    layout, total = good_sum()
    total[block * BLOCK] = call
    with pytest.raises(AggregateRefused, match="roll call"):
        decode(layout, total)


@pytest.mark.parametrize(
    ("at", "value", "name"),
    [
        (1, 31, "weight"),
        (1, -1, "weight"),
        (2, 2**60 - 1, "u"),
        (BLOCK + 1, -(2**59), "u"),
        (-2, 16, "n"),
        (-2, -1, "n"),
    ],
)
def test_a_sum_beyond_what_the_pods_may_send_is_refused(at: int, value: int, name: str) -> None:
    layout, total = good_sum()
    total[at] = value
    with pytest.raises(AggregateRefused, match=f"sum of '{name}'"):
        decode(layout, total)


def test_a_weight_of_zero_cannot_be_divided_by() -> None:
    with pytest.raises(AggregateRefused, match="weight is zero"):
        reals(one("update", 1.0), [0.5], [0.5], weights=(0, 0))


@given(st.lists(st.integers(-(2**60) + 1, 2**60 - 1), max_size=9))
def test_arbitrary_sums_decode_or_raise_our_error(total: list[int]) -> None:
    layout = one("update", 8.0, 3, pods=3)
    assume(len(total) != layout.length or total[0] != 3)
    with pytest.raises(ProtocolError):
        decode(layout, np.array(total, np.int64))
