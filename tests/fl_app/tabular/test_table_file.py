"""A file is read as text, whatever it holds and however it is written; what is wrong with it is named."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from fl_app.errors import DataError
from fl_app.pod.datasource import CSVSource, ParquetSource
from fl_app.tabular.cells import Table
from fl_app.tabular.table_file import read_rows, read_table

TABLE = "age, town ,debt\n30, Bonn, 1.5\n?,?,\n41,?Ulm?,2\n"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def check(table: Table) -> None:
    assert table.names == ("age", "town", "debt")
    assert_array_equal(table.numbers_of("age"), [30, np.nan, 41])
    indices, texts = table.texts("town")
    assert [texts[i] if i >= 0 else None for i in indices] == ["Bonn", None, "?Ulm?"]
    assert_array_equal(table.numbers_of("debt"), [1.5, np.nan, 2])


def test_csv_plain_and_gzipped(tmp_path: Path) -> None:
    check(read_table(written(tmp_path / "t.csv", TABLE)))
    check(read_table(written(tmp_path / "t.csv.gz", gzip.compress(TABLE.encode()))))


def test_csv_written_another_way(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "30;Bonn;1,5\nnone;;\n41;?Ulm?;2\n".encode("utf-16"))
    options = {
        "sep": ";",
        "decimal": ",",
        "encoding": "utf-16",
        "header": None,
        "names": ["age", "town", "debt"],
        "na_values": ["none"],
    }
    check(read_table(path, options))


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame(
        {"age": [30, None, 41], "town": ["Bonn", "?", "?Ulm?"], "debt": [1.5, None, 2], "x": ["", "?", "b"]}
    )
    frame.to_parquet(path)
    check(read_table(path, {"columns": ["age", "town", "debt"]}))
    assert read_table(path).texts("x")[0].tolist() == [-1, -1, 0]


Make = Callable[[Path], CSVSource | ParquetSource]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: CSVSource(path), "no such file"),
        (lambda path: ParquetSource(path), "no such file"),
        (lambda path: CSVSource(written(path, "")), "cannot be read as csv"),
        (lambda path: CSVSource(written(path, "a,b\n")), "no rows"),
        (lambda path: CSVSource(written(path, "a,b\n1,2\nsecret,3,4\n")), "another number of fields"),
        (lambda path: CSVSource(written(path, b"a,b\nsecret\xff,1\n")), "cannot be read as utf-8 text"),
        (lambda path: CSVSource(written(path, "a\nsecret\n"), read_options={"names": ["x", "x"]}), "same name"),
        (lambda path: CSVSource(written(path, "a,a \nsecret,1\n")), "same name"),
        (lambda path: CSVSource(written(path.with_suffix(".gz"), "a\nsecret\n")), "cannot be read as csv"),
        (lambda path: CSVSource(written(path.with_suffix(".zip"), "a\nsecret\n")), "cannot be read as csv"),
        (lambda path: CSVSource(written(path.with_suffix(".xz"), "a\nsecret\n")), "cannot be read as csv"),
        (lambda path: ParquetSource(written(path, "a\nsecret\n")), "cannot be read as parquet"),
        (lambda path: CSVSource(path.parent), "cannot be read as csv"),
    ],
)
def test_an_error_names_the_file_but_neither_its_directory_nor_its_content(
    tmp_path: Path, make: Make, said: str
) -> None:
    source = make(tmp_path / "table.csv")
    with pytest.raises(DataError, match=said) as caught:
        read_table(source.path, source.read_options, parquet=source.kind == "parquet")
    text = str(caught.value)
    assert text.startswith(f"{source.path.name}: ")
    assert "secret" not in text
    assert str(tmp_path.parent) not in text


def texts(table: Table, name: str) -> list[str | None]:
    indices, distinct = table.texts(name)
    return [distinct[i] if i >= 0 else None for i in indices]


def test_a_row_with_a_surplus_field_is_named_by_its_line_to_the_owner_alone(tmp_path: Path) -> None:
    rows = "".join(f"{i},x\n" for i in range(200))
    path = written(tmp_path / "t.csv", f'a,b\n"1\n1",y\n{rows}7,secret,8\n')
    with pytest.raises(DataError, match="another number of fields") as caught:
        read_table(path)
    assert "204" not in str(caught.value)
    assert "line 204 has 3, 2 are expected" in caught.value.full_text


def test_rows_that_end_in_a_separator_are_read_as_if_they_did_not(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "a,b\n1,x,\n2,y,\n")
    assert texts(read_table(path), "b") == ["x", "y"]
    with pytest.raises(DataError, match="number of fields") as caught:
        read_table(written(path, "a,b\n1,x,\n2,y,z\n"))
    assert "line 3 has 3, 2 are expected" in caught.value.full_text


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("a,a", "same name: 'a'"),
        ("a, a ", "same name: 'a'"),
        ("a, ", "column 2 has no name"),
        ("e\u0301,\xe9", "same name"),
    ],
)
def test_a_header_is_checked_as_it_stands(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_table(written(tmp_path / "t.csv", f"{header}\n1,2\n"))


def test_marks_spaces_and_quotes_of_a_file_are_no_part_of_its_cells(tmp_path: Path) -> None:
    content = '\ufeff"a" , "b, c"\r\n 1 , "x "\r\n\r\n"2",e\u0301\r\n'
    table = read_table(written(tmp_path / "t.csv", content))
    assert table.names == ("a", "b, c")
    assert texts(table, "a") == ["1", "2"]
    assert texts(table, "b, c") == ["x", "\xe9"]


def test_lines_before_the_header_and_comments_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "report of May\n# one\na;b\n1;2\n#3;4\n5;6\n")
    assert texts(read_table(path, {"sep": ";", "skiprows": 1, "comment": "#"}), "a") == ["1", "5"]


def test_rows_to_score_are_read_by_what_the_header_shows(tmp_path: Path) -> None:
    for separator, encoding in ((";", "latin-1"), ("\t", "utf-16"), ("|", "utf-8-sig"), (",", "utf-8")):
        rows = "\n".join(separator.join(row) for row in (("town", "age"), ("K\xf6ln", "7"), ("Bonn", "8")))
        assert texts(read_rows(written(tmp_path / "t.csv", rows.encode(encoding))), "town") == ["K\xf6ln", "Bonn"]


def test_fields_may_be_quoted_after_a_space(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", '\ufeff"a", "b"\n1, "x, y"\n2, "say ""z"""\n3,"x, y"\n\n4, w\n')
    assert texts(read_table(path), "b") == ["x, y", 'say "z"', "x, y", "w"]
    assert texts(read_table(path, without=["a"]), "b") == ["x, y", 'say "z"', "x, y", "w"]
    with pytest.raises(DataError, match="number of fields") as caught:
        read_table(written(path, 'a, b\n1, "x, y"\n2, "x", z\n'))
    assert "line 3 has 3, 2 are expected" in caught.value.full_text
    with pytest.raises(DataError, match="cannot be read as utf-8 text"):
        read_table(written(path, b'a, b\n1, "x, y"\n2, "\xff"\n'))
