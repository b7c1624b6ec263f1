"""A column put together from parts holds what the parts held, in codes that one can be added to."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.tabular.dictionaries import Dictionaries


@given(st.lists(st.lists(st.none() | st.text(max_size=2))))
def test_parts_give_the_column(parts: list[list[str | None]]) -> None:
    column = Dictionaries()
    for part in parts:
        column.add(pa.array(part, pa.string()).dictionary_encode())
    codes, distinct = column.joined(pa.string())
    texts = distinct.to_pylist()
    assert len(set(texts)) == len(texts)
    assert [texts[code] if code >= 0 else None for code in codes] == [text for part in parts for text in part]


@pytest.mark.parametrize("size", [1, 126, 127, 128, 255, 256, 32_766, 32_767, 65_536, 70_000])
def test_codes_are_small_and_leave_room_for_one_more(size: int) -> None:
    column = Dictionaries()
    for _ in range(2):
        column.add(pa.array([*range(size), None], pa.int64()).dictionary_encode())
    codes, distinct = column.joined(pa.int64())
    assert len(distinct) == size
    assert codes.tolist() == [*range(size), -1] * 2
    assert (codes + 1).min() == 0
    assert codes.dtype == (np.int8 if size < 127 else np.int16 if size < 32_767 else np.int32)
