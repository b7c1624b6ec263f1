"""A replica as bytes: it comes back equal, its digest covers all of it, and other bytes are no replica."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.replica.contributors import contributors
from fl_app.replica.state import Replica, model_digest
from fl_app.secagg.errors import MalformedMessage

MODEL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "empty": np.zeros((0, 4), np.float32), "n": np.array(3)}
REPLICA = Replica(4, {"encoding": "{}", "ends": b"\0\1"}, MODEL, {"m.w": np.ones(2)}, 2, {1: bytes(32), 3: b"x" * 32})


def test_it_comes_back_equal_whatever_its_arrays() -> None:
    back = Replica.from_bytes(REPLICA.to_bytes())
    assert (back.place, back.facts, back.completed, back.history) == (4, REPLICA.facts, 2, REPLICA.history)
    assert (back.digest, back.last_round) == (REPLICA.digest, 3)
    for name, array in MODEL.items():
        assert (back.model[name].dtype, back.model[name].shape) == (array.dtype, array.shape)
        assert back.model[name].tobytes() == array.tobytes()
    assert b"".join(REPLICA.parts()) == REPLICA.to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"place": 5},
        {"facts": {**REPLICA.facts, "encoding": "{ }"}},
        {"model": {**MODEL, "w": MODEL["w"] + np.float32(1e-6)}},
        {"model": {**MODEL, "w": MODEL["w"].astype(np.float64)}},
        {"model": {**MODEL, "w": MODEL["w"].reshape(3, 2)}},
        {"model": {"v" if name == "w" else name: array for name, array in MODEL.items()}},
        {"carried": {}},
        {"completed": 3},
        {"history": {1: bytes(32), 2: b"x" * 32}},
        {"history": {1: bytes(32)}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_digest_covers_everything(changes: dict[str, object]) -> None:
    assert replace(REPLICA, **changes).digest != REPLICA.digest  # type: ignore[arg-type]


@given(st.integers(0, len(REPLICA.to_bytes()) - 1), st.integers(1, 255))
def test_bytes_changed_anywhere_are_no_replica_or_another_one(place: int, by: int) -> None:
    data = bytearray(REPLICA.to_bytes())
    data[place] ^= by
    try:
        read = Replica.from_bytes(bytes(data))
    except MalformedMessage:
        return
    assert read.digest != REPLICA.digest


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_replica(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Replica.from_bytes(data)


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_bytes_cut_short_or_with_more_behind_them_are_no_replica(cut: int) -> None:
    with pytest.raises(MalformedMessage):
        Replica.from_bytes(REPLICA.to_bytes()[:cut])
    with pytest.raises(MalformedMessage):
        Replica.from_bytes(REPLICA.to_bytes() + b"\0")


def test_a_round_moves_it_on_and_remembers_the_model() -> None:
    model = {"w": np.zeros(2, np.float32)}
    after = REPLICA.trained(7, model, {}, ends=b"2")
    assert (after.place, after.completed, after.last_round) == (5, 3, 7)
    assert after.facts == {"encoding": "{}", "ends": b"2"}
    assert after.history == {**REPLICA.history, 7: model_digest(model)}
    assert REPLICA.place == 4


@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(2, 6)), st.sets(st.sampled_from("abcdefg")))
def test_each_pod_that_adds_to_a_sum_has_as_many_beside_it_as_its_owner_wants(
    minima: dict[str, int], pods: set[str]
) -> None:
    adding = contributors(minima, pods)
    assert set(adding) <= set(minima) & pods
    assert all(minima[name] <= len(adding) for name in adding)
    # Nor is one left out that could have been in: with it, or with any more, some owner would have too few.
    able = set(minima) & pods
    for size in range(len(adding) + 1, len(able) + 1):
        assert sum(minima[name] <= size for name in able) < size
