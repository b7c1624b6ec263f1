"""What other parties write is shown, and does nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_app.system.printable import continued, one_line, printable


@given(st.text())
def test_what_is_printable_holds_nothing_that_acts(text: str) -> None:
    assert all(char.isprintable() or char in "\n\t" for char in printable(text))
    assert one_line(text).isprintable()
    assert len(one_line(text).splitlines()) <= 1


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_text_that_can_be_shown_is_left_as_it_is(text: str) -> None:
    assert printable(text) == one_line(text) == continued(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"), ("a\x07b", "a\\x07b"), ("\x9b31m", "\\x9b31m"), ("abc\u202edcba", "abc\\u202edcba"),
        ("\u200b", "\\u200b"), ("a\rb", "a\\rb"), ("a\nb", "a\\nb"), ("\ud800", "\\ud800"), ("é 漢 🙂", "é 漢 🙂"),
    ],
)  # fmt: skip
def test_what_acts_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_no_line_but_the_first_stands_at_the_margin() -> None:
    assert continued("fl-app: wrong\nfl-app: all is well\n  so\n\nit is") == (
        "fl-app: wrong\n  fl-app: all is well\n  so\n\n  it is"
    )
