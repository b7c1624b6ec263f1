"""Verdicts on the columns of several pods, and what each owner would have to set."""

from typing import Any

from fl_app.tabular.schema import Column, Schema
from server.modeller.schema_verdicts import ColumnVerdict, judge


def schema(name: str, **columns: dict[str, Any]) -> Schema:
    return Schema(name=name, columns=tuple(Column(name=key, **facts) for key, facts in columns.items()))


def number(low: float, high: float, **facts: Any) -> dict[str, Any]:
    return {"kind": "continuous", "low": low, "high": high, **facts}


def text(*values: str, **facts: Any) -> dict[str, Any]:
    return {"kind": "categorical", "values": values, **facts}


def verdicts(*schemas: Schema, **arguments: Any) -> dict[str, ColumnVerdict]:
    return {verdict.name: verdict for verdict in judge(schemas, **arguments)}


def test_all_that_does_not_fit_is_told_at_once_with_a_command_for_each_owner() -> None:
    found = verdicts(
        schema("a", same=text("x"), tsh=number(0, 8), w=number(0, 8, unit="kg"), extra=text("x")),
        schema("b", same=text("x"), tsh=text("1", "<1"), w=number(0, 8, unit="lb")),
        schema("c", same=text("x"), tsh=number(0, 8), w=number(0, 8)),
        files={"b": "sites/b.yaml"},
    )
    assert {name: verdict.verdict for name, verdict in found.items()} == {
        "same": "fits",
        "tsh": "does not fit",
        "w": "does not fit",
        "extra": "does not fit",
    }
    assert found["tsh"].commands == {"b": "fl-app pod column sites/b.yaml tsh --kind continuous"}
    assert found["extra"].commands == {"a": "fl-app pod column a.yaml extra --optional"}
    assert "different units" in found["w"].texts[0]


def test_the_kind_that_most_pods_have_is_asked_of_the_others() -> None:
    found = verdicts(schema("a", zip=number(0, 8)), schema("b", zip=text("01")), schema("c", zip=text("02")))
    assert found["zip"].commands == {"a": "fl-app pod column a.yaml zip --kind categorical"}


def test_bounds_that_lie_far_apart_are_told() -> None:
    found = verdicts(schema("a", w=number(0, 256), v=number(0, 256)), schema("b", w=number(0, 1024), v=number(0, 4096)))
    assert "far apart" not in "".join(found["w"].texts)
    assert "lie far apart: 0 to 256 in 'a', 0 to 4096 in 'b'; is the unit the same?" in found["v"].texts[-1]
    assert found["v"].commands == {"a": "fl-app pod column a.yaml v --bounds=0,4096"}
    assert found["v"].verdict == "differs"


def test_a_target_is_asked_for_more() -> None:
    pods = (schema("a", y=number(0, 64), x=text("p")), schema("b", y=number(0, 64, optional=True), x=text("q")))
    found = verdicts(*pods, target="y")
    assert found["y"].verdict == "does not fit"
    assert found["y"].commands == {"b": "fl-app pod column b.yaml y --no-optional"}
    assert verdicts(schema("a", y=number(0, 64)), schema("b", y=number(0, 64)), target="y")["y"].verdict == "fits"
    few = number(0, 64, integer=True, values=("1", "2"))
    (told,) = verdicts(schema("a", y=few), schema("b", y=number(0, 64)), target="y")["y"].texts
    assert "a few whole numbers in 'a', which may be classes, and others in 'b'" in told
    blank = number(0, 64, empty=True)
    (told,) = verdicts(schema("a", y=number(0, 64)), schema("b", y=blank), target="y")["y"].texts
    assert told == "the target 'y' holds no number in 'b'"
    assert "share no class" in verdicts(*pods, target="x")["x"].texts[0]
    assert verdicts(*pods, target="z")["z"].texts == ("no pod has a column 'z'",)
    assert verdicts(*pods, target="y", ignore_cols=["x"]).keys() == {"y"}


def test_classes_that_differ_in_case_alone_are_told_with_both_codings() -> None:
    found = verdicts(schema("a", y=text("bad", "good")), schema("b", y=text("Bad", "Good")), target="y")
    (told,) = found["y"].texts
    assert "'a' has 'bad', 'good', 'b' has 'Bad', 'Good'; they spell a class differently" in told
