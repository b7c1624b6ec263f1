"""Finding out how a file is written, column by column."""

from pathlib import Path

import pytest

from fl_app.errors import UsageError
from fl_app.tabular.cell_text import NumberFormat
from fl_app.tabular.read_options import complete, encoding_of, number_format_of, options_in

PLAIN = ["1.5", "2.25", "3"]


@pytest.mark.parametrize(
    ("columns", "separator", "decimal", "thousands"),
    [
        ([PLAIN, ["a", "b", "c"]], ",", ".", ""),
        ([["1,5", "2,25", "3"]], ";", ",", ""),
        ([["1.012,50", "2,25", "3"]], ";", ",", "."),
        ([["1,012.50", "2.25", "3"]], ",", ".", ","),
        ([["1,012", "2,250", "30"]], ",", ".", ","),
        ([["1,012", "2,250", "30"]], ";", ",", ""),
        ([["1\u202f012,5", "2", "3"]], ";", ",", "\u202f"),
        ([["1'012.5", "2", "3"]], ",", ".", "'"),
        ([["1.234.567", "2.345.678", "12"]], ";", ",", "."),
        # One text column among numbers changes nothing: not addresses, versions or lists.
        ([PLAIN, ["10.1.234.567", "a", "b"]], ";", ".", ""),
        ([PLAIN, ["1.234.567", "text", "more text"]], ";", ".", ""),
        ([["1.5"] * 5, ["2.5"] * 5, ["1,5", "2,5"]], ";", ".", ""),
        # What is missing is not counted against a format.
        ([["1,5", "NA", "", "?"]], ";", ",", ""),
    ],
)
def test_number_formats(columns: list[list[str]], separator: str, decimal: str, thousands: str) -> None:
    assert number_format_of(columns, separator) == NumberFormat(decimal=decimal, thousands=thousands)


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp1252", "cp1252"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, found: str) -> None:
    (tmp_path / "t.csv").write_text("ville,x\nOrl\u00e9ans,1\n", encoding=encoding)
    assert encoding_of(tmp_path / "t.csv") == found


def test_latin_1_where_windows_has_no_such_character(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n\x81\xe9,1\n")
    assert encoding_of(tmp_path / "t.csv") == "latin-1"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(tmp_path: Path, separator: str) -> None:
    (tmp_path / "t.csv").write_text(f"a{separator}b c\n1{separator}2\n")
    assert complete(tmp_path / "t.csv", {})["sep"] == separator


def test_parquet_has_fewer_options() -> None:
    assert options_in("na_values: [x]", parquet=True) == {"na_values": ["x"]}
    with pytest.raises(UsageError, match="sep"):
        options_in("sep: x", parquet=True)
