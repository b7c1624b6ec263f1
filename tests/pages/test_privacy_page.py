"""The tables of docs/privacy.md hold what the accounting says."""

import math

import pytest

from fl_app.privacy.accounting import epsilon_of, rho_of
from fl_app.privacy.plan import rounds_for
from fl_app.privacy.settings import MOST_DELTA
from tests.pages.blocks import ROOT

PAGE = (ROOT / "docs" / "privacy.md").read_text("utf-8")


def rows_below(head: str) -> list[list[str]]:
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line.startswith(head):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def number(cell: str) -> float:
    return float(cell.removesuffix("%").replace(",", ""))


def after(before: float, epsilon: float) -> float:
    """Bayes' rule, with a likelihood ratio of e^epsilon; in per cent."""
    odds = before / (1 - before) * math.exp(epsilon)
    return 100 * odds / (1 + odds)


def test_how_sure_anybody_is_after_a_run() -> None:
    rows = rows_below("| epsilon | e^epsilon |")
    assert len(rows) == 4
    for epsilon, factor, *sure in rows:
        assert number(factor) == pytest.approx(math.exp(float(epsilon)), rel=5e-3)
        for before, cell in zip((0.5, 0.1, 0.01), sure, strict=True):
            exact = after(before, float(epsilon))
            assert number(cell) == pytest.approx(exact, abs=0.05 if "." in cell else 0.5)


def test_what_runs_and_rows_cost_together() -> None:
    rows = rows_below("| epsilon of a run |")
    assert len(rows) == 4
    for epsilon, two, four, person in rows:
        rho = rho_of(float(epsilon), MOST_DELTA)
        # Two rows move a sum twice as far, which costs four times as much (Bun and Steinke 2016, on groups).
        for cell, times in ((two, 2), (four, 4), (person, 4)):
            assert number(cell) == pytest.approx(epsilon_of(times * rho, MOST_DELTA), rel=5e-3)


def test_how_many_rounds_there_are() -> None:
    for page in ("privacy.md", "modeller.md"):
        text = " ".join((ROOT / "docs" / page).read_text("utf-8").split())
        assert f"{rounds_for(1.99)} rounds, or {rounds_for(2)} from an epsilon of 2 on" in text
