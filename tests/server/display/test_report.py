"""The page of a run, from results as runs leave them: it tells what they hold, and loads nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fl_app.config import RunConfig
from fl_app.tabular.evaluation import count, metrics_of
from fl_app.tabular.score_cells import fixed_edges
from fl_app.tabular.settings import DataStructure
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.display.report import write_report
from server.display.report.page import page
from server.display.report.plots import calibration_points, look_of, roc_points

VOID = {"meta", "link", "br", "img", "input", "path", "use", "rect"}
EVIL = "<script>alert(1)</script>&\"'|$x$"


class Page(HTMLParser):
    """What a page is made of; complains of elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f"{data} "


def results_of(labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], names: list[str]) -> dict[str, Any]:
    counts = count(labels, scores)
    figures = {**metrics_of(counts), "num_examples": len(labels)}
    rounds = [
        {"round": number, "train_loss": 0.5, "clipped": number, "seconds": 1.5, "lost": {}, **figures}
        for number in (1, 2, 3)
    ]
    rounds[1]["lost"] = {"c": {"step": "train", "why": "it timed out"}}
    return {
        "run_id": "r",
        "status": "completed",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 12.0,
        "rounds": rounds,
        "pods": [
            {"name": "a", "key": "SHA256:k1", "approves": ["b"]},
            {"name": "b", "key": "SHA256:k2", "approves": []},
        ],
        "schema_differences": ["town: a does not publish Ulm"],
        "classes": names,
        "final": figures,
        "confusion": counts.confusion.tolist(),
        "histograms": counts.histograms.tolist(),
        "score_edges": fixed_edges(len(counts.histograms)).tolist(),
        "secure_aggregation": {
            "enabled": True,
            "update_bound": 8.0,
            "threshold": 2,
            "steps": {
                "statistics": {"messages": 2, "bytes_out": 10, "bytes_in": 4000, "seconds": [0.5]},
                "train": {"messages": 6, "bytes_out": 10, "bytes_in": 6_000_000, "seconds": [1.0, 2.25]},
                "unmask": {"messages": 2, "bytes_out": 10, "bytes_in": 80, "seconds": [0.5]},
            },
        },
    }


def two_classes() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    chance = np.clip(labels * 0.4 + rng.random(500) * 0.6, 0, 1)
    return results_of(labels, np.stack([1 - chance, chance], axis=1), ["no", "yes"])


def run_with(directory: Path, results: dict[str, Any], pods: tuple[str, ...] = ("a", "b")) -> RunDirectory:
    config = RunConfig(pods=pods, datastructure=DataStructure(target="bought"), local_epochs=1, rounds=3)
    made = RunDirectory.create(directory / "runs", config)
    made.write_results(Results.model_validate(results))
    return made


def page_of(directory: Path, results: dict[str, Any]) -> tuple[Page, list[str]]:
    report, pictures = write_report(run_with(directory, results))
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")
    return Page(report.read_text("utf-8")), [picture.name for picture in pictures]


def test_it_tells_all_that_the_results_hold(tmp_path: Path) -> None:
    results = two_classes()
    page, pictures = page_of(tmp_path, results)
    assert pictures == ["curves.png", "loss.png", "roc.png", "calibration.png", "confusion.png"]
    assert page.tags.count("svg") == 4
    text = " ".join(page.text.split())
    for part in (
        *("Training", "How good the model is", "Figures", "Cohort", "What left each pod", "Time and bytes by step"),
        *(
            "Settings",
            "Who approves whom",
            "Confusion matrix",
            "SHA256:k1",
            "SHA256:k2",
            "town: a does not publish Ulm",
        ),
        *("2026-01-02 03:04:05 UTC", "clipped at the declared bound of 8 , in all rounds: 6".replace(" ,", ",")),
        *("round 2 went on without c: train, it timed out", "3.2 s", "6.0 MB", "1.0 MB", "bought"),
        f"{results['final']['auc']:.4f}",
    ):
        assert part in text, part
    assert text.count("masked: only the sum over the pods can be read") == 2
    assert text.count("in the clear") == 2


def test_it_loads_nothing_and_its_parts_have_names_of_their_own(tmp_path: Path) -> None:
    report, _ = write_report(run_with(tmp_path, two_classes()))
    text = report.read_text("utf-8")
    page = Page(text)
    assert all(link.startswith("#") for link in page.links)
    assert not {"script", "link", "iframe", "object", "img"} & set(page.tags)
    assert "default-src 'none'" in text
    assert re.findall(r"url\((?!#)", text) == []
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    targets = {*(link[1:] for link in page.links), *re.findall(r"url\(#([^)]*)\)", text)}
    assert targets <= set(page.ids)
    # What addresses there are name formats, not places to load from.
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_it_follows_the_readers_light_or_dark(tmp_path: Path) -> None:
    report, _ = write_report(run_with(tmp_path, two_classes()))
    text = report.read_text("utf-8")
    assert "@media(prefers-color-scheme:dark)" in text
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"(?:fill|stroke): ?(#[0-9a-f]{6})", drawings)) == set()


def test_names_that_look_like_html_stay_text(tmp_path: Path) -> None:
    results = two_classes()
    results["classes"] = [EVIL, "_b"]
    results["pods"][0]["name"] = EVIL
    results["schema_differences"] = [EVIL]
    page, _ = page_of(tmp_path, results)
    assert "script" not in page.tags
    assert page.text.count("<script>") >= 3


def test_three_classes_have_a_curve_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    scores = rng.dirichlet(np.ones(3), 300) * 0.5 + np.eye(3)[labels] * 0.5
    page, pictures = page_of(tmp_path, results_of(labels, scores, ["red", "green", "blue"]))
    assert "roc.png" in pictures
    assert page.text.count("green") >= 4


def test_older_and_failed_runs_are_told_as_far_as_they_go(tmp_path: Path) -> None:
    results = two_classes()
    del results["histograms"]
    assert page_of(tmp_path, results)[1] == ["curves.png", "loss.png", "confusion.png"]
    refused = {"run_id": "r", "status": "failed", "rounds": [], "error": "no cohort: <b>"}
    page, pictures = page_of(tmp_path, {**refused, "approvals": [["approves", "a", "b"], ["a", "-", "no"]]})
    assert pictures == []
    assert "It ended with: no cohort: <b>" in page.text
    assert "Who approves whom" in page.text
    assert "started" in page_of(tmp_path, {})[0].text


def test_a_run_that_has_begun_is_told_as_far_as_it_is(tmp_path: Path) -> None:
    results = two_classes()
    for key in ("final", "confusion", "histograms"):
        del results[key]
    results["rounds"] = [{"round": 1, "train_loss": 0.5, "clipped": 0, "seconds": 1.0}]
    page, pictures = page_of(tmp_path, json.loads(json.dumps(results)))
    assert pictures == ["curves.png", "loss.png"]
    assert "round 1, validation" in page.text


def test_without_secure_aggregation_it_says_in_the_clear(tmp_path: Path) -> None:
    results = two_classes()
    results["secure_aggregation"]["enabled"] = False
    text = page_of(tmp_path, results)[0].text
    assert "masked: only" not in text
    assert "shares of its masks" not in text


@pytest.mark.parametrize("seed", range(5))
def test_the_area_under_the_roc_curve_is_the_auc(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 400)
    chance = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    counts = count(labels, np.stack([1 - chance, chance], axis=1))
    outside, inside = roc_points(counts.histograms[0])
    assert (outside[0], inside[0], outside[-1], inside[-1]) == (0, 0, 1, 1)
    assert_allclose(np.trapezoid(inside, outside), metrics_of(counts)["auc"], atol=1e-12)


def test_scores_that_are_right_lie_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(200_000)
    labels = (rng.random(200_000) < chance).astype(np.int64)
    histogram = count(labels, np.stack([1 - chance, chance], axis=1)).histograms[0]
    score, share, rows = calibration_points(histogram, fixed_edges(1)[0])
    assert rows.sum() == 200_000
    assert len(score) == 10
    assert_allclose(share, score, atol=0.01)
    assert_allclose(score, np.arange(10) / 10 + 0.05, atol=0.01)


def test_each_of_many_classes_has_a_look_of_its_own() -> None:
    looks = [tuple(sorted(look_of(position).items())) for position in range(40)]
    assert len(set(looks)) == 40
    assert len({look_of(position)["color"] for position in range(10)}) == 10


def test_notes_and_one_difference_are_told_in_the_page() -> None:
    results = {**two_classes(), "notes": ["10 optimizer steps in all: lower --batch-size"]}
    text = page("r", {}, Results.model_validate(results), {})
    assert "Note: 10 optimizer steps in all: lower --batch-size" in text
    assert "1 difference between" in text
