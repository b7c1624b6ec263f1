"""The model that the inner strategy is handed: the old one moved by the mean update, to the bit."""

import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from strategies import inner_strategy
from strategies.inner_strategy import moved

SHAPES = ((), (0, 3), (7,), (2, 3, 5), (300, 500))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "<f4", ">f4", "int64"])
def test_each_array_is_moved_in_float64_and_keeps_its_own_type(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_strategy, "_SPAN", 1000)
    rng = np.random.default_rng(0)
    old = {f"{place}": (rng.normal(size=shape) * 9).astype(dtype) for place, shape in enumerate(SHAPES)}
    update = rng.normal(size=sum(array.size for array in old.values()))
    new = moved(ArrayRecord({name: Array(np.asarray(array)) for name, array in old.items()}), update)
    at = 0
    for name, array in old.items():
        part = update[at : at + array.size].reshape(array.shape)
        plain = Array(np.asarray(np.add(array, part, dtype=np.float64).astype(array.dtype)))
        assert new[name] == plain  # bytes, shape and type as Flower writes them
        at += array.size
    assert at == len(update)


def test_moving_takes_the_memory_of_the_new_model() -> None:
    old, update = np.zeros(1_000_000, np.float32), np.ones(1_000_000)
    arrays = ArrayRecord({"w": Array(old)})
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        new = moved(arrays, update)
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert (new["w"].numpy() == 1).all()
    assert most < 1.5 * old.nbytes
