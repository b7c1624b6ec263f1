import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg.errors import UnsupportedField
from fl_app.secagg.field import FIELD_31, FIELD_61, Field, field_of

# What a block may hold: any int64 at 61 bits; at 31 bits the sums of 2^24 elements, and some more.
REACH = {61: (1 << 63) - 1, 31: 1 << 56}
fields = pytest.mark.parametrize("field", [FIELD_61, FIELD_31], ids=["61", "31"])


def edges(field: Field) -> list[int]:
    near = [k * field.prime + d for k in (-3, -2, -1, 0, 1, 2, 3) for d in (-4, -1, 0, 1, 4)]
    half = field.prime // 2
    return [v for v in [*near, half, -half, half + 1, -half - 1, *(s * REACH[field.bits] for s in (-1, 1))]
            if abs(v) <= REACH[field.bits]]  # fmt: skip


def blocks(field: Field) -> st.SearchStrategy[list[int]]:
    reach = REACH[field.bits]
    return st.lists(st.integers(-reach, reach) | st.sampled_from(edges(field)), min_size=1, max_size=40)


@fields
@given(data=st.data())
def test_a_reduced_block_is_the_python_integers_modulo_q(field: Field, data: st.DataObject) -> None:
    values = data.draw(blocks(field))
    block, scratch = np.array(values, np.int64), np.empty(len(values), np.int64)
    field.canonicalise(block, scratch)
    assert block.tolist() == [v % field.prime for v in values]


@fields
@given(data=st.data())
def test_so_is_an_unsigned_block(field: Field, data: st.DataObject) -> None:
    reach = 2 * REACH[field.bits] + 1
    values = data.draw(st.lists(st.integers(0, reach) | st.sampled_from([0, field.prime, reach]), min_size=1))
    block, scratch = np.array(values, np.uint64), np.empty(len(values), np.uint64)
    field.canonicalise(block, scratch)
    assert block.tolist() == [v % field.prime for v in values]


@fields
def test_edges_reduce_rightly(field: Field) -> None:
    values = edges(field)
    block, scratch = np.array(values, np.int64), np.empty(len(values), np.int64)
    field.canonicalise(block, scratch)
    assert block.tolist() == [v % field.prime for v in values]


@fields
def test_as_many_additions_between_folds_as_promised_do_not_overflow(field: Field) -> None:
    # In Python integers, so that an overflow could not hide: a folded element plus that many of the largest.
    largest = field.prime + 3 + field.adds_between_folds * (field.prime - 1)
    smallest = -4 - field.adds_between_folds * (field.prime - 1)
    assert smallest >= -(1 << 63)
    assert largest < 1 << 63
    assert field.prime + 7 + field.unsigned_adds_between_folds * (field.prime - 1) < 1 << 64


def test_the_field_of_a_prime() -> None:
    assert field_of(2**61 - 1) is FIELD_61
    assert field_of(2**31 - 1) is FIELD_31


@pytest.mark.parametrize("prime_q", [0, -1, 2, 2**61, 2**31, 2**89 - 1, 10**39])
def test_another_prime_is_refused_and_the_two_are_named(prime_q: int) -> None:
    with pytest.raises(UnsupportedField, match=r"use 2\*\*61-1 .* or 2\*\*31-1"):
        field_of(prime_q)
