"""A modeller's proposal for columns at one pod: it decides what the owner leaves open, and no more."""

from typing import Any

import pandas as pd
import pytest

from fl_app.errors import DataError, UsageError
from fl_app.tabular.cells import Table
from fl_app.tabular.column_spec import MAX_SPEC, Agreement, ColumnSpec, agree
from fl_app.tabular.schema import Schema, schema_of

FRAME = pd.DataFrame(
    {
        "stage": [str(n % 4) for n in range(100)],
        "ward": [f"{n % 8}" for n in range(100)],
        "age": [str(20 + n % 50) for n in range(100)],
        "tsh": ["<0.1" if n % 5 == 0 else f"{n / 10}" for n in range(100)],
        "rare": ["odd" if n == 7 else f"{n / 10}" for n in range(100)],
        "grade": ["NA" if n % 2 else "A" for n in range(100)],
    }
)


def spec(**columns: dict[str, Any]) -> ColumnSpec:
    return ColumnSpec(columns=columns)


def agreed(proposal: ColumnSpec, missing: tuple[str, ...] | None = None, **owner: Any) -> tuple[Agreement, Schema]:
    table = Table.of(FRAME)
    table = Table(table.columns, table.size, missing)
    said = {"force_stypes": {}, "bounds": {}, "units": {}, **owner}
    agreement = agree(table, proposal, **said, min_count=10)
    schema = schema_of(
        table,
        name="a",
        force_stypes=agreement.force_stypes,
        bounds=agreement.bounds,
        units=agreement.units,
        read_as=agreement.read_as,
    )
    return agreement, schema


def test_it_decides_what_the_owner_leaves_open() -> None:
    agreement, schema = agreed(
        spec(
            stage={"kind": "categorical"},
            ward={"kind": "continuous", "bounds": [0, 10]},
            age={"bounds": [0, 120], "unit": "years"},
            tsh={"kind": "continuous", "missing": ["<0.1"]},
            grade={"missing": ["?"]},
            elsewhere={"kind": "continuous"},
        )
    )
    assert agreement.disagreements == {}
    assert (schema.column("stage").kind, schema.column("stage").values) == ("categorical", ("0", "1", "2", "3"))
    assert (schema.column("ward").kind, schema.column("ward").values) == ("continuous", ())
    assert schema.column("ward").bounds == (0, 10)
    assert (schema.column("age").bounds, schema.column("age").unit) == ((0, 120), "years")
    assert schema.column("tsh").kind == "continuous"
    assert "<0.1" in schema.column("tsh").missing
    assert "NA" in schema.column("tsh").missing
    assert schema.column("grade").values == ("A", "NA")


@pytest.mark.parametrize(
    ("proposal", "owner", "why"),
    [
        ({"stage": {"kind": "categorical"}}, {"force_stypes": {"continuous": ["stage"]}}, "declares it continuous"),
        ({"stage": {"kind": "continuous"}}, {"force_stypes": {"categorical": ["stage"]}}, "declares it categorical"),
        ({"stage": {"kind": "categorical"}}, {"bounds": {"stage": (0, 9)}}, "gives it bounds"),
        ({"stage": {"bounds": [0, 4]}}, {"bounds": {"stage": (0, 9)}}, "other bounds"),
        ({"stage": {"unit": "kg"}}, {"units": {"stage": "lb"}}, "in 'lb', not in 'kg'"),
        ({"stage": {"missing": ["0"]}}, {"missing": ("9",)}, "which texts are missing values"),
    ],
)
def test_the_owner_has_the_last_word(proposal: dict[str, Any], owner: dict[str, Any], why: str) -> None:
    agreement, schema = agreed(spec(**proposal), **owner)
    _, alone = agreed(spec(), **owner)
    assert why in agreement.disagreements["stage"]
    assert schema == alone


def test_text_among_proposed_numbers_is_told_without_a_cell_or_a_count() -> None:
    agreement, schema = agreed(spec(tsh={"kind": "continuous"}))
    assert agreement.disagreements == {"tsh": "it holds text that is not a number, and stays categorical"}
    assert schema.column("tsh").kind == "categorical"


def test_numbers_that_are_forced_to_be_continuous_publish_no_values_whatever_is_proposed() -> None:
    for proposal in ({"kind": "categorical"}, {"missing": ["0"]}, {"bounds": [0, 4]}):
        _, schema = agreed(spec(stage=proposal), force_stypes={"continuous": ["stage"]})
        assert schema.column("stage").values == ()


@pytest.mark.parametrize("guess", ["odd", "even"])
def test_a_guess_at_a_rare_text_shows_nothing(guess: str) -> None:
    """One row holds a text that is published nowhere; whether a guess at it is right makes no difference."""
    agreement, schema = agreed(spec(rare={"kind": "continuous", "missing": [guess]}))
    assert agreement.disagreements == {"rare": "it holds text that is not a number, and stays categorical"}
    assert schema.column("rare").values == ()


@pytest.mark.parametrize("guess", ["69", "70"])
def test_a_guess_at_the_largest_number_shows_nothing(guess: str) -> None:
    _, schema = agreed(spec(age={"missing": [guess]}))
    assert schema.column("age").bounds == (0, 128)
    assert schema.column("age").values == ()


def test_a_proposal_is_bounded_and_typed() -> None:
    assert ColumnSpec.proposed("").columns == {}
    sent = spec(age={"bounds": [0, 120]})
    assert ColumnSpec.proposed(sent.to_json()) == sent
    for text in ("{", '{"columns": {"a": {"kind": "text"}}}', '{"columns": {"a": {"run": "x"}}}', "x" * (MAX_SPEC + 1)):
        with pytest.raises(DataError):
            ColumnSpec.proposed(text)
    for wrong in ({"bounds": [2, 1]}, {"kind": "categorical", "bounds": [0, 1]}, {"missing": ["x"] * 51}):
        with pytest.raises(UsageError):
            spec(a=wrong)


def numbers_with(odd: str) -> Table:
    """Whole numbers of twenty values, and one row with another cell."""
    return Table.of(pd.DataFrame({"x": [odd, *(str(n % 20) for n in range(400))]}))


@pytest.mark.parametrize("odd", ["77", "3.5"])
def test_a_guess_at_a_rare_number_shows_nothing(odd: str) -> None:
    """A right guess must not turn twenty-one values into twenty, which are published, nor fractions into none."""
    table = numbers_with(odd)

    def published(guess: str) -> Schema:
        agreement = agree(table, spec(x={"missing": [guess]}), force_stypes={}, bounds={}, units={}, min_count=10)
        schema = schema_of(table, name="a", bounds=agreement.bounds, read_as=agreement.read_as)
        (column,) = schema.columns
        return schema.model_copy(update={"columns": (column.model_copy(update={"missing": ()}),)})

    assert published(odd) == published("-1")


def test_a_guess_at_the_only_cell_of_a_column_shows_nothing() -> None:
    table = Table.of(pd.DataFrame({"x": ["lone", *[""] * 99], "y": range(100)}))
    for guess in ("lone", "other"):
        agreement = agree(table, spec(x={"missing": [guess]}), force_stypes={}, bounds={}, units={}, min_count=10)
        assert not schema_of(table, name="a", read_as=agreement.read_as).column("x").empty
