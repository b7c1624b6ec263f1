"""A text in a CSV file has the same code whether pandas and our own encoding read it or a bare mapping does."""

from pathlib import Path

import pytest
from pandas._libs.parsers import STR_NA_VALUES

from fl_app.tabular.cell_text import DEFAULT_MISSING
from fl_app.tabular.encoding import MISSING, codes_of
from fl_app.tabular.schema import Column
from fl_app.tabular.table_file import read_rows
from server.exports.vocabulary import vocabulary


def test_missing_is_what_pandas_takes_for_missing_and_the_question_mark_but_not_none() -> None:
    assert set(DEFAULT_MISSING) == STR_NA_VALUES - {"None"} | {"?"}


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (("Private", "State-gov", "a b"), ["Private", " State-gov", "a b", "", "?", " ?", "NA", "Never", "private"]),
        (("1", "12", "-3"), ["1", "12.0", "", "-3", "-3.0", "4"]),
        (("False", "True"), ["true", "FALSE", "True", "False"]),
        (("0.5", "NO", "YES"), ["NO", "YES", "0.5", "nan"]),
    ],
)
def test_a_text_has_the_code_that_the_table_gives_it(values: tuple[str, ...], cells: list[str], tmp_path: Path) -> None:
    column = Column(name="x", kind="categorical", values=tuple(sorted(values)))
    path = tmp_path / "rows.csv"
    path.write_text("x,y\n" + "".join(f"{cell},1\n" for cell in cells))
    words = vocabulary(column)
    assert [words.get(cell, 0) for cell in cells] == codes_of(read_rows(path), column).tolist()


def test_a_published_value_goes_before_a_spelling_of_another() -> None:
    words = vocabulary(Column(name="x", kind="categorical", values=("1", "NA")))
    assert (words["1"], words["1.0"], words["NA"], words[" NA"], words["null"]) == (2, 2, 3, 3, MISSING)
