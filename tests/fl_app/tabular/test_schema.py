from collections.abc import Callable, Iterable
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.errors import DataError, UsageError
from fl_app.tabular.combining import SchemaMismatch, combine
from fl_app.tabular.schema import Column, Schema, schema_of
from fl_app.tabular.settings import DataStructure

from .tables import shop


def text(name: str, *values: str, optional: bool = False) -> Column:
    return Column(name=name, kind="categorical", values=values, optional=optional)


def number(name: str, low: float = 0, high: float = 8, *, integer: bool = False, optional: bool = False) -> Column:
    return Column(name=name, kind="continuous", low=low, high=high, integer=integer, optional=optional)


def test_kinds_values_and_bounds_of_a_table() -> None:
    frame = shop().assign(member=True, debt=lambda f: -f["gift"] - 0.5)
    schema = schema_of(frame, name="a", ignore_cols=["colour"], min_count=1)
    assert schema.names == ("age", "gift", "town", "bought", "member", "debt")
    assert schema.column("age") == number("age", 0, 128, integer=True)
    gift = number("gift", 0, 131072, integer=True)
    assert schema.column("gift") == gift.model_copy(update={"values": ("0", "250", "3000", "70000")})
    assert schema.column("gift").as_categories() == text("gift", "0", "250", "3000", "70000")
    assert schema.column("town") == text("town", "Aachen", "Bonn", "Celle")
    assert schema.column("member") == text("member", "True")
    assert schema.column("debt") == number("debt", -131072, 131072)


def test_a_value_seen_too_rarely_is_not_published() -> None:
    frame = pd.DataFrame({"x": [*["a"] * 10, *["b"] * 9, " b", "?", "", None]})
    assert schema_of(frame, name="p", min_count=10).column("x").values == ("a", "b")
    assert schema_of(frame, name="p", min_count=11).column("x").values == ()
    assert schema_of(frame, name="p", min_count=1).column("x").values == ("a", "b")


def test_whole_numbers_forced_to_be_categories_read_alike_with_and_without_gaps() -> None:
    forced = {"categorical": ["x"]}
    whole, gaps = pd.DataFrame({"x": [1, 2, 2]}), pd.DataFrame({"x": [1, 2, None]})
    for frame in (whole, gaps):
        assert schema_of(frame, name="p", force_stypes=forced, min_count=1).column("x").values == ("1", "2")


def test_text_forced_to_be_numbers() -> None:
    frame = pd.DataFrame({"x": ["1.5", " 3 ", "?", None]})
    assert schema_of(frame, name="p", force_stypes={"continuous": ["x"]}).column("x") == number("x", 0, 4)
    frame.loc[0, "x"] = "secret"
    with pytest.raises(DataError, match=r"column 'x' .* not a number") as caught:
        schema_of(frame, name="p", force_stypes={"continuous": ["x"]})
    assert "secret" not in str(caught.value)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_default_bounds_cover_the_data_and_are_powers_of_two(numbers: list[float]) -> None:
    frame = pd.DataFrame({"x": np.array(numbers, float)})
    low, high = schema_of(frame, name="p", force_stypes={"continuous": ["x"]}).column("x").bounds
    assert low in (0.0, -high)
    assert np.log2(high) == round(np.log2(high))
    inside = [x for x in numbers if 2.0**-1000 < abs(x) < 2.0**1000]
    assert all(low <= x <= high for x in inside)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ignore_cols": ["agee"]}, "ignore_cols names 'agee'"),
        ({"force_stypes": {"categorical": ["agee"]}}, "force_stypes names 'agee'"),
        ({"force_stypes": {"image": ["age"]}}, "unknown kind 'image'"),
        ({"bounds": {"agee": (0, 1)}}, "bounds names 'agee'"),
        ({"bounds": {"town": (0, 1)}}, "bounds names 'town', which is categorical"),
        ({"bounds": {"age": (1, 1)}}, "column 'age' .* low < high"),
        ({"optional": ["agee"]}, "optional names 'agee'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        schema_of(shop(), name="p", **settings)  # type: ignore[arg-type]


def test_dates_are_read_as_a_csv_file_has_them() -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(["2020-01-01", None]), "at": pd.to_datetime(["2020-01-01 10:30"] * 2)})
    schema = schema_of(frame, name="p", min_count=1)
    assert schema.columns == (text("day", "2020-01-01"), text("at", "2020-01-01 10:30:00"))


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}, None], [b"a", b"b"]])
def test_nested_and_binary_columns_are_refused_unless_left_out(values: list[object]) -> None:
    frame = pd.DataFrame({"codes": values, "x": [1, 2]})
    with pytest.raises(DataError, match=r"column 'codes' .* ignore_cols"):
        schema_of(frame, name="p")


def test_infinite_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="column 'x' holds infinite"):
        schema_of(pd.DataFrame({"x": [1.0, np.inf]}), name="p")


def test_combining_unites_values_widens_bounds_and_reports_differences() -> None:
    first = Schema(name="a", columns=(text("t", "p", "q"), number("n", 0, 8, integer=True)))
    second = Schema(name="b", columns=(number("n", -4, 4), text("t", "q", "r")))
    both = combine([first, second])
    assert both.columns == (text("t", "p", "q", "r"), number("n", -4, 8))
    assert both.differences == (
        "t: a does not publish r",
        "t: b does not publish p",
        "n: a has 0..8 of -4..8",
        "n: b has -4..4 of -4..8",
    )


def test_of_many_values_only_their_number_and_examples_are_told() -> None:
    tails = [f"N{number:05}" for number in range(3000)]
    first, second = (
        Schema(name=name, columns=(text("tail", *own),)) for name, own in (("a", tails), ("b", tails[1480:]))
    )
    assert combine([first, second]).differences == (
        "tail: b does not publish 1,480 of 3,000 values (N00000, N00001, N00002, ...)",
    )
    dozen = Schema(name="b", columns=(text("tail", *tails[12:]),))
    assert combine([first, dozen]).differences == (f"tail: b does not publish {', '.join(tails[:12])}",)
    long = Schema(name="a", columns=(text("tail", *(tail + 100 * "x" for tail in tails)),))
    assert all(len(difference) < 250 for difference in combine([long, second]).differences)


class Counted(str):
    """A text that counts how often it is compared or hashed."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Counted.times += 1
        return str.__eq__(self, other)

    def __lt__(self, other: str) -> bool:
        Counted.times += 1
        return str.__lt__(self, other)

    def __hash__(self) -> int:
        Counted.times += 1
        return str.__hash__(self)


def comparisons(first: Schema, second: Schema) -> int:
    Counted.times = 0
    with suppress(SchemaMismatch):
        combine([first, second])
    return Counted.times


def of_columns(pod: str, names: Iterable[int]) -> Schema:
    columns = tuple(number("n", 0, 8).model_copy(update={"name": Counted(f"column {place}")}) for place in names)
    return Schema(name=pod, columns=()).model_copy(update={"columns": columns})


def of_values(pod: str, values: Iterable[int]) -> Schema:
    column = text("t").model_copy(update={"values": tuple(Counted(f"{value:06}") for value in values)})
    return Schema(name=pod, columns=()).model_copy(update={"columns": (column,)})


@pytest.mark.parametrize("of", [of_columns, of_values])
@pytest.mark.parametrize("shift", [0, 300], ids=["alike", "others"])
def test_combining_costs_as_much_again_for_as_many_again(of: Callable[..., Schema], shift: int) -> None:
    """A pod that publishes many columns or values must not hold up whoever combines them."""
    few, many = (comparisons(of("a", range(size)), of("b", range(shift, shift + size))) for size in (300, 1200))
    assert 0 < many < 6 * few  # with n log n at most 5.1 times


def test_equal_schemas_have_no_differences() -> None:
    schema = schema_of(shop(), name="a")
    assert combine([schema, schema.model_copy(update={"name": "b"})]).differences == ()


def test_kinds_that_disagree_are_an_error_that_names_pods_column_and_kinds() -> None:
    pods = [Schema(name="a", columns=(text("x", "1"),)), Schema(name="b", columns=(number("x"),))]
    with pytest.raises(SchemaMismatch, match="'x' is categorical in 'a' but continuous in 'b'"):
        combine(pods)
    assert combine([*pods, Schema(name="c", columns=(number("y", optional=True),))], ignore_cols=["x"]).names == ("y",)


def test_a_missing_column_must_be_optional_where_it_exists() -> None:
    lacking = Schema(name="b", columns=(number("y"),))
    with pytest.raises(SchemaMismatch, match="'x' of 'a' is missing in 'b'"):
        combine([Schema(name="a", columns=(number("x"), number("y"))), lacking])
    both = combine([Schema(name="a", columns=(number("x", optional=True), number("y"))), lacking])
    assert both.column("x").optional
    assert both.differences == ("x: b lacks this optional column",)


def test_json_round_trip() -> None:
    schema = schema_of(shop(), name="a")
    assert Schema.from_json(schema.to_json()) == schema


@given(st.binary() | st.text())
def test_arbitrary_json_raises_only_our_error(junk: bytes | str) -> None:
    with pytest.raises(DataError):
        Schema.from_json(junk)


@pytest.mark.parametrize(
    "column",
    [
        '{"name": "x", "kind": "categorical", "values": ["b", "a"]}',
        '{"name": "x", "kind": "categorical", "low": 0}',
        '{"name": "x", "kind": "continuous", "low": 1, "high": 1}',
        '{"name": "x", "kind": "continuous", "low": 0, "high": NaN}',
        '{"name": "x", "kind": "continuous", "low": 0, "high": 1, "count": 3}',
        '{"name": "x", "kind": "categorical"}, {"name": "x", "kind": "categorical"}',
    ],
)
def test_inconsistent_columns_are_refused(column: str) -> None:
    with pytest.raises(DataError):
        Schema.from_json(f'{{"name": "p", "columns": [{column}]}}')


def test_features_are_all_columns_but_target_and_ignored_in_table_order() -> None:
    schema = schema_of(shop(), name="a")
    assert DataStructure(target="bought").features(schema) == ("age", "gift", "town", "colour")
    chosen = DataStructure(target="bought", selected_cols=["town", "age", "bought"], table={"a": "a"})
    assert chosen.features(schema) == ("age", "town")
    assert DataStructure(target="bought", ignore_cols=["gift", "nowhere"]).features(schema) == ("age", "town", "colour")


@pytest.mark.parametrize(
    ("datastructure", "said"),
    [
        (DataStructure(target="sold"), "no column 'sold'"),
        (DataStructure(target="bought", selected_cols=("sold",)), "no column 'sold'"),
        (DataStructure(target="bought", selected_cols=("bought",)), "no feature column is left"),
    ],
)
def test_a_data_structure_that_does_not_fit_the_schema(datastructure: DataStructure, said: str) -> None:
    with pytest.raises(DataError, match=said):
        datastructure.features(schema_of(shop(), name="a"))


def test_a_target_needs_two_published_values() -> None:
    with pytest.raises(DataError, match="fewer than two"):
        DataStructure(target="t").features(Schema(name="a", columns=(text("t", "only"), number("x"))))


@pytest.mark.parametrize(
    "fields",
    [
        {"target": "x", "ignore_cols": ("x",)},
        {"target": "x", "selected_cols": ("y",), "ignore_cols": ("y",)},
        {"target": 5},
        {"target": "x", "tables": "y"},
        {},
    ],
)
def test_a_wrong_data_structure_is_a_usage_error(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="DataStructure"):
        DataStructure(**fields)  # type: ignore[arg-type]
