"""ARCHITECTURE.md is one page, and the files that it sends its readers to are there."""

import re

from tests.house.source import ROOT

PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
FILE = re.compile(r"`([\w./-]+\.(?:py|toml|md))`")


def section(head: str) -> str:
    return PAGE.split(f"\n## {head}")[1].split("\n## ")[0]


def test_it_is_one_page() -> None:
    assert len(PAGE.splitlines()) <= 110


def test_every_file_that_it_names_is_there() -> None:
    named = FILE.findall(PAGE)
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_a_round_takes_at_most_ten_hops() -> None:
    hops = re.findall(r"^\d+\. ", section("One training round"), re.MULTILINE)
    assert 5 <= len(hops) <= 10


def test_the_table_sends_its_reader_somewhere_in_every_row() -> None:
    rows = [line for line in section("You want to change X").splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 20
    assert [row for row in rows if not FILE.search(row.split("|")[2])] == []
