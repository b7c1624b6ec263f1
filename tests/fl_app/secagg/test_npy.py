import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.secagg import npy
from fl_app.secagg.masking import mask
from tests.fl_app.secagg.test_masking import Encoder, fields, layout_of

DTYPES = ["<u8", "<u4", "<f4", "<f8", "<i8", "?", ">u8", "<c16"]


def saved(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


@given(st.integers(0, 50), st.sampled_from(DTYPES))
def test_the_file_of_an_array_is_the_one_numpy_saves(length: int, dtype: str) -> None:
    values = np.arange(length).astype(dtype)
    array = npy.filled((length,), np.dtype(dtype), lambda out: out.__setitem__(slice(None), values))
    assert array.tolist() == values.tolist()
    assert npy.file_of(array) == npy.file_of(values) == saved(values)


@given(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(DTYPES), st.booleans())
def test_the_array_in_a_file_is_the_one_numpy_loads(shape: list[int], dtype: str, turned: bool) -> None:
    values = np.arange(int(np.prod(shape))).astype(dtype).reshape(shape)
    file = saved(values.T if turned else values)
    array = npy.array_in(file)
    want = np.load(io.BytesIO(file))
    assert (array.dtype, array.shape, array.tolist()) == (want.dtype, want.shape, want.tolist())
    assert not array.flags.writeable


def test_a_part_or_a_result_of_a_filed_array_is_saved_as_itself() -> None:
    array = npy.array_in(saved(np.arange(4, dtype="<u8")))
    others = [array[1:3], array[:1], array[::-1], array.reshape(2, 2), array.view("<i8"), array + 1, array.copy()]
    for other in [*others, np.frombuffer(b"any bytes", "u1")]:
        assert npy.file_of(other) == saved(other)


def test_an_array_that_lies_in_a_file_cannot_be_changed() -> None:
    array = npy.filled((5,), np.dtype("<u8"), lambda out: out.fill(1))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


@fields
def test_nothing_of_the_size_of_a_vector_is_copied_on_its_way_to_the_wire_and_back(field: Any) -> None:
    layout = layout_of(2_000_000, 2, field)
    encoder = Encoder(layout, 3, {"x": np.linspace(-1, 1, 2_000_000)})
    size = layout.length * field.dtype.itemsize
    tracemalloc.start()
    try:
        vector = mask(layout, encoder, [], [])
        file = npy.file_of(vector)
        read = npy.array_in(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (read == vector).all()
    assert size < peak < size + size // 2  # the vector itself, and some blocks


@pytest.mark.parametrize(
    "file",
    [
        saved(np.zeros(4)) + b"\0",
        saved(np.zeros(4))[:-1],
        saved(np.array([None], object), allow_pickle=True),
        saved(np.zeros(4)).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03"),
        saved(np.zeros(4)).replace(b"(4,)", b"(-4)"),
        saved(np.zeros((2, 2))).replace(b"(2, 2)", b"(-2, -2)").replace(b"-2), }  ", b"-2), }"),
    ],
    ids=["longer", "shorter", "objects", "version", "shape", "negative"],
)
def test_other_files_are_refused(file: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of numpy's, or ours
        npy.array_in(file)
