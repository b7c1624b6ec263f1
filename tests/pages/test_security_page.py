"""SECURITY.md says what the tests' own tables say."""

from pathlib import Path

from scripts.security_counts import page

ROOT = Path(__file__).parents[2]


def test_the_tables_of_the_security_page_are_the_tests_own() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert page(text) == text, "run `make counts`"
