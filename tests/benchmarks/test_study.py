"""The study's splits, its small row through the real code, and the page that is made of its figures."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.joining import page, plots
from benchmarks.joining.figures import gains, median_alone, secure_minus_plain
from benchmarks.joining.rows import Row
from benchmarks.joining.splits import LEAST_ROWS, SMALL_POD, SPLITS, TARGET
from benchmarks.joining.study import STUDY
from scripts import study

ROOT = Path(__file__).resolve().parents[2]


def table(rows: int = 6000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"education-num": rng.integers(1, 17, rows), TARGET: rng.choice(["<=50K", ">50K"], rows)})


@pytest.mark.parametrize("pods", [2, 5])
@pytest.mark.parametrize("split", SPLITS)
def test_every_row_lies_with_one_pod(split: str, pods: int) -> None:
    parts = SPLITS[split](table(), pods, np.random.default_rng(1))
    assert len(parts) == pods
    assert sorted(np.concatenate(parts).tolist()) == list(range(6000))
    assert min(map(len, parts)) >= LEAST_ROWS


def test_splits_are_what_they_are_called() -> None:
    rows, rng = table(), np.random.default_rng(1)
    years = [rows["education-num"].to_numpy()[part] for part in SPLITS["by education"](rows, 3, rng)]
    assert years[0].max() <= years[1].min()
    assert years[1].max() <= years[2].min()
    assert [len(part) for part in SPLITS["one large"](rows, 4, rng)] == [6000 - 3 * SMALL_POD, *[SMALL_POD] * 3]

    def unlikeness(split: str) -> float:
        shares = []
        for seed in range(20):
            parts = SPLITS[split](rows, 3, np.random.default_rng(seed))
            shares.append(np.std([(rows[TARGET].to_numpy()[part] == ">50K").mean() for part in parts]))
        return float(np.mean(shares))

    assert unlikeness("iid") < unlikeness("dirichlet 0.5") < unlikeness("dirichlet 0.1")


@pytest.mark.timeout(900)
def test_the_small_row_through_the_real_code() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/study.py", "--small"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)
    assert secure_minus_plain([entry]) < 1e-4
    assert entry["secure"]["clipped"] == 0
    assert entry["secure"]["auc"] > median_alone(entry) + 0.005
    assert entry["pooled"]["auc"] > median_alone(entry) + 0.005
    assert entry["pod_rows"] == [3000 - 2 * SMALL_POD, SMALL_POD, SMALL_POD]


def made_up(row: Row, federated: float) -> dict[str, Any]:
    scores = {"auc": federated, "accuracy": 0.85}
    run = {
        **scores,
        "rounds": 2,
        "bytes_to_pods": 4_000_000,
        "bytes_from_pods": 6_000_000,
        "validation_auc": [0.8, 0.9],
    }
    return {
        "row": asdict(row),
        "secure": run,
        "plain": run,
        "pooled": {"auc": 0.92, "accuracy": 0.86},
        "alone": [{"auc": auc, "accuracy": 0.8} for auc in (0.5, 0.8, 0.9)],
        "seconds": 30.0,
    }


def test_the_page_says_what_the_figures_say(tmp_path: Path) -> None:
    row = Row("iid", 2)
    found = [made_up(row, 0.90), made_up(replace(row, seed=1), 0.91)]
    assert gains(found) == pytest.approx([0.1, 0.11])
    text = page.text(found)
    assert (
        f"| iid | {row.pods} | 2 | 0.8000 ± 0.0000 | 0.9050 ± 0.0071 | 0.9200 ± 0.0000 | 0.1050 ± 0.0071 | 0.1000 |"
        in text
    )
    assert "in 1 of the 1 lines with several seeds. Over all 2 rows" in text
    assert f"{len(STUDY) - 2} rows are still to be trained" in text
    plots.write(found, tmp_path)
    before = (tmp_path / "joining.png").read_bytes()
    plots.write(found, tmp_path)
    assert (tmp_path / "joining.png").read_bytes() == before


def test_rows_that_are_done_are_not_trained_again_and_those_no_longer_in_the_study_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = [made_up(row, 0.9) for row in reversed(STUDY)]
    (tmp_path / "study").mkdir()
    results = tmp_path / "study" / "results.json"
    results.write_text(json.dumps([*done, made_up(replace(STUDY[0], seed=99), 0.9)]))
    monkeypatch.setattr(sys, "argv", ["study.py", "--output", str(tmp_path)])
    study.main()
    assert json.loads(results.read_text()) == done[::-1]
    assert f"{len(STUDY)} of {len(STUDY)} rows" in (tmp_path / "study.md").read_text()
    assert (tmp_path / "study" / "rounds.png").exists()


def test_no_row_stands_twice_in_the_study() -> None:
    keys = [json.dumps(asdict(row), sort_keys=True) for row in STUDY]
    assert len(set(keys)) == len(keys)


def test_the_committed_page_is_made_of_the_committed_figures() -> None:
    results = ROOT / "docs" / "study" / "results.json"
    if not results.exists():
        pytest.skip("the study has not been carried out here")
    assert (ROOT / "docs" / "study.md").read_text(encoding="utf-8") == page.text(json.loads(results.read_text()))
