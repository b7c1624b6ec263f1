import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.app.table_reader import read_table, split_rows
from fl_app.errors import DataError
from fl_app.pod.definition import CSVSource, ParquetSource

TABLE = "age, town ,debt\n30, Bonn, 1.5\n?,?,\n41,?Ulm?,2\n"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def check(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == ["age", "town", "debt"]
    assert frame["age"].dtype == np.float64
    assert frame["town"].tolist()[::2] == ["Bonn", "?Ulm?"]
    assert frame.isna().sum().tolist() == [1, 1, 1]


def test_csv_plain_and_gzipped(tmp_path: Path) -> None:
    check(read_table(CSVSource(written(tmp_path / "t.csv", TABLE))))
    check(read_table(CSVSource(written(tmp_path / "t.csv.gz", gzip.compress(TABLE.encode())))))


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
    check(read_table(CSVSource(path, read_options=options)))


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame(
        {"age": [30, None, 41], "town": ["Bonn", "?", "?Ulm?"], "debt": [1.5, None, 2], "x": ["", "?", "b"]}
    )
    frame.to_parquet(path)
    check(read_table(ParquetSource(path, read_options={"columns": ["age", "town", "debt"]})))
    assert read_table(ParquetSource(path))["x"].isna().tolist() == [True, True, False]


Make = Callable[[Path], CSVSource | ParquetSource]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: CSVSource(path), "no such file"),
        (lambda path: ParquetSource(path), "no such file"),
        (lambda path: CSVSource(written(path, "")), "cannot be read as csv"),
        (lambda path: CSVSource(written(path, "a,b\n")), "no rows"),
        (lambda path: CSVSource(written(path, "a,b\n1,2\nsecret,3,4\n")), "cannot be read as csv"),
        (lambda path: CSVSource(written(path, b"a,b\nsecret\xff,1\n")), "cannot be read as csv"),
        (lambda path: CSVSource(written(path, "a\nsecret\n"), read_options={"names": ["x", "x"]}), "cannot be read"),
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
        read_table(source)
    text = str(caught.value)
    assert text.startswith(f"{source.path.name}: ")
    assert "secret" not in text
    assert str(tmp_path.parent) not in text


@given(st.integers(10, 3000), st.text())
def test_a_split_is_disjoint_whole_and_repeatable(rows: int, seed_text: str) -> None:
    parts = split_rows(rows, seed_text)
    assert sorted(np.concatenate(parts)) == list(range(rows))
    train, validation, test = map(len, parts)
    assert train == rows * 8 // 10
    assert abs(validation - rows / 10) < 1
    assert abs(test - rows / 10) <= 1
    for one, again in zip(parts, split_rows(rows, seed_text), strict=True):
        assert (one == again).all()
        assert one.dtype == np.int64


def test_splits_of_different_seeds_differ_and_known_ones_stay() -> None:
    one, other = split_rows(1000, "a")[2], split_rows(1000, "b")[2]
    assert len(set(one) & set(other)) < 30
    assert [part.tolist() for part in split_rows(10, "census")] == [[0, 1, 2, 4, 6, 7, 8, 9], [5], [3]]


@given(st.integers(100, 3000), st.integers(1, 40), st.integers(0, 40))
def test_the_owner_says_how_many_rows_are_kept_from_training(rows: int, validation: int, test: int) -> None:
    parts = split_rows(rows, "a", validation_percent=validation, test_percent=test)
    assert sorted(np.concatenate(parts)) == list(range(rows))
    for part, percent in zip(parts, (100 - validation - test, validation, test), strict=True):
        assert abs(len(part) - rows * percent / 100) <= 1
        assert len(part) or not percent


def test_a_table_too_small_for_its_shares_is_refused() -> None:
    assert [len(part) for part in split_rows(10, "a", validation_percent=1, test_percent=0)] == [9, 1, 0]
    with pytest.raises(DataError, match=r"validation_percent and test_percent: not one row for each"):
        split_rows(50, "a", validation_percent=1, test_percent=1)


def test_a_table_too_small_to_split_is_refused() -> None:
    with pytest.raises(DataError, match="too few rows"):
        split_rows(9, "a")
