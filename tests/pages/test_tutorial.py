"""The tutorial's own code, as a stranger runs it: a real process, an empty directory, a HOME of its own."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fl_app.federation.kinds import census_federation

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "examples/training_a_model_on_two_pods.py"
DESCRIBING = ROOT / "examples/describing_two_pods.py"

SCORE = """
import sys
import torch
content = torch.load(sys.argv[1], weights_only=True)
assert set(content) == {"state", "metadata"}, content.keys()
from fl_app import PyTorchTabularClassifier
model = PyTorchTabularClassifier.load(sys.argv[1])
print({"rows": len(model.predict(sys.argv[2])), **model.evaluate(sys.argv[2])})
"""


def python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``directory`` with the directory's own ``home`` as HOME, and nothing else of this user's."""
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    environment = {**inherited, "HOME": str(directory / "home"), "PYTHONPATH": str(ROOT)}
    (directory / "home").mkdir(exist_ok=True)
    (directory / "work").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory / "work",
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.processes
@pytest.mark.simulation
def test_the_tutorial_runs_as_it_is_written(tmp_path: Path) -> None:
    done = python(tmp_path, str(TUTORIAL))
    assert done.returncode == 0, done.stderr
    results = ast.literal_eval(done.stdout)
    assert [entry["round"] for entry in results] == [1, 2]
    for entry in results:
        assert {"auc", "f1", "recall", "precision", "accuracy", "brier", "loss"} <= entry.keys()
        assert entry["num_examples"] == 3256
        assert 0.7 < entry["accuracy"] < 1
    assert results[1]["loss"] < results[0]["loss"]
    assert done.stderr.count(" INFO round ") == 2  # the loggers were set up
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"runs", "training_a_model_on_two_pods.pt"}

    test_file = census_federation(tmp_path / "census").test_file
    scored = python(tmp_path, "-c", SCORE, "training_a_model_on_two_pods.pt", str(test_file))
    assert scored.returncode == 0, scored.stderr
    figures = ast.literal_eval(scored.stdout)
    assert figures["rows"] == figures["num_examples"] == 16281
    for name in ("accuracy", "auc", "loss"):
        assert figures[name] == pytest.approx(results[-1][f"test_{name}"], abs=1e-6)


@pytest.mark.processes
@pytest.mark.simulation
def test_the_example_that_describes(tmp_path: Path) -> None:
    done = python(tmp_path, str(DESCRIBING))
    assert done.returncode == 0, done.stderr
    assert "rows in all pods together, give or take 6" in done.stdout
    assert "education-num" in done.stdout
    assert Path(done.stdout.splitlines()[-1]).is_file()


def test_the_tutorials_file_asks_for_nothing_that_is_not_offered() -> None:
    import fl_app

    tree = ast.parse(TUTORIAL.read_text("utf-8"))
    (names,) = [
        [alias.name for alias in node.names]
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "fl_app"
    ]
    assert set(names) <= set(fl_app.__all__)
