"""Lists of names as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.validation import listed_names, names_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("a, b,,c", ("a", "b", "c")),
        ('"Weight, kg",age', ("Weight, kg", "age")),
        ('age, "Weight, kg"', ("age", "Weight, kg")),
        (["a", "b,c"], ("a", "b", "c")),
        ("x, y", ("x, y",)),
    ],
)
def test_names(text: str | list[str], names: tuple[str, ...]) -> None:
    assert names_in(text, {"x, y"}) == names


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), unique=True))
def test_names_come_back_as_they_were_listed(names: list[str]) -> None:
    assert names_in(listed_names(names)) == tuple(names)
