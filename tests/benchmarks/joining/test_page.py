import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.children import CHECKOUT
from benchmarks.joining import page, plots
from benchmarks.joining.figures import gains
from benchmarks.joining.rows import Row
from benchmarks.joining.study import STUDY
from benchmarks.privacy.entries import read
from benchmarks.privacy.page import section
from tests.benchmarks.joining.entries import entry_of


def test_the_page_says_what_the_figures_say(tmp_path: Path) -> None:
    row = Row("iid", 2)
    entries = [entry_of(row, 0.90), entry_of(replace(row, seed=1), 0.91)]
    assert gains(entries) == pytest.approx([0.1, 0.11])
    text = page.text(entries)
    assert (
        f"| iid | {row.pods} | 2 | 0.8000 ± 0.0000 | 0.9050 ± 0.0071 | 0.9200 ± 0.0000 | 0.1050 ± 0.0071 | 0.1000 |"
        in text
    )
    assert "in 1 of the 1 lines with several seeds. Over all 2 rows" in text
    assert f"{len(STUDY) - 2} rows are still to be trained" in text
    plots.write(entries, tmp_path)
    before = (tmp_path / "joining.png").read_bytes()
    plots.write(entries, tmp_path)
    assert (tmp_path / "joining.png").read_bytes() == before


def test_the_committed_page_is_made_of_the_committed_figures() -> None:
    results = CHECKOUT / "docs" / "study" / "results.json"
    if not results.exists():
        pytest.skip("the study has not been carried out here")
    made = page.text(json.loads(results.read_text()), section(read(results.parent)))
    assert (CHECKOUT / "docs" / "study.md").read_text(encoding="utf-8") == made
