"""Arrays that travel in one record: the same again at the other end, few objects, and nothing else taken for them."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from client.site import flower_names
from fl_app.flower.names import PACKED_RECORD
from fl_app.flower.packing import MOST_BYTES, packed, unpacked
from fl_app.flower.records import request_digest
from fl_app.secagg.errors import MalformedMessage
from tests.support.small_app import being_server

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)
)
RECORDS = st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4), max_size=3)


def content_of(arrays: dict[str, dict[str, Any]]) -> RecordDict:
    records = {
        name: ArrayRecord({key: Array(value) for key, value in held.items()})
        for name, held in arrays.items()
        if held and name not in ("config", PACKED_RECORD)
    }
    return RecordDict({"config": ConfigRecord({"a": 1}), **records})


@given(RECORDS)
def test_what_was_packed_is_the_same_again(arrays: dict[str, dict[str, Any]]) -> None:
    content = content_of(arrays)
    again = unpacked(packed(content))
    assert again == content
    assert request_digest(again) == request_digest(content)
    for name, record in content.array_records.items():
        assert list(again.array_records[name]) == list(record)


def test_a_network_is_one_object() -> None:
    content = content_of({"arrays": {f"layer {n}": np.ones((n + 1, 3), np.float32) for n in range(12)}})

    def objects(of: RecordDict) -> int:
        with being_server():
            return len(flower_names.deflated(Message(of, dst_node_id=1, message_type="train.masked"))[2])

    assert objects(packed(content)) == 4
    assert objects(content) == 28


def test_large_arrays_stay_as_they_are_and_are_not_copied() -> None:
    large = content_of({"arrays": {"w": np.zeros(MOST_BYTES, np.uint8)}})
    assert packed(large) is large
    none = content_of({})
    assert packed(none) is none
    assert unpacked(large) is large


GOOD = dict(packed(content_of({"arrays": {"w": np.ones(3), "b": np.ones(2)}}))[PACKED_RECORD])


@pytest.mark.parametrize(
    "changed",
    [
        {"sizes": [1, 2]},
        {"sizes": [-8, 296]},
        {"sizes": [2**63, 2]},
        {"sizes": ["152", "144"]},
        {"sizes": [1.5, 2.5]},
        {"names": ["w"]},
        {"names": ["w", "w"]},
        {"names": [b"w", b"b"]},
        {"names": "wb"},
        {"shapes": ["3", "-2"]},
        {"shapes": ["3", "2,"]},
        {"shapes": ["3", "9" * 30]},
        {"records": ["config", "arrays"]},
        {"data": "text"},
        {"data": b""},
        {"data": bytes(MOST_BYTES + 1), "sizes": [MOST_BYTES, 1]},
        {"more": 1},
    ],
)
def test_what_is_not_packed_arrays_is_malformed(changed: dict[str, Any]) -> None:
    record = ConfigRecord({**GOOD, **changed})
    with pytest.raises(MalformedMessage):
        unpacked(RecordDict({"config": ConfigRecord({"a": 1}), PACKED_RECORD: record}))


@pytest.mark.parametrize("missing", GOOD)
def test_a_description_without_a_part_is_malformed(missing: str) -> None:
    record = ConfigRecord({name: value for name, value in GOOD.items() if name != missing})
    with pytest.raises(MalformedMessage):
        unpacked(RecordDict({PACKED_RECORD: record}))


def test_another_record_under_the_name_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        unpacked(RecordDict({PACKED_RECORD: ArrayRecord({"w": Array(np.ones(2))})}))
