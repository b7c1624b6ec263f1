"""The command: the small row through the real code, and which rows are trained."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.children import CHECKOUT
from benchmarks.joining.__main__ import study
from benchmarks.joining.figures import median_alone, secure_minus_plain
from benchmarks.joining.splits import SMALL_POD
from benchmarks.joining.study import STUDY
from benchmarks.privacy.cases import CASES
from benchmarks.privacy.entries import FILE
from benchmarks.privacy.page import PICTURE
from tests.benchmarks.joining.entries import entry_of


@pytest.mark.timeout(900)
def test_the_small_row_through_the_real_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.joining", "--small"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)
    assert secure_minus_plain([entry]) < 1e-4
    assert entry["secure"]["clipped"] == 0
    assert entry["secure"]["auc"] > median_alone(entry) + 0.005
    assert entry["pooled"]["auc"] > median_alone(entry) + 0.005
    assert entry["pod_rows"] == [3000 - 2 * SMALL_POD, SMALL_POD, SMALL_POD]


def test_rows_that_are_done_are_not_trained_again_and_those_no_longer_in_the_study_go(tmp_path: Path) -> None:
    done = [entry_of(row, 0.9) for row in reversed(STUDY)]
    (tmp_path / "study").mkdir()
    results = tmp_path / "study" / "results.json"
    results.write_text(json.dumps([*done, entry_of(replace(STUDY[0], seed=99), 0.9)]))
    scores = {"auc": 0.9, "accuracy": 0.85}
    private = [{"case": asdict(case), **scores, "reported": scores, "seconds": 9.0} for case in CASES]
    (tmp_path / "study" / FILE).write_text(json.dumps(private))
    result = CliRunner().invoke(study, ["--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert json.loads(results.read_text()) == done[::-1]
    assert f"{len(STUDY)} of {len(STUDY)} rows" in (tmp_path / "study.md").read_text()
    assert f"{len(CASES)} of {len(CASES)} models" in (tmp_path / "study.md").read_text()
    assert {"rounds.png", PICTURE} <= {path.name for path in (tmp_path / "study").iterdir()}


def test_no_row_stands_twice_in_the_study() -> None:
    keys = [json.dumps(asdict(row), sort_keys=True) for row in STUDY]
    assert len(set(keys)) == len(keys)
