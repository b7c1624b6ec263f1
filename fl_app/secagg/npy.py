"""Arrays that lie in the bytes of a .npy file: what `numpy.save` writes and `numpy.load` reads, without a copy.

A masked vector is computed straight into the bytes that are sent, and summed straight from those that came. Processor
time of the plain way, as a multiple of this one (medians in processes of their own, vectors of 2^61-1):

==========================  ==========  ===========
elements                     1,000,000   10,000,000
==========================  ==========  ===========
filled, then `numpy.save`          12            6
`numpy.load`, then summed           4            7
without large pages                  1           2
==========================  ==========  ===========
"""

import ctypes
import math
import mmap
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

_LARGE = 4 << 20
_MADV_HUGEPAGE = 14
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def filled(shape: tuple[int, ...], dtype: np.dtype[Any], fill: Callable[[npt.NDArray[Any]], None]) -> npt.NDArray[Any]:
    """Return an array that ``fill`` has written flat, read-only, lying in the file that `file_of` returns."""
    head, length = BytesIO(), math.prod(shape)
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, described)
    file = BytesIO(bytes(head.tell() + length * dtype.itemsize))  # the only reference to these bytes: not copied,
    file.write(head.getvalue())  # neither when they are written to
    with file.getbuffer() as buffer:
        _use_large_pages(buffer)
        fill(np.frombuffer(buffer, dtype, length, head.tell()))
    return array_in(file.getvalue())  # nor, once nothing refers to the buffer, when they are taken out


def _use_large_pages(buffer: memoryview) -> None:
    """Ask Linux for large pages, as numpy does for arrays of its own: the first write to each small one is a fault."""
    if len(buffer) < _LARGE or not sys.platform.startswith("linux"):
        return
    start = np.frombuffer(buffer, np.uint8).ctypes.data
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = (start + len(buffer) - first) // mmap.PAGESIZE * mmap.PAGESIZE
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is not None:  # advice: whether it is taken does not matter
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(whole), ctypes.c_int(_MADV_HUGEPAGE))


def file_of(array: npt.NDArray[Any]) -> bytes:
    """Return the bytes of the .npy file of ``array``: those it lies in, if it is one of `filled` or `array_in`."""
    file: Any = array
    while isinstance(file, np.ndarray):
        file = file.base
    if isinstance(file, bytes) and file.startswith(np.lib.format.MAGIC_PREFIX):
        whole = array_in(file)
        if whole.__array_interface__ == array.__array_interface__:
            return file
    written = BytesIO()
    np.save(written, array, allow_pickle=False)
    return written.getvalue()


def array_in(file: bytes) -> npt.NDArray[Any]:
    """Return the array in a .npy file, read-only and lying in ``file``.

    Raises
    ------
    Exception
        Of many kinds, for hostile bytes: the header's reader is numpy's. `ValueError` for an array of objects, for
        bytes missing and for bytes after its end.
    """
    stream = BytesIO(file)
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"version {version} of the file format is not in use here")
    shape, fortran_order, dtype = _READERS[version](stream)
    if dtype.hasobject or any(size < 0 for size in shape):
        raise ValueError("an array of objects, or of a negative size")
    count, start = math.prod(shape), stream.tell()
    if len(file) != start + count * dtype.itemsize:
        raise ValueError("the file does not end where the array does")
    return np.frombuffer(file, dtype, count, start).reshape(shape, order="F" if fortran_order else "C")
