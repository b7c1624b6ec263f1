from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_app.flower import records
from fl_app.secagg.canonical import decode, encode
from fl_app.secagg.errors import MalformedMessage, ProtocolError
from fl_app.secagg.messages import (
    ElementClass,
    Hello,
    MaskedReply,
    Parameters,
    Proof,
    Record,
    SealedShare,
    Step,
    StepPlan,
    SurvivorsRequest,
    UnmaskReply,
    UnmaskRequest,
    Witness,
)
from fl_app.secagg.verified_sum import Pending
from tests.fl_app.secagg.cohort import CLASSES, parameters
from tests.fl_app.secagg.test_canonical import values

SHARE = SealedShare(bytes(32), "a", "b", b"sealed", bytes(64))
HELLO = Hello(bytes(32), "a", *[bytes(32)] * 5, 0, bytes(32), bytes(64))
MESSAGES: list[Record] = [
    CLASSES[0],
    StepPlan("train", 3, CLASSES),
    parameters(("a", "b")),
    HELLO,
    SHARE,
    Step(bytes(32), "train", 1, ("update",), (5,)),
    MaskedReply(b"", (b"boxed",), bytes(64)),
    SurvivorsRequest(bytes(32), bytes(32), ("a",)),
    Witness("a", bytes(64)),
    UnmaskRequest(bytes(32), bytes(32), ("a",), (b"boxed",), (Witness("a", bytes(64)),)),
    UnmaskReply(bytes(32), (b"one",), (b"two",), bytes(64)),
    Proof(bytes(32), ("a", "b")),
    Pending(bytes(32), bytes(32), 2**61 - 1, 10, CLASSES, (5, 1, 2), "train", 1, ("a", "b", "c"), 2),
    records.HelloRequest(bytes(32), parameters(("a", "b")), True),
    records.Published("{}", ("b",)),
    records.RosterRequest((HELLO,)),
    records.RosterReply((SHARE,)),
    records.Bystander("a"),
    records.Refusal("a", "policy", "no", ("b",)),
]
messages = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)


def test_every_message_is_tried_here() -> None:
    assert {type(message) for message in MESSAGES} == set(Record.__subclasses__())


@messages
def test_a_message_comes_back_from_its_bytes(message: Record) -> None:
    assert type(message).from_bytes(message.to_bytes()) == message


@messages
@settings(max_examples=15)
@given(data=st.binary(max_size=80))
def test_arbitrary_bytes_raise_our_error_only(message: Record, data: bytes) -> None:
    with pytest.raises(ProtocolError):
        type(message).from_bytes(data)


@messages
@settings(max_examples=15)
@given(data=st.data())
def test_wrong_values_under_the_right_names_raise_our_error_or_make_a_whole_message(
    message: Record, data: st.DataObject
) -> None:
    name, version, content = decode(message.to_bytes())  # type: ignore[misc,union-attr]
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(values)  # type: ignore[call-overload,index]
    changed = encode([name, version, content])
    try:
        parsed = type(message).from_bytes(changed)
    except ProtocolError:
        return
    assert parsed.to_bytes() == changed


@messages
def test_another_name_another_version_or_other_fields_are_refused(message: Record) -> None:
    name, version, content = decode(message.to_bytes())  # type: ignore[misc,union-attr]
    short = {key: content[key] for key in sorted(content)[1:]}  # type: ignore[call-overload,index,union-attr,arg-type]
    for bad in (
        ["Other", version, content],
        [name, 2, content],
        [name, version, {**content, "more": 1}],  # type: ignore[dict-item]
        [name, version, short],
        [name, version],
        content,
    ):
        with pytest.raises(MalformedMessage):
            type(message).from_bytes(encode(bad))


@messages
def test_no_field_takes_a_value_of_another_type(message: Record) -> None:
    name, version, content = decode(message.to_bytes())  # type: ignore[misc,union-attr]
    for field in fields(message):
        for wrong in (None, {"a": 1}, [None]):
            with pytest.raises(MalformedMessage):
                type(message).from_bytes(encode([name, version, {**content, field.name: wrong}]))  # type: ignore[dict-item]


@pytest.mark.parametrize("field", ["session", "identity_key", "sealing_key", "parameters", "group", "followed"])
def test_keys_and_digests_have_their_sizes(field: str) -> None:
    for size in (0, 31, 33):
        with pytest.raises(MalformedMessage, match=f"Hello.{field} is not 32 bytes"):
            Hello.from_bytes(replace(HELLO, **{field: bytes(size)}).to_bytes())


def test_the_place_of_a_hello_is_not_negative() -> None:
    with pytest.raises(MalformedMessage, match=r"Hello\.place is negative"):
        Hello.from_bytes(replace(HELLO, place=-1).to_bytes())


def test_the_key_of_a_pending_sum_is_not_shown() -> None:
    secret = b"a key that nobody else may see.."
    pending = Pending(bytes(32), secret, 2**61 - 1, 10, CLASSES, (5, 1, 2), "train", 1, ("a", "b"), 2)
    assert repr(secret) not in repr(pending)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_names_have_1_to_64_characters(name: str) -> None:
    with pytest.raises(MalformedMessage, match="1 to 64"):
        Hello.from_bytes(replace(HELLO, name=name).to_bytes())


def test_a_hello_is_signed_over_every_other_field() -> None:
    other: dict[str, Any] = {f.name: bytes([1]) * 32 for f in fields(Hello)} | {"name": "b"}
    seen = {replace(HELLO, **{f.name: other[f.name]}).unsigned() for f in fields(Hello) if f.name != "signature"}
    assert len(seen | {HELLO.unsigned()}) == len(fields(Hello))
    assert replace(HELLO, signature=bytes([1]) * 64).unsigned() == HELLO.unsigned()


def test_every_parameter_is_bound_by_the_digest() -> None:
    whole = parameters(("a", "b"))
    other: dict[str, Any] = {
        "run": "other", "series": "other", "app": "other", "config": b"other", "prime_q": 2**31 - 1,
        "pods": ("a", "c"), "threshold": 1, "max_weight": 7, "weighting": "equal", "steps": whole.steps[1:],
        "verified": True,
    }  # fmt: skip
    assert set(other) == {f.name for f in fields(Parameters)}
    seen = {whole.digest()} | {replace(whole, **{name: value}).digest() for name, value in other.items()}
    assert len(seen) == len(other) + 1
    louder = replace(CLASSES[0], bound=9.0)
    assert replace(whole, steps=(StepPlan("train", 3, (louder,)),)).digest() not in seen


def test_a_step_has_exactly_the_declared_classes() -> None:
    plan = StepPlan("train", 3, CLASSES)
    good = Step(bytes(32), "train", 1, ("update", "loss", "n"), (5, 1, 2))
    assert [(s.name, s.kind, s.size) for s in good.segments(plan)] == [
        ("update", "update", 5),
        ("loss", "mean", 1),
        ("n", "count", 2),
    ]
    for names, sizes in (
        (("update", "loss"), (5, 1)),
        (("loss", "update", "n"), (1, 5, 2)),
        (("update", "loss", "n", "x"), (5, 1, 2, 1)),
        (("update", "loss", "n"), (5, 1)),
        (("update", "loss", "n"), (5, 1, -2)),
    ):
        with pytest.raises(MalformedMessage):
            replace(good, names=names, sizes=sizes).segments(plan)


@pytest.mark.parametrize(("kind", "bound"), [("other", 1.0), ("sum", 0.0), ("sum", -1.0), ("sum", float("nan"))])
def test_a_class_of_an_unknown_kind_or_without_a_bound_is_refused(kind: str, bound: float) -> None:
    with pytest.raises(MalformedMessage, match="not a usable class"):
        ElementClass("x", kind, bound).segment(1)


def test_a_step_that_was_not_declared_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="no 'evaluate' step"):
        parameters(("a", "b")).step("evaluate")


@pytest.mark.parametrize("series", ["", "x" * 65, "a b", "../a", "größe", "a\n"])
def test_a_series_is_64_plain_characters_at_most(series: str) -> None:
    with pytest.raises(MalformedMessage, match=r"Parameters.series is not 1 to 64 of the characters"):
        Parameters.from_bytes(replace(parameters(("a", "b")), series=series).to_bytes())


def test_a_series_may_be_a_run_or_the_name_of_a_run_directory() -> None:
    for series in ("7", "2026-11-23_10.00.00-abc", "x" * 64):
        whole = replace(parameters(("a", "b")), series=series)
        assert Parameters.from_bytes(whole.to_bytes()) == whole
