"""What is shown of a private run: no rounds of which nothing is known, noise in the figures, what it promises."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from fl_app.config import RunConfig
from fl_app.privacy.plan import Plan
from fl_app.privacy.settings import Privacy
from fl_app.tabular.settings import DataStructure
from server.app.promises import noise_of, promise_of, promised
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.display.compare import compare, draw
from server.display.privacy_told import noise_told, privacy_line
from server.display.progress import ROUNDS_SHOWN, Progress, results_table
from server.display.report import write_report
from server.display.report.plots import png
from server.display.rows_told import rows_told
from server.modeller.callbacks import Callback, Callbacks, Run
from tests.server.display.test_report import Page, run_with, two_classes

ROUNDS = 40
PRIVACY = Privacy(epsilon=3.0)
FIGURES = {"accuracy": 0.8, "auc": 0.9, "f1": 0.7, "loss": 0.3, "num_examples": 500}
NOISE = {"accuracy": 0.0031, "auc": 0.0042, "loss": 0.0053, "f1": 0.0064, "num_examples": 12.0}


def private(*, public: bool, completed: int = ROUNDS, status: str = "completed") -> Results:
    """Return the results of a private run, with a public test file or without."""
    plan = Plan(PRIVACY, ROUNDS)
    told = promised(plan, None, 2, 3, {"statistics": noise_of(plan, "statistics", 12, 2, 3)})
    rounds: list[dict[str, Any]] = [
        {"round": n, "train_loss": None, "clipped": 0, "seconds": 0.5, "pods": ["a", "b", "c"], "lost": {}}
        for n in range(1, completed + 1)
    ]
    if public:
        rounds = [{**entry, "test": {**FIGURES, "auc": 0.5 + entry["round"] / 100}} for entry in rounds]
    results: dict[str, Any] = {**two_classes(), "rounds": rounds, "status": status, "privacy": told.document()}
    results["step"] = {"name": "train", "round": completed + 1, "of": ROUNDS, "waiting": []}
    if status == "completed":
        results.pop("step")
        rounds[-1] |= {**FIGURES, "deviations": NOISE}
        results |= {"final": {**FIGURES, "deviations": NOISE}, "kept": completed}
        results |= {"label_counts": {"target": "bought", "classes": [300, 200], "missing": 0, "unpublished": 0}}
        if public:
            results["test"] = rounds[-1]["test"]
    else:
        results = {name: value for name, value in results.items() if name != "final"}
    return Results.model_validate(results)


def lines(*states: Results) -> list[str]:
    out = io.StringIO()
    with Progress(Console(file=out, width=200)) as progress:
        for state in states:
            progress(state)
    return out.getvalue().splitlines()


def table(results: Results) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    console.print(results_table(results))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_a_line_a_round_where_a_public_test_file_says_something_of_it() -> None:
    told = lines(*(private(public=True, completed=done, status="running") for done in (1, 2, 3)), private(public=True))
    rounds = [line for line in told if line.startswith("round ")]
    assert len(rounds) == ROUNDS
    assert rounds[1] == f"round   2/{ROUNDS}  accuracy 0.8000  auc 0.5200  loss 0.3000 (public test file)  0.5 s"
    assert rounds[-1] == f"round  {ROUNDS}/{ROUNDS}  accuracy 0.8000  auc 0.9000  loss 0.3000  0.5 s"
    assert not any("train loss" in line or "  - " in line for line in told)


def test_without_one_a_tenth_of_the_rounds_tells_that_the_run_goes_on() -> None:
    told = lines(*(private(public=False, completed=done, status="running") for done in range(1, ROUNDS)))
    assert told == [f"round {n:>3}/{ROUNDS}  0.5 s" for n in range(4, ROUNDS - 1, 4)]


def test_the_end_tells_the_noise_and_the_privacy() -> None:
    told = lines(private(public=False))
    (noise,) = [line for line in told if "carry noise" in line]
    assert noise.endswith("accuracy ±0.0031, auc ±0.0042, loss ±0.0053, rows ±12")
    (line,) = [line for line in told if line.startswith("privacy: ")]
    assert "epsilon 3, delta 1e-05 for every row, against server, modeller and 1 colluding pod" in line


def test_the_table_has_no_row_of_dashes() -> None:
    rows = [line for line in table(private(public=False)) if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in rows] == [
        f"round {ROUNDS}, validation",
        "±, by noise",
        "final, pods' test rows",
        "±, by noise",
    ]
    assert "0.0042" in rows[1]
    rows = [line for line in table(private(public=True)) if line.startswith("│")]
    assert len(rows) == ROUNDS_SHOWN - 1 + 5
    assert "round 28, public test file" in rows[6]
    assert "0.7800" in rows[6]
    running = table(private(public=False, completed=9, status="running"))
    assert not any(line.startswith("│") for line in running)


@pytest.mark.parametrize("public", [True, False])
def test_the_page_tells_what_was_promised_and_what_each_step_costs(public: bool, tmp_path: Path) -> None:
    results = private(public=public)
    report, pictures = write_report(run_with(tmp_path, results.document(), ("a", "b", "c")))
    page = Page(report.read_text("utf-8"))
    text = " ".join(page.text.split())
    assert results.privacy is not None
    assert results.privacy.guarantee in text
    for part in results.privacy.not_covered:
        assert part in text
    assert "auc, ±0.0042 by noise" in text
    assert "1 colluding" not in text  # the sentence says it
    assert "2 pods that answer tell nobody" in text
    assert "with its share of the noise" in text
    assert "is not bounded" not in text
    assert "update times weight" not in text
    drawn = {path.name for path in pictures}
    assert ({"curves.png", "loss.png"} <= drawn) == public
    assert ("Rounds that no pod has evaluated" in text) == public
    assert re.search(r"rows by value ±\d", text)


def test_counts_that_noise_has_emptied_break_no_picture(tmp_path: Path) -> None:
    results = private(public=False).document()
    results["confusion"] = [[0, 0], [0, 3]]
    results["histograms"] = np.zeros_like(results["histograms"]).tolist()
    _, pictures = write_report(run_with(tmp_path, results, ("a", "b", "c")))
    assert {"roc.png", "calibration.png", "confusion.png"} <= {path.name for path in pictures}


def test_rows_by_label_are_told_as_what_they_are() -> None:
    (told, *_) = rows_told(private(public=False))
    assert told.startswith("training rows of all pods by bought, give or take the noise")
    assert re.search(r"standard deviation \d", told)


def test_a_run_without_privacy_says_so_on_its_page(tmp_path: Path) -> None:
    config = RunConfig(pods=("a", "b"), datastructure=DataStructure(target="bought"), local_epochs=1)
    results = {**two_classes(), "privacy": promise_of(config, None, Results()).document()}
    report, _ = write_report(run_with(tmp_path, results))
    text = " ".join(Page(report.read_text("utf-8")).text.split())
    assert "about a row nothing is promised" in text
    assert "At most" not in text
    assert privacy_line(Results.model_validate(results).privacy) == "nothing is promised about a row"
    assert privacy_line(None) == ""
    assert noise_told(Results.model_validate(results).rounds[-1]) == ""


def test_runs_are_compared_by_their_privacy_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = set[tuple[str, int]]()

    def kept(figure: Figure) -> bytes:
        (axes, _) = figure.axes
        drawn.update((axes.get_ylabel(), len(line.get_xdata())) for line in axes.lines)  # type: ignore[arg-type]
        return png(figure)

    monkeypatch.setattr("server.display.report.plots.png", kept)

    def made(place: str, results: Results, **settings: Any) -> RunDirectory:
        config = RunConfig(
            pods=("a", "b", "c"), datastructure=DataStructure(target="t"), local_epochs=1, rounds=ROUNDS, **settings
        )
        run = RunDirectory.create(tmp_path / place, config)
        run.write_results(results)
        return run

    runs = [made("1", private(public=True), privacy=PRIVACY), made("2", Results.model_validate(two_classes()))]
    found = compare(runs)
    assert found["settings"]["privacy.epsilon"] == [3.0, None]
    assert found["figures"]["privacy"] == [
        "epsilon 3, delta 1e-05 for every row, against server, modeller and 1 colluding pod",
        None,
    ]
    assert found["figures"]["auc, pods' test rows, deviation by noise"] == [0.0042, None]
    assert draw(runs).startswith(b"\x89PNG")
    assert drawn == {("auc, validation rows", 1), ("auc, validation rows", 3)}  # the last round alone; all three
    drawn.clear()
    draw([runs[0], made("3", private(public=True), privacy=PRIVACY)])
    assert drawn == {("auc, public test file", ROUNDS)}
    assert "privacy" not in compare([runs[1], runs[1]])["figures"]


def test_callbacks_see_every_round_of_a_private_run(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []

    class Watching(Callback):
        def on_round(self, run: Run, metrics: dict[str, float]) -> None:
            seen.append(metrics)

    callbacks = Callbacks([Watching()], tmp_path, Results())
    callbacks.start(private(public=True, completed=1, status="running"))
    for done in range(1, 6):
        callbacks.update(private(public=True, completed=done, status="running"))
    assert [entry["round"] for entry in seen] == [1, 2, 3, 4]  # what is still to come of a round comes with the next
    assert seen[1]["test_auc"] == pytest.approx(0.52)
    assert "auc" not in seen[1]
    callbacks.end(private(public=True))
    assert [entry["round"] for entry in seen] == list(range(1, ROUNDS + 1))
    assert seen[-1]["auc"] == 0.9
