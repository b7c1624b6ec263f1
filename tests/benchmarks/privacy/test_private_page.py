"""The section on private runs, its picture, and which cases are trained."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.privacy import entries as kept
from benchmarks.privacy.cases import CASES, SEEDS, Case
from benchmarks.privacy.page import PICTURE, section, write_picture


def entry_of(case: Case, auc: float = 0.9) -> dict[str, Any]:
    reported = {"reported": {"auc": auc - 0.01, "accuracy": 0.85}} if case.kind == "secure sum" else {}
    return {"case": asdict(case), "auc": auc, "accuracy": 0.85, **reported, "seconds": 30.0}


def test_the_section_says_what_the_figures_say(tmp_path: Path) -> None:
    entries = [entry_of(Case("secure sum", 1.0, 3, 2, 0), 0.91), entry_of(Case("secure sum", 1.0, 3, 2, 1), 0.90)]
    entries += [
        entry_of(Case("DP-EBM", 1.0, 1, 1, 0), 0.885),
        entry_of(Case("secure sum", 8.0, 10, 9, 0), 0.915),
        entry_of(Case("each by itself", 8.0, 10, 1, 0), 0.912),
        entry_of(Case("no privacy", 0.0, 3, 0, 0), 0.92),
    ]
    text = section(entries)
    assert "| secure sum, 3 pods, 2 relied on |  | 0.9050 ± 0.0071 |  |  | |" in text
    assert "| the same network, 3 pods | | | | | 0.9200 |" in text
    assert "three pods of which one colludes are 0.020 of AUC ahead of DP-EBM" in text
    assert "nine of them relied on: 0.003 at epsilon 8." in text
    assert "a root mean square of 0.010 at epsilon 1, 0.010 at epsilon 8." in text
    assert f"6 of {len(CASES)} models, 3 minutes of one core; mean and deviation over {SEEDS} seeds." in text
    assert f" {len(CASES) - 6} are still to be trained" in text
    write_picture(entries, tmp_path)
    before = (tmp_path / PICTURE).read_bytes()
    write_picture(entries, tmp_path)
    assert (tmp_path / PICTURE).read_bytes() == before
    assert section([]) == ""


def test_cases_that_are_done_are_not_trained_again_and_those_no_longer_in_the_study_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Case] = []

    def measure(case: Case) -> dict[str, Any]:
        measured.append(case)
        return entry_of(case)

    monkeypatch.setattr(kept, "measure", measure)
    done = [entry_of(case, 0.8) for case in reversed(CASES[2:])]
    gone = entry_of(Case("secure sum", 1.0, 3, 2, 99))
    (tmp_path / kept.FILE).write_text(json.dumps([*done, gone]))
    entries = kept.train_missing(tmp_path)
    assert measured == CASES[:2]
    assert entries == [*map(entry_of, CASES[:2]), *done[::-1]] == kept.read(tmp_path)


def test_no_case_stands_twice_in_the_study() -> None:
    assert len(set(CASES)) == len(CASES)
