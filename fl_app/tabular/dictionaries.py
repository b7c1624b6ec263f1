"""A column put together from parts that each have a dictionary of their own, in little more memory than it takes."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Codes = NDArray[np.signedinteger[Any]]


class Dictionaries:
    """The parts of one column, added in the order of its rows."""

    def __init__(self) -> None:
        self._codes: list[NDArray[Any]] = []
        self._dictionaries: list[pa.Array] = []

    def add(self, part: pa.DictionaryArray) -> None:
        """Add what comes next; its codes are kept in as few bytes as its dictionary allows."""
        size = len(part.dictionary)
        indices = part.indices
        if indices.null_count:
            indices = indices.cast(pa.int64()).fill_null(size)
        self._codes.append(indices.to_numpy(zero_copy_only=False).astype(np.min_scalar_type(size)))
        self._dictionaries.append(part.dictionary)

    def joined(self, kind: pa.DataType) -> tuple[Codes, pa.Array]:
        """Return the whole column, and forget the parts.

        Parameters
        ----------
        kind : pyarrow.DataType
            The type of its values, which a column of no parts has too.

        Returns
        -------
        codes : int8, int16 or int32 [rows]
            For each row the index of its value; -1 where there is none. One more than the largest fits the type.
        distinct : pyarrow array
            The values of all parts, each once.
        """
        parts, self._codes = self._codes, []
        distinct = pa.chunked_array(self._dictionaries, kind).unique()
        if distinct.null_count:
            distinct = distinct.drop_null()
        least = next(size for size in (np.int8, np.int16, np.int32) if len(distinct) < np.iinfo(size).max)
        codes: Codes = np.empty(sum(map(len, parts)), dtype=least)
        start = 0
        self._dictionaries.reverse()
        parts.reverse()
        while parts:
            part, dictionary = parts.pop(), self._dictionaries.pop()
            places = pc.index_in(dictionary, value_set=distinct).fill_null(-1).to_numpy(zero_copy_only=False)
            codes[start : start + len(part)] = np.append(places, -1).astype(least)[part]
            start += len(part)
        return codes, distinct
