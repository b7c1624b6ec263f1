"""The packaged rows are those of the published files, and the script that dealt them deals them fairly."""

import gzip
import hashlib
import runpy
from collections import Counter
from pathlib import Path

import pytest

import fl_app.demo

PACKAGE = Path(fl_app.demo.__file__).parent / "data"
SCRIPT = runpy.run_path(str(PACKAGE.parents[2] / "scripts" / "split_census.py"))
TRAINING_ROWS = "f733332e800ac5752b60ec3b3c5c3debc159225d1e3c863ca36dc8d5189faf5c"
"""SHA-256 of the published rows, spaces removed and sorted."""
HALVES = [f"{pod}.csv.gz" for pod in SCRIPT["PODS"]]


def rows(name: str) -> list[str]:
    header, *lines = gzip.decompress((PACKAGE / name).read_bytes()).decode().splitlines()
    assert header == SCRIPT["HEADER"]
    return lines


def over(lines: list[str]) -> int:
    return sum(line.endswith(",>50K") for line in lines)


def test_the_halves_make_up_the_published_training_rows() -> None:
    first, second = map(rows, HALVES)
    together = sorted(first + second)
    assert len(together) == 32_561
    assert over(together) == 7_841
    assert abs(len(first) - len(second)) <= 1
    assert abs(over(first) - over(second)) <= 1
    assert hashlib.sha256("\n".join(together).encode()).hexdigest() == TRAINING_ROWS


def test_the_test_file_is_the_published_one_cleaned() -> None:
    lines = rows("adult.test.csv.gz")
    assert (len(lines), over(lines)) == (16_281, 3_846)
    assert Counter(line.rpartition(",")[2] for line in lines).keys() == {"<=50K", ">50K"}
    assert not any(" " in line for line in lines)


def test_missing_values_stay_as_published() -> None:
    cells = Counter(cell for name in [*HALVES, "adult.test.csv.gz"] for row in rows(name) for cell in row.split(","))
    assert cells["?"] == 6_465


def test_dealing_is_disjoint_even_by_label_and_repeatable() -> None:
    deck = [f"{i},{'yes' if i % 3 else 'no'}" for i in range(100)]
    first, second = SCRIPT["deal"](deck)
    assert sorted(first + second) == sorted(deck)
    for label in ("yes", "no"):
        one, other = (sum(row.endswith(label) for row in half) for half in (first, second))
        assert abs(one - other) <= 1
    assert SCRIPT["deal"](deck) == (first, second)


def test_the_files_are_packed_without_a_time(tmp_path: Path) -> None:
    for name in [*HALVES, "adult.test.csv.gz"]:
        assert (PACKAGE / name).read_bytes()[4:8] == bytes(4)


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "adult.data.gz"
    path.write_bytes(gzip.compress(b"39, State-gov\n"))
    with pytest.raises(SystemExit, match="SHA-256"):
        SCRIPT["read_rows"](path)


def test_the_attribution_stands_beside_the_files() -> None:
    text = (PACKAGE / "SOURCE.md").read_text(encoding="utf-8")
    for part in ("Becker, B. and Kohavi, R.", "10.24432/C5XW20", "CC BY 4.0", *HALVES, "adult.test.csv.gz"):
        assert part in text
