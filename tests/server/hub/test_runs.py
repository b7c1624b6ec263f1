"""The modeller's pages over runs: of every kind, under way, damaged, foreign, and hostile."""

import fcntl
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from server.app.description_result import ColumnDescription, DescriptionResult
from server.app.document import Document
from server.app.group_result import GroupResult, GroupRow
from server.app.importance_result import ColumnImportance, ImportanceResult
from server.app.results import PodResult, Results, RoundResult, StepProgress, Stop
from server.app.run_directory import RunDirectory
from server.display import report
from server.hub.modeller import MOST_COMPARED, PER_PAGE
from tests.server.display.test_report import Page
from tests.server.hub.conftest import Visitor, Work

EVIL = "<script>alert(1)</script>&\"'\x1b[2J\u202e{{ 7*7 }}"
# What a page of each kind of run says, besides its name.
SAID = {
    "completed": ["completed", "2 of 2 rounds", "AUC", "fl-app export completed", "model.safetensors", "masked: only"],
    "numbers": ["R2", "rmse", "age"],
    "private": ["epsilon 8", "What each step costs", "public test file"],
    "described": ["What the tables hold", "Rows by outcome"],
    "refused": ["Why it failed", "does not approve", "Who approves whom"],
}


@pytest.fixture
def visitor(work: Work) -> Visitor:
    return work.visitor()


@pytest.fixture
def copied(work: Work, tmp_path: Path) -> Work:
    """The same with runs of its own, which may be changed."""
    made = object.__new__(Work)
    made.directory, made.runs, made.federation = tmp_path, tmp_path / "runs", work.federation
    shutil.copytree(work.runs, made.runs, symlinks=True)
    return made


def content(text: str) -> str:
    return text[text.index("<main") : text.index("</main>")]


@pytest.mark.parametrize("name", SAID)
def test_a_run_s_page_says_what_came_of_it(name: str, visitor: Visitor) -> None:
    text = visitor.page(f"/modeller/runs/{name}")
    page = Page(content(text) + "</main>")
    for part in SAID[name]:
        assert part in page.text or part in text, part
    assert len(set(page.ids)) == len(page.ids)


def test_a_run_that_failed_gives_no_model_and_no_command_that_needs_one(visitor: Visitor) -> None:
    text = visitor.page("/modeller/runs/refused")
    assert "fl-app export" not in text
    assert "--resume" not in text
    assert visitor.get("/modeller/runs/refused/files/model.safetensors").status_code == 404


def test_figures_by_group_are_a_table(copied: Work) -> None:
    run = RunDirectory(copied.runs / "completed")
    red = GroupRow(value="red", rows=1204, accuracy=0.75, tpr=0.5, intervals={"accuracy": (0.7, 0.8)})
    told = GroupResult(column="colour", positive="yes", groups=(red, GroupRow(rows=40)), not_told=("blue",))
    run.write_results(run.results().changed(groups=told))
    text = " ".join(Page(content(copied.visitor().page("/modeller/runs/completed")) + "</main>").text.split())
    assert "Figures by colour" in text
    assert "colour accuracy auc selection rate true positive rate false positive rate rows" in text
    assert "red 0.7500 - - 0.5000 - 1,204" in text
    assert "95% interval .700-.800" in text
    assert "all others - - - - - 40" in text
    assert "Too few pods have rows enough of 'blue'" in text
    run.write_results(run.results().changed(groups=GroupResult(column="colour", why="of that")))
    text = copied.visitor().page("/modeller/runs/completed")
    assert "No figures by colour: of that." in text
    assert 'id="group-table"' not in text


def test_the_importance_of_columns_is_a_table(copied: Work) -> None:
    run = RunDirectory(copied.runs / "completed")
    age = ColumnImportance(column="age", loss_rise=0.5, accuracy_drop=-0.25, intervals={"loss_rise": (0.4, 0.6)})
    run.write_results(run.results().changed(importance=ImportanceResult(columns=(age,), rows=1204)))
    text = " ".join(Page(content(copied.visitor().page("/modeller/runs/completed")) + "</main>").text.split())
    assert "Importance of columns" in text
    assert "column rise of the loss 95% interval drop of accuracy 95% interval" in text
    assert "age 0.5000 0.4000 to 0.6000 -0.2500 -" in text
    assert "Of 1,204 test rows of the pods" in text
    run.write_results(run.results().changed(importance=ImportanceResult(why="of that")))
    text = copied.visitor().page("/modeller/runs/completed")
    assert "No importance of columns: of that." in text
    assert 'id="importance-table"' not in text


def test_the_list_has_every_run_with_its_figures(work: Work, visitor: Visitor) -> None:
    text = visitor.page("/modeller/runs")
    for name in SAID:
        assert f'href="/modeller/runs/{name}"' in text
    final = RunDirectory(work.runs / "completed").results().final
    assert final is not None
    assert f"auc {final.auc:.4f}" in text
    assert "epsilon 8" in text


def test_without_runs_the_list_says_what_to_type(work: Work, tmp_path: Path) -> None:
    made = object.__new__(Work)
    made.runs, made.federation = tmp_path / "none", work.federation
    assert "fl-app demo" in made.visitor().page("/modeller/runs")


def test_a_run_under_way_shows_how_far_it_is(copied: Work) -> None:
    run = RunDirectory(copied.runs / "completed")
    results = run.results()
    step = StepProgress(name="train", round=2, of=5, waiting=("south",))
    run.write_results(results.changed(status="running", rounds=results.rounds[:1], step=step, final=None))
    visitor = copied.visitor()
    text = Page(content(visitor.page("/modeller/runs/completed")) + "</main>").text
    assert "Training round 2 of 5" in text
    assert "Waiting for south." in text
    assert "waited for" in text
    assert "Run completed is under way" in " ".join(Page(content(visitor.page("/modeller/")) + "</main>").text.split())


def test_a_run_whose_process_is_gone_is_told_from_one_that_is_carried_out(copied: Work) -> None:
    run = RunDirectory(copied.runs / "completed")
    run.write_results(run.results().changed(status="running"))
    long_ago = time.time() - 3600
    os.utime(run.path / "results.json", (long_ago, long_ago))
    visitor = copied.visitor()
    with (run.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "ended without a word" not in visitor.page("/modeller/runs/completed")
        assert "is under way" in visitor.page("/modeller/")
    text = visitor.page("/modeller/runs/completed")
    assert "ended without a word" in text
    assert "fl-app fit --resume completed" in text
    assert "ended without a word" in visitor.page("/modeller/runs")
    assert "is under way" not in visitor.page("/modeller/")


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("results.json", "{"),
        ("results.json", '{"rounds": 3}'),
        ("results.json", '{"rounds": [{"auc": NaN}]}'),
        ("config.json", "[]"),
        ("config.json", '{"run": 3}'),
        ("config.json", '{"run": {"pods": 7}}'),
        ("config.json", '{"run": {"datastructure": "x", "rounds": "many", "pods": [1]}}'),
    ],
)
def test_a_damaged_run_is_told_and_hides_no_other(file: str, written: str, copied: Work) -> None:
    (copied.runs / "completed" / file).write_text(written)
    visitor = copied.visitor()
    text = visitor.page("/modeller/runs")
    assert "damaged" in text or "completed" in text
    assert 'href="/modeller/runs/second"' in text
    page = visitor.page("/modeller/runs/completed")
    assert "cannot be read" in page or "Another version wrote" in page or "completed" in page
    assert visitor.get("/modeller/runs/completed/report").status_code in (200, 404)
    assert visitor.get("/modeller/compare?run=completed&run=second").status_code == 200
    assert visitor.page("/modeller/")


def test_settings_of_another_version_leave_the_rest_of_the_page(copied: Work) -> None:
    path = copied.runs / "completed" / "config.json"
    config = json.loads(path.read_text())
    del config["run"]["strategy"]
    path.write_text(json.dumps(config))
    text = copied.visitor().page("/modeller/runs/completed")
    assert "Another version wrote" in text
    assert "Curves" in text


def test_results_of_another_version_are_told_and_nothing_breaks(copied: Work) -> None:
    run = RunDirectory(copied.runs / "described")
    described = run.results().description
    assert described is not None
    run.write_results(run.results().changed(description=described.without("noise")))
    assert "lacks what this version shows" in copied.visitor().page("/modeller/runs/described")


def hostile() -> Results:
    losses: Any = {EVIL: {"step": EVIL, "why": EVIL, "code": EVIL}}
    return Results(
        run_id=EVIL,
        status="failed",
        rounds=(RoundResult(round=1, loss=0.5, auc=0.5, train_loss=0.5, lost=losses, pods=(EVIL,)),),
        error=EVIL,
        notes=(EVIL,),
        stopped=Stop(round=1, why=EVIL),
        pods=(PodResult(name=EVIL, key=EVIL, versions={EVIL: EVIL}), PodResult(name="b", approves=(EVIL,))),
        schema_differences=(EVIL,),
        classes=(EVIL, "no"),
        confusion=((1, 2), (3, 4)),
        groups=GroupResult(column=EVIL, positive=EVIL, groups=(GroupRow(value=EVIL, rows=2),), not_told=(EVIL,)),
        importance=ImportanceResult(columns=(ColumnImportance(column=EVIL, loss_rise=0.1),), rows=2),
        description=DescriptionResult(
            target=EVIL,
            classes=(EVIL,),
            columns=(ColumnDescription(name=EVIL, kind="continuous", unit=EVIL, pods=2),),
            noise={"rows": 1.0, "categories": 1.0},
        ),
        step=StepProgress(name=EVIL, round=1, of=2, waiting=(EVIL,), trip=EVIL),
    )


def test_what_others_have_named_is_text_on_every_page(copied: Work) -> None:
    names = ["completed", "<b onclick=x>", "{{ 7*7 }}"]
    for name in names[1:]:
        shutil.copytree(copied.runs / "completed", copied.runs / name)
    for name in names:
        run = RunDirectory(copied.runs / name)
        run.write_results(hostile())
        run.write_request(run.request().changed(run={**run.request().settings, "pods": [EVIL, "b"]}))
    visitor = copied.visitor()
    paths = [f"/modeller/runs/{name}" for name in ("completed", "%3Cb%20onclick=x%3E", "%7B%7B%207*7%20%7D%7D")]
    for path in ("/modeller/", "/modeller/runs", "/modeller/compare?run=completed&run=second", *paths):
        text = visitor.page(path)
        assert text.count("<script") == 1, path  # the hub's own
        assert "<b onclick" not in text, path
        assert not {"\x1b", "\u202e"} & set(text), path
        assert "49" not in re.findall(r"alert\(1\)[^<]*?(\d\d)", text)
    assert "&lt;script&gt;alert(1)" in visitor.page(paths[0])


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "..%2Fcompleted", "%2Fetc", "nothing", "latest%00", "linked", "completed%2F", "%2e"]
)
def test_no_name_leads_out_of_the_directory_of_runs(name: str, copied: Work) -> None:
    (copied.runs / "linked").symlink_to(copied.runs / "completed")
    visitor = copied.visitor()
    answer = visitor.get(f"/modeller/runs/{name}")
    assert answer.status_code in (307, 404) or "<h1>Runs</h1>" in answer.text  # where the client has resolved it
    assert visitor.get(f"/modeller/runs/{name}/report").status_code in (307, 404)
    assert visitor.get(f"/modeller/compare?run={name}&run=second").status_code == 404
    assert 'href="/modeller/runs/linked"' not in visitor.page("/modeller/runs")


def test_latest_is_the_newest_run_and_no_other_place(copied: Work) -> None:
    link = copied.runs / "latest"
    link.unlink(missing_ok=True)
    link.symlink_to("second")
    assert "Run second" in copied.visitor().page("/modeller/runs/latest")
    link.unlink()
    link.symlink_to(copied.runs / "second")
    assert copied.visitor().get("/modeller/runs/latest").status_code == 404


def test_only_files_of_the_run_can_be_had(copied: Work) -> None:
    visitor, run = copied.visitor(), copied.runs / "completed"
    assert (
        visitor.get("/modeller/runs/completed/files/model.safetensors").content
        == (run / "model.safetensors").read_bytes()
    )
    for name in (
        "config.json",
        "..%2fsecond%2fmodel.pt",
        "%2e%2e/second/model.pt",
        "flower.log",
        ".lock",
        "model.onnx",
    ):
        assert visitor.get(f"/modeller/runs/completed/files/{name}").status_code == 404, name
    (run / "model.onnx").symlink_to("/etc/hostname")
    assert visitor.get("/modeller/runs/completed/files/model.onnx").status_code == 404


def test_the_report_is_made_once_and_written_nowhere(copied: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = report.report_page
    monkeypatch.setattr(report, "report_page", lambda run: made.append(run.name) or original(run))
    visitor = copied.visitor()
    answers = [visitor.get("/modeller/runs/completed/report") for _ in range(2)]
    assert made == ["completed"]
    assert "<h1>Run completed" in answers[1].text
    assert "sandbox" in answers[1].headers["content-security-policy"]
    assert not (copied.runs / "completed" / "report.html").exists()
    run = RunDirectory(copied.runs / "completed")
    run.write_results(run.results().changed(error="another"))
    assert "another" in visitor.get("/modeller/runs/completed/report").text


def test_runs_side_by_side_show_settings_that_differ_and_curves(visitor: Visitor) -> None:
    text = visitor.page("/modeller/compare?run=completed&run=second")
    assert re.search(r'<th scope="row">seed</th><td>\d+</td><td>5</td>', text)
    assert text.count('class="line series-2"') == 2
    assert "auc, validation rows" in text
    for alone in ("", "?run=completed", "?run=completed&run=completed"):
        assert "Choose two runs or more" in visitor.page(f"/modeller/compare{alone}")


def test_of_many_runs_the_first_are_compared(copied: Work) -> None:
    names = [f"copy{number}" for number in range(MOST_COMPARED + 1)]
    for name in names:
        shutil.copytree(copied.runs / "completed", copied.runs / name)
    text = copied.visitor().page("/modeller/compare?" + "&".join(f"run={name}" for name in names))
    assert f"Of {len(names)} runs the first {MOST_COMPARED}" in text
    assert names[-1] not in content(text).partition("<h2>")[2]


def test_a_tuning_s_page_is_a_click_away(copied: Work) -> None:
    (copied.runs / "tune-1").mkdir()
    (copied.runs / "folds-2").mkdir()
    (copied.runs / "tune-1" / "tune.html").write_text("<h1>tuned</h1>")
    visitor = copied.visitor()
    assert 'href="/modeller/several/tune-1"' in visitor.page("/modeller/runs")
    answer = visitor.get("/modeller/several/tune-1")
    assert (answer.text, "sandbox" in answer.headers["content-security-policy"]) == ("<h1>tuned</h1>", True)
    assert visitor.get("/modeller/several/folds-2").status_code == 404
    (copied.runs / "folds-2" / "folds.html").symlink_to("/etc/hostname")
    assert visitor.get("/modeller/several/folds-2").status_code == 404
    assert visitor.get("/modeller/several/completed").status_code == 404


def test_a_thousand_runs_are_read_a_page_at_a_time_and_once(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        path = tmp_path / "runs" / f"run-{number:04}"
        path.mkdir(parents=True)
        for file in ("config.json", "results.json"):
            os.link(work.runs / "completed" / file, path / file)
    read: list[str] = []
    original = Document.read.__func__  # type: ignore[attr-defined]
    counting = classmethod(lambda kind, text: read.append(kind.__name__) or original(kind, text))
    monkeypatch.setattr(Document, "read", counting)
    made = object.__new__(Work)
    made.runs, made.federation = tmp_path / "runs", work.federation
    visitor = made.visitor()
    text = visitor.page("/modeller/runs")
    assert len(read) == 2 * PER_PAGE
    assert "run-0999" in text
    assert "1,000 runs" in text
    read.clear()
    visitor.page("/modeller/runs")
    assert read == []
    run = RunDirectory(tmp_path / "runs" / "run-0990")
    run.write_results(Results(status="failed", error="it broke"))
    read.clear()
    assert "it broke" in visitor.page("/modeller/runs")
    assert len(read) == 2
    assert "run-0000" in visitor.page("/modeller/runs?page=20")
    for odd in ("0", "-1", "99999999999", "x", "²"):
        assert visitor.get(f"/modeller/runs?page={odd}").status_code == 200


def test_a_page_of_a_run_is_read_again_only_when_it_has_changed(copied: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = copied.visitor()
    visitor.page("/modeller/runs/completed")
    read: list[str] = []
    original = Document.read.__func__  # type: ignore[attr-defined]
    counting = classmethod(lambda kind, text: read.append(kind.__name__) or original(kind, text))
    monkeypatch.setattr(Document, "read", counting)
    visitor.page("/modeller/runs/completed")
    assert read == []
