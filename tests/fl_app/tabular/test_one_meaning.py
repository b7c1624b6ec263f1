"""A table means the same however it is written: the same schema, and bit for bit the same arrays."""

import csv
import io
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from fl_app.tabular import csv_file
from fl_app.tabular.cell_text import DEFAULT_MISSING, key_of
from fl_app.tabular.cells import Table
from fl_app.tabular.encoding import Encoded, Encoding, statistic_sums
from fl_app.tabular.read_options import SEPARATORS
from fl_app.tabular.schema import Schema, schema_of
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.table_file import read_rows, read_table

TARGET = DataStructure(target="outcome")
FORCED = {"categorical": ["code", "ratio"]}
NAMES = ("weight", "visits", "group", "code", "ratio", "flag", "outcome")
Row = tuple[str | None, ...]


def _decimal(number: int) -> str:
    return np.format_float_positional(number / 100, trim="-")


def _maybe(cells: st.SearchStrategy[str]) -> st.SearchStrategy[str | None]:
    return st.none() | cells


# Rows that every table begins with, so that it has two classes and a feature.
_ENOUGH: list[Row] = [("1.5", "3", "7", "1", "0.5", "True", "no"), ("-2", "4", "V22", "2", "-1", "False", "yes")]
# Cells as the canonical text has them; None is a missing one.
ROWS = st.lists(
    st.tuples(
        _maybe(st.integers(-400_000, 400_000_000).map(_decimal)),
        _maybe(st.integers(0, 3000).map(str)),
        _maybe(st.sampled_from(["007", "7", "08", "V22", "M\xfcnchen", "a b", "None", "1-2", "900000000000207008"])),
        _maybe(st.integers(-3, 1200).map(str)),
        _maybe(st.integers(-300, 300).map(_decimal)),
        _maybe(st.sampled_from(["True", "False"])),
        st.sampled_from(["no", "yes", "None"]),
    ),
    max_size=12,
).map(lambda rows: [*_ENOUGH, *rows])


class Writing(NamedTuple):
    """How a CSV file is written."""

    separator: str
    encoding: str
    decimal: str
    thousands: str
    newline: str
    quoting: int
    padded: bool
    block: int

    @property
    def options(self) -> dict[str, Any]:
        marks = {"decimal": self.decimal} | ({"thousands": self.thousands} if self.thousands else {})
        return {"sep": self.separator, "encoding": self.encoding} | marks


WRITINGS = st.builds(
    lambda marks, **rest: Writing(decimal=marks[0], thousands=marks[1], **rest),
    marks=st.sampled_from([(".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (".", "'")]),
    separator=st.sampled_from(SEPARATORS),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    padded=st.booleans(),
    block=st.integers(300, 1200),
)


def spelled(draw: Callable[[st.SearchStrategy[Any]], Any], name: str, cell: str | None, writing: Writing) -> str:
    """Write one cell in one of the ways that mean the same."""
    if cell is None:
        return str(draw(st.sampled_from(DEFAULT_MISSING)))
    text = cell
    number = name in ("weight", "visits", "code", "ratio")
    if number:
        zeros = draw(st.sampled_from(["", "0", "00"]))
        if "." in text:
            text += zeros
        elif zeros:
            text += f".{zeros}"
        whole, _, fraction = text.partition(".")
        if writing.thousands and draw(st.booleans()):
            whole = f"{int(whole):,}".replace(",", writing.thousands) if whole != "-0" else whole
        text = whole + (f"{writing.decimal}{fraction}" if fraction else "")
    if name == "flag":
        text = draw(st.sampled_from([text.upper(), text.lower(), text]))
    if name == "group" and writing.encoding != "cp1252" and draw(st.booleans()):
        text = unicodedata.normalize("NFD", text)
    spaces = st.sampled_from(["", "", " ", "  ", *(["\t"] if writing.separator != "\t" else []), "\xa0"])
    return f"{draw(spaces)}{text}{draw(spaces)}"


def write_csv(path: Path, lines: Sequence[Sequence[str]], writing: Writing) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=writing.separator, lineterminator=writing.newline, quoting=writing.quoting).writerows(  # type: ignore[arg-type]
        [NAMES, *lines]
    )
    content = text.getvalue()
    if writing.padded and writing.quoting == csv.QUOTE_ALL:  # a, "b, c": no cell of ours has quotation marks
        content = content.replace(f'"{writing.separator}"', f'"{writing.separator} "')
    path.write_bytes(content.encode(writing.encoding))


def text_frame(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame([[("" if cell is None else cell) for cell in row] for row in rows], columns=list(NAMES))


def typed_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The types that a database or pandas would give the columns."""
    frame = pd.DataFrame(rows, columns=list(NAMES), dtype=object)
    for name in ("weight", "ratio", "code"):
        frame[name] = [np.nan if cell is None else float(cell) for cell in frame[name]]
    frame["visits"] = pd.array([pd.NA if cell is None else int(cell) for cell in frame["visits"]], dtype="Int64")
    frame["flag"] = pd.array([pd.NA if cell is None else cell == "True" for cell in frame["flag"]], dtype="boolean")
    frame["group"] = frame["group"].astype("category")
    return frame


def encoding_for(table: Table | pd.DataFrame) -> Encoding:
    schema = schema_of(table, name="p", force_stypes=FORCED, min_count=1)
    return Encoding.of(schema, TARGET, statistic_sums(table, schema, TARGET), min_bin_rows=1)


def published(schema: Schema | Encoding) -> object:
    """A schema, or an encoding, with one spelling of booleans."""
    document = schema.model_dump()
    columns = document["columns"] if isinstance(schema, Schema) else [*document["features"], document["target"]]
    for column in columns:
        column["values"] = tuple(map(key_of, column["values"]))
    return {key: value for key, value in document.items() if key != "numbers"}


def assert_same(found: Table | pd.DataFrame, reference: Table, chosen: Sequence[int] | None = None) -> None:
    """Two tables give the same schema, statistics and arrays; ``chosen``: the order of the rows of ``found``."""
    expected = encoding_for(reference)
    rows = np.arange(len(reference)) if chosen is None else np.array(chosen)
    described = [schema_of(table, name="p", force_stypes=FORCED, min_count=1) for table in (found, reference)]
    assert published(described[0]) == published(described[1])
    if chosen is None:
        assert published(encoding_for(found)) == published(expected)
    for encoding in (expected, encoding_for(found)) if chosen is None else (expected,):
        compare(encoding.encode(found), expected.encode(reference), rows)


def compare(found: Encoded, expected: Encoded, rows: Any) -> None:
    assert found.labels is not None
    assert expected.labels is not None
    for name in ("numbers", "bins", "codes", "labels"):
        assert_array_equal(getattr(found, name), getattr(expected, name)[rows], err_msg=name)


@given(ROWS, st.data(), WRITINGS)
def test_every_csv_file_of_a_table_means_the_same(rows: list[Row], data: st.DataObject, writing: Writing) -> None:
    lines = [[spelled(data.draw, name, cell, writing) for name, cell in zip(NAMES, row, strict=True)] for row in rows]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t.csv"
        write_csv(path, lines, writing)
        with mock.patch.object(csv_file, "_BLOCK", writing.block):
            table = read_table(path, writing.options)
            reference = Table.of(text_frame(rows))
            assert_same(table, reference)
            encoding = encoding_for(reference)
            marks = {key: value for key, value in writing.options.items() if key in ("decimal", "thousands")}
            # What the header and the bytes show need not be said to score the file.
            compare(encoding.encode(read_rows(path, encoding, marks)), encoding.encode(reference), slice(None))


@given(ROWS, st.sampled_from(["object", "string", "category", "large", "parquet", "arrow csv", "pandas csv"]))
def test_types_of_columns_change_nothing(rows: list[Row], way: str) -> None:
    reference, text, typed = Table.of(text_frame(rows)), text_frame(rows), typed_frame(rows)
    assert_same(typed, reference)
    if way in ("object", "string", "category"):
        assert_same(text.astype(way), reference)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / ("t.csv" if "csv" in way else "t.parquet")
        if way == "parquet":
            typed.to_parquet(path, row_group_size=3)
        elif way == "large":
            large = pa.schema([(name, pa.large_string()) for name in NAMES])
            parquet.write_table(pa.Table.from_pandas(text, preserve_index=False).cast(large), path, row_group_size=4)
        elif way == "arrow csv":
            arrow_csv.write_csv(pa.Table.from_pandas(typed.astype({"group": "string"}), preserve_index=False), path)
        else:
            typed.to_csv(path, index=False)
        assert_same(read_table(path), reference)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_and_the_company_of_rows_change_nothing(rows: list[Row], random: Any) -> None:
    table = Table.of(text_frame(rows))
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = [rows[place] for place in order]
    assert_same(Table.of(typed_frame(shuffled)), table, order)
    assert_same(Table.of(text_frame(shuffled)), table, order)
    encoding = encoding_for(table)
    whole = encoding.encode(table)
    for place in order[:3]:
        alone = encoding.encode(text_frame([rows[place]]))
        compare(alone, whole, [place])
        compare(encoding.encode(typed_frame([rows[place]])), whole, [place])
        compare(encoding.encode(table.rows(np.array([place]))), whole, [place])


FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e-3, 1e-3) | st.floats(1e14, 1e18)


@given(st.lists(FLOATS | st.integers(-(2**62), 2**62).map(float), min_size=1, max_size=20), st.sampled_from("fd"))
def test_a_number_of_any_size_is_one_category_in_every_program(numbers: list[float], kind: str) -> None:
    with np.errstate(over="ignore"):
        frame = pd.DataFrame({"x": np.array(numbers).astype("float32" if kind == "f" else "float64")})
    frame = frame[np.isfinite(frame["x"])].reset_index(drop=True)
    if frame.empty:
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t.csv"
        frame.to_csv(path, index=False)
        tables = [Table.of(frame), read_table(path)]
        if kind == "d":  # Arrow writes float32 with fewer digits than it has, and Python has no float32
            arrow_csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), path)
            tables += [read_table(path), Table.of(frame.astype(object))]
    for table in tables[1:]:
        (first, words), (second, others) = tables[0].texts("x"), table.texts("x")
        assert [words[i] for i in first] == [others[i] for i in second]
        assert_array_equal(table.numbers_of("x"), tables[0].numbers_of("x"))


@pytest.mark.parametrize("spelling", ["-999", "-999.0", " -999 ", "-999.00"])
def test_a_number_may_stand_for_a_missing_value(spelling: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"x,y\n1,a\n{spelling},b\n3,{spelling}\n")
    table = read_table(path, {"na_values": ["-999"]})
    assert_array_equal(table.numbers_of("x"), [1, np.nan, 3])
    assert table.texts("y")[0].tolist() == [0, 1, -1]
    typed = Table.of(pd.DataFrame({"x": [1, -999, 3]}))
    assert_array_equal(typed.numbers_of("x", ["-999"]), [1, np.nan, 3])


def test_a_spelling_of_missing_is_written_as_the_file_writes_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x;y\n1,5;a\n-9,90;b\n3;-9,9\n")
    table = read_table(path, {"sep": ";", "decimal": ",", "na_values": ["-9,9"]})
    assert_array_equal(table.numbers_of("x"), [1.5, np.nan, 3])
    assert table.texts("y")[0].tolist() == [0, 1, -1]
