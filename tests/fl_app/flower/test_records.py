import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import example, given
from hypothesis import strategies as st

from fl_app.flower import records
from fl_app.flower.names import SHARES_RECORD
from fl_app.secagg.errors import (
    BadSignature,
    MalformedMessage,
    NotApproved,
    PolicyRefused,
    ProtocolError,
    TooLarge,
)
from fl_app.secagg.messages import Hello, SealedShare, Step
from fl_app.secagg.pod_session import PodSession
from fl_app.secagg.roster import Roster, check_roster
from strategies.polling import payload_bytes
from tests.fl_app.secagg.cohort import Identity, parameters, policy_of

SHARE = SealedShare(bytes(32), "a", "b", b"sealed", bytes(64))
STEP = Step(bytes(32), "train", 1, ("update",), (5,))


def request() -> RecordDict:
    """Return a request with every kind of record and every kind of value."""
    weights = {"w": Array(np.arange(6, dtype=np.float32).reshape(2, 3)), "b": Array(np.zeros(3, np.float64))}
    config = {"lr": 0.1, "steps": 3, "name": "sgd", "key": b"k", "on": True, "cols": ["a", "b"], "sizes": [1, 2]}
    content = RecordDict({"arrays": ArrayRecord(weights), "config": ConfigRecord(config)})
    content["metrics"] = MetricRecord({"loss": 0.5, "n": 3, "list": [1.0, 2.0]})
    return records.put(content, STEP)


def set_in(record: str, key: str, value: Any) -> Callable[[RecordDict], None]:
    def change(content: RecordDict) -> None:
        content[record][key] = value

    return change


def delete(record: str, key: str) -> Callable[[RecordDict], None]:
    return lambda content: content[record].__delitem__(key)


def reordered(content: RecordDict) -> None:
    content["arrays"] = ArrayRecord(dict(reversed(content["arrays"].items())))


def renamed(content: RecordDict, old: str, new: str) -> None:
    """Give an array another name in its place."""
    content["arrays"] = ArrayRecord({new if name == old else name: a for name, a in content["arrays"].items()})


def declared(content: RecordDict, **changes: Any) -> None:
    """Say something else of an array, its bytes being the same."""
    array = content["arrays"]["w"]
    said = {"dtype": array.dtype, "shape": array.shape, "stype": array.stype, "data": array.data}
    content["arrays"]["w"] = Array(**{**said, **changes})


W = np.arange(6, dtype=np.float32).reshape(2, 3)
CHANGES: dict[str, Callable[[RecordDict], Any]] = {
    "an array's value": set_in("arrays", "w", Array(W + np.eye(2, 3, dtype=np.float32) * 1e-6)),
    "an array's dtype": set_in("arrays", "w", Array(W.view(np.int32))),
    "an array's shape": set_in("arrays", "w", Array(W.reshape(3, 2))),
    "an array's order in memory": set_in("arrays", "w", Array(np.asfortranarray(W))),
    "an array's name": lambda c: renamed(c, "w", "v"),
    "what is said of an array's dtype": lambda c: declared(c, dtype="float16"),
    "what is said of an array's shape": lambda c: declared(c, shape=(6,)),
    "what is said of an array's form": lambda c: declared(c, stype="other"),
    "the order of arrays": reordered,
    "an array more": set_in("arrays", "x", Array(np.zeros(0))),
    "an array less": delete("arrays", "b"),
    "a setting": set_in("config", "lr", 0.1 + 1e-17 + 2e-17),
    "a setting's type": set_in("config", "steps", 3.0),
    "a flag": set_in("config", "on", False),
    "a flag's type": set_in("config", "on", 1),
    "bytes": set_in("config", "key", b"l"),
    "bytes to text": set_in("config", "key", "k"),
    "a list": set_in("config", "cols", ["a", "c"]),
    "a list's order": set_in("config", "sizes", [2, 1]),
    "a list's cut": set_in("config", "cols", ["ab"]),
    "a setting more": set_in("config", "new", 0),
    "a setting less": delete("config", "lr"),
    "a metric": set_in("metrics", "loss", 0.25),
    "a metric's type": set_in("metrics", "n", 3.0),
    "a metric more": set_in("metrics", "m", 0),
    "a record more": lambda c: c.__setitem__("more", ConfigRecord({})),
    "a record less": lambda c: c.__delitem__("metrics"),
    "a record's kind": lambda c: c.__setitem__("metrics", ConfigRecord(dict(c["metrics"]))),
    "the step": lambda c: records.put(c, Step(bytes(32), "train", 2, ("update",), (5,))),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_digest_of_a_request_changes_with_anything_in_it(what: str) -> None:
    changed = request()
    CHANGES[what](changed)
    if what == "a setting":  # the smallest change there is
        set_in("config", "lr", float(np.nextafter(0.1, 1)))(changed)
    assert records.request_digest(changed) != records.request_digest(request())


def test_the_digest_is_the_same_for_the_same_request_however_its_records_are_ordered() -> None:
    content = request()
    assert records.request_digest(content) == records.request_digest(request())
    backwards = RecordDict({name: content[name] for name in reversed(list(content))})
    backwards["config"] = ConfigRecord(dict(reversed(content["config"].items())))
    assert records.request_digest(backwards) == records.request_digest(content)


def test_only_the_sealed_shares_stay_outside_the_digest() -> None:
    content = request()
    assert records.request_digest(records.put_shares(content, [SHARE])) == records.request_digest(content)
    assert SHARES_RECORD not in content  # the common request itself is not touched
    other = RecordDict({**content, "shares2": ConfigRecord({"sealed": [SHARE.to_bytes()]})})
    assert records.request_digest(other) != records.request_digest(content)


# --- what is taken from a message


def test_messages_come_back_as_they_were_put() -> None:
    assert records.take(records.put(RecordDict(), STEP), Hello, Step) == STEP
    assert records.take_shares(records.put_shares(RecordDict(), [SHARE, SHARE])) == [SHARE, SHARE]
    assert records.take_shares(RecordDict()) is None
    words = np.arange(5, dtype="<u8") + np.uint64(2**60)
    assert records.take_vector(records.put_vector(records.put(RecordDict(), STEP), words)).tolist() == words.tolist()


BAD_ENVELOPES: list[RecordDict] = [
    RecordDict(),
    RecordDict({"secagg": ConfigRecord({})}),
    RecordDict({"secagg": MetricRecord({"Step": 1})}),
    RecordDict({"secagg": ArrayRecord({})}),
    RecordDict({"secagg": ConfigRecord({"Step": "text"})}),
    RecordDict({"secagg": ConfigRecord({"Step": [STEP.to_bytes()]})}),
    RecordDict({"secagg": ConfigRecord({"Hello": STEP.to_bytes()})}),
    RecordDict({"secagg": ConfigRecord({"Other": STEP.to_bytes()})}),
    RecordDict({"secagg": ConfigRecord({"Step": STEP.to_bytes(), "Hello": b""})}),
    RecordDict({"elsewhere": ConfigRecord({"Step": STEP.to_bytes()})}),
]


@pytest.mark.parametrize("content", BAD_ENVELOPES, ids=range(len(BAD_ENVELOPES)))
def test_another_envelope_is_refused(content: RecordDict) -> None:
    with pytest.raises(MalformedMessage):
        records.take(content, Step, Hello)


def test_a_message_of_too_many_bytes_says_which_and_how_many() -> None:
    long = RecordDict({"secagg": ConfigRecord({"Step": bytes(records.MAX_MESSAGE + 1)})})
    with pytest.raises(TooLarge, match="a message of type Step has 4,194,305 bytes, and at most 4,194,304 are read"):
        records.take(long, Hello, Step)


def test_what_a_pod_publishes_comes_with_its_hello_or_is_refused() -> None:
    published = records.Published("{}", ("b",), ("flwr 1.42.0",))
    hello = Hello(bytes(32), "a", *[bytes(32)] * 3, published.digest(), bytes(32), 0, bytes(32), bytes(64))
    assert records.take_published(records.put_published(RecordDict(), published), hello) == published
    for other in (replace(published, schema="{ }"), replace(published, approves=()), replace(published, versions=())):
        with pytest.raises(MalformedMessage, match="hello of pod 'a' is not what it publishes"):
            records.take_published(records.put_published(RecordDict(), other), hello)


def test_the_roster_of_300_pods_is_small_whatever_they_publish() -> None:
    """Each hello holds a digest: 20 columns or 10,000 codes are the same to the roster."""
    names = tuple(f"hospital-{number:03}" for number in range(300))
    schemas = {name: "x" * (200_000 if place == 0 else 12_000) for place, name in enumerate(names)}
    digests = {name: records.Published(schemas[name], names).digest() for name in names}
    bound = parameters(names, threshold=0)
    sessions = {name: PodSession.open(name, Identity(name), bytes(32), bound, digests[name], b"") for name in names}
    roster = Roster.of([session.own for session in sessions.values()])
    content = records.put(RecordDict(), records.RosterRequest(roster.hellos))
    assert payload_bytes(content) < 190_000
    received = records.take(content, records.RosterRequest).hellos
    mine = sessions["hospital-007"]
    assert check_roster(received, mine.own, names, 0, policy_of("hospital-007", names)) == roster
    altered = [replace(hello, published=bytes(32)) if hello.name == names[0] else hello for hello in received]
    with pytest.raises(BadSignature, match=names[0]):
        check_roster(altered, mine.own, names, 0, policy_of("hospital-007", names))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_in_the_envelope_raise_our_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        records.take(RecordDict({"secagg": ConfigRecord({"Step": data})}), Step)
    with pytest.raises(ProtocolError):
        records.take_shares(RecordDict({"shares": ConfigRecord({"sealed": [data]})}))


@pytest.mark.parametrize(
    "record",
    [MetricRecord({"sealed": 1}), ConfigRecord({}), ConfigRecord({"sealed": "x"}), ConfigRecord({"sealed": ["x"]}),
     ConfigRecord({"sealed": [b""], "more": 1}), ConfigRecord({"other": [b""]})],
    ids=range(6),
)  # fmt: skip
def test_shares_are_a_list_of_messages(record: Any) -> None:
    with pytest.raises(MalformedMessage):
        records.take_shares(RecordDict({"shares": record}))


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


GOOD_NPY = npy(np.zeros(4, "<u8"))
HOSTILE = {
    "nothing": b"",
    "a zip": b"PK\x03\x04 and no more",
    "a pickle": b"\x80\x04K\x01.",
    "cut short": GOOD_NPY[:-1],
    "a header of no literal": GOOD_NPY.replace(b"{'descr'", b"{{{{{{{{"),
    "a header that does not end": GOOD_NPY.replace(b"(4,)", b"(((("),
    "a header with an odd token": GOOD_NPY.replace(b"'descr'", b"'''desc"),
    "more than memory holds": GOOD_NPY.replace(b"(4,), }" + b" " * 12, b"(4000000000000000,)"),
    "a negative shape": GOOD_NPY.replace(b"(4,)", b"(-4)"),
    "objects": npy(np.array([None, {}], object)),
}


def vector_reply(data: bytes, stype: str = "numpy.ndarray") -> RecordDict:
    array = Array(dtype="uint64", shape=(4,), stype=stype, data=data)
    return RecordDict({"secagg": ConfigRecord({}), "masked": ArrayRecord({"vector": array})})


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_arrays_raise_our_error(what: str) -> None:
    assert HOSTILE[what] != GOOD_NPY
    with pytest.raises(MalformedMessage, match="cannot be read"):
        records.take_vector(vector_reply(HOSTILE[what]))
    values = RecordDict({"values": ArrayRecord({"x": Array("uint64", (4,), "numpy.ndarray", HOSTILE[what])})})
    with pytest.raises(MalformedMessage, match="cannot be read"):
        records.take_values(values)


@given(st.binary(max_size=150), st.text(max_size=9))
@example(GOOD_NPY, "")
def test_arbitrary_bytes_for_an_array_raise_our_error(data: bytes, stype: str) -> None:
    with pytest.raises(MalformedMessage):
        records.take_vector(vector_reply(data, stype))


def test_a_masked_reply_holds_a_vector_and_its_envelope_and_nothing_else() -> None:
    good = vector_reply(GOOD_NPY)
    records.take_vector(good)
    metrics = RecordDict({**good, "metrics": MetricRecord({"num-examples": 3})})
    two = RecordDict({**good, "masked": ArrayRecord({"vector": Array(np.zeros(1)), "more": Array(np.zeros(1))})})
    bare = RecordDict({"masked": good["masked"]})
    for bad in (metrics, two, bare, RecordDict({**good, "masked": ConfigRecord({"vector": 1})})):
        with pytest.raises(MalformedMessage):
            records.take_vector(bad)


def test_a_refusal_tells_code_and_text_and_for_approvals_who_is_approved() -> None:
    assert records.refusal("a", PolicyRefused("no")) == records.Refusal("a", "policy", "no")
    refused = records.refusal("a", NotApproved("no", ["b", "c"]))
    assert (refused.code, refused.approves) == ("not-approved", ("b", "c"))
