"""The modeller's commands, on runs that were really trained: two small pods, in this process."""

import html
import json
import os
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fl_app.cli import main
from fl_app.tabular.model_file import TrainedModel
from server.app.run_directory import RunDirectory
from server.display.words import interval_told
from server.doctor.installation import examine
from tests.support.ports import free_port
from tests.support.small_federation import isolate, small_federation, table, write_pod

Call = Callable[..., tuple[int, str, str]]
FIT = ("fit", "--rounds", "2", "--batch-size", "32", "--lr", "0.01")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one completed run and one that was refused."""
    directory = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, directory)
        small_federation(directory)
        with pytest.raises(SystemExit, match="0"):
            main([*FIT, "--json"])
        write_pod(directory, "south", approved=("east",))
        with pytest.raises(SystemExit, match="1"):
            main(FIT)
        write_pod(directory, "south")
    return directory


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that directory to work in, with `latest` pointing at the completed run."""
    directory = tmp_path / "project"
    shutil.copytree(trained, directory, symlinks=True)
    isolate(monkeypatch, directory)
    link = directory / "runs/latest"
    link.unlink()
    link.symlink_to(completed(directory))
    return directory


def completed(directory: Path) -> str:
    return next(
        run.name for run in RunDirectory.all(directory / "runs") if run.results().document()["status"] == "completed"
    )


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


@pytest.fixture
def report(call: Call) -> Callable[..., Any]:
    def report(*arguments: str) -> Any:
        code, out, _ = call(*arguments, "--json")
        assert code == 0
        return json.loads(out)

    return report


def test_pods_shows_keys_columns_and_approvals(project: Path, call: Call, report: Callable[..., Any]) -> None:
    found = report("pods")
    assert found["federation"] == "small"
    assert list(found["pods"]) == ["north", "south"]
    assert found["missing"] == []
    assert found["pods"]["north"]["approves"] == ["south"]
    assert found["pods"]["north"]["key"].startswith("SHA256:")
    assert [column["name"] for column in found["pods"]["south"]["columns"]] == ["age", "colour", "outcome"]
    assert found["pods"]["north"]["versions"] == found["versions"]
    assert found["pods"]["north"]["online_since"] is None  # this grid does not tell
    assert datetime.fromisoformat(found["pods"]["north"]["last_seen"]) <= datetime.now(UTC)
    assert found["versions"]["flwr"].startswith("1.")
    assert found["approvals"] == [["approves", "north", "south"], ["north", "-", "yes"], ["south", "yes", "-"]]
    code, out, _ = call("pods")
    assert code == 0
    assert "3 categories" in out
    assert "0 to 128, whole" in out
    assert out.split().count("yes") == 2  # words: fingerprints of keys may have the letters


def test_pods_judges_every_column_and_says_what_to_set(
    project: Path, call: Call, report: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {verdict["verdict"] for verdict in report("pods", "--target", "outcome")["verdicts"]} <= {"fits", "differs"}
    assert call("pods", "--target", "outcome")[0] == 0
    before = (project / "south.csv").read_text()
    try:
        (project / "south.csv").write_text(before.replace("age", "Age").replace("yes", "YES"))
        code, out, _ = call("pods", "--target", "outcome")
        assert code == 1
        assert "classes in south: 'YES', 'no'" in out or "'no', 'YES'" in out
        assert "pods code the target 'outcome' differently" in out
        assert "'age' of 'north' is missing in 'south' (which has 'Age')" in out
        assert "the owner of north: fl-app pod column north.yaml age --optional" in out
        code, _, err = call("fit", "--target", "outcome", "--rounds", "1")
        assert code == 1
        assert "2 columns do not fit" in err
        assert "`fl-app pods --target outcome` shows" in err
    finally:
        (project / "south.csv").write_text(before)


def test_a_proposal_for_columns_reaches_the_pods(
    project: Path, call: Call, report: Callable[..., Any], tmp_path: Path
) -> None:
    spec = tmp_path / "spec.yaml"
    assert call("pods", "--columns-out", str(spec))[0] == 0
    assert "age: {kind: continuous" in spec.read_text()
    spec.write_text("columns:\n  age: {bounds: [0, 120], unit: years}\n  colour: {kind: continuous}\n")
    found = report("pods", "--columns", str(spec))
    (age,) = (column for column in found["pods"]["north"]["columns"] if column["name"] == "age")
    assert (age["low"], age["high"], age["unit"]) == (0, 120, "years")
    verdicts = {verdict["column" if "column" in verdict else "name"]: verdict for verdict in found["verdicts"]}
    assert "holds text that is not a number, and stays categorical" in verdicts["colour"]["texts"][-1]
    code, _, err = call(
        "fit", "--target", "outcome", "--rounds", "1", "--columns", str(spec), "--runs", str(tmp_path / "runs")
    )
    assert code == 0, err
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.name != "latest")
    settings = json.loads((run / "config.json").read_text())["run"]
    assert settings["columns"]["columns"]["age"]["unit"] == "years"
    (kept,) = (run / "model.safetensors",)
    assert b"years" in kept.read_bytes()
    looked = call("pod", "check", "north.yaml", "--columns", str(spec))[1]
    assert "WRONG  proposal: colour: it holds text" in looked


def test_pods_tells_of_one_that_cannot_answer_and_of_one_that_approves_nobody(
    project: Path, call: Call, report: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    write_pod(project, "south", approved=())
    assert report("pods")["pods"]["south"]["approves"] == []
    (project / "south.csv").unlink()
    found = report("pods")
    assert (list(found["pods"]), found["missing"]) == (["north"], ["south"])
    assert "pod 'south' could not answer" in caplog.text
    assert "south  did not answer" in call("pods")[1]
    (project / "north.csv").unlink()
    code, _, err = call("pods")
    assert code == 1
    assert "pod 'north' could not answer" in err


def test_runs_lists_what_there_is(project: Path, call: Call, report: Callable[..., Any], tmp_path: Path) -> None:
    found = report("runs")
    assert sorted(run["status"] for run in found) == ["completed", "failed"]
    assert [run["rounds"] for run in found if run["status"] == "completed"] == [2]
    code, out, _ = call("runs")
    assert code == 0
    assert "2/2" in out
    assert "north, south" in out
    assert "no runs in" in call("runs", "--runs", str(tmp_path / "none"))[1]


def test_runs_show_tells_of_one(project: Path, call: Call, report: Callable[..., Any]) -> None:
    found = report("runs", "show")
    assert found["run_id"] == completed(project)
    assert found["settings"]["rounds"] == 2
    assert np.sum(found["confusion"]) == found["final"]["num_examples"] == 120
    assert "final, pods' test rows" in call("runs", "show", completed(project))[1]
    failed = next(run["run"] for run in report("runs") if run["status"] == "failed")
    out = call("runs", "show", failed)[1]
    assert "pod 'south' does not approve pod 'north'" in out
    assert "approvals" in out


def test_runs_show_looks_where_runs_was_told(project: Path, call: Call, tmp_path: Path) -> None:
    (project / "runs").rename(tmp_path / "elsewhere")
    for arguments in (
        ("runs", "--runs", str(tmp_path / "elsewhere"), "show"),
        ("runs", "show", "--runs", "../elsewhere"),
    ):
        assert call(*arguments)[0] == 0


@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_export_writes_a_model_that_scores_alike(project: Path, report: Callable[..., Any], form: str) -> None:
    done = report("export", "latest", "--format", form)
    assert done["model"] == f"model.{form}"
    assert done["classes"] == ["no", "yes"]
    original = TrainedModel.load(project / "runs/latest/model.safetensors")
    rows = table(50, 4)
    assert np.array_equal(TrainedModel.load(done["model"]).predict_proba(rows), original.predict_proba(rows))
    if form == "pt":
        assert set(torch.load(done["model"], weights_only=True)) == {"state", "metadata"}


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_a_graph_scores_as_the_run_does(project: Path, call: Call, report: Callable[..., Any], form: str) -> None:
    done = report("export", "-o", f"m.{form}")
    assert (done["format"], done["card"]) == (form, f"m.{form}.card.md")
    assert call("predict", f"m.{form}", "public.csv", "-o", "scores.csv")[0] == 0
    expected = TrainedModel.load("runs/latest/model.pt").predict_proba(pd.read_csv("public.csv"))
    assert np.allclose(pd.read_csv("scores.csv").to_numpy(), expected, atol=1e-5)
    code, _, err = call("export", f"m.{form}", "-o", "n.pt")
    assert code == 2
    assert "ends in .pt or .safetensors" in err


def test_export_to_pt2_prints_how_to_load_it(project: Path, call: Call) -> None:
    out = call("export", "latest", "-o", "m.pt2")[1]
    assert "torch.export.load" in out
    assert call("export", "latest", "-o", "m.pt")[1] == "wrote m.pt and m.pt.card.md\n"


def test_a_card_stands_beside_the_export(project: Path, call: Call, report: Callable[..., Any]) -> None:
    results = RunDirectory(project / "runs/latest").results().document()
    page = Path(report("export", "latest", "-o", "m.safetensors")["card"]).read_text()
    assert page.startswith("# Model card: m.safetensors\n")
    for part in ("## Figures", "## Cohort", "## Privacy", "## Intended use", "## Limits", "`north`", "`colour`"):
        assert part in page
    auc = f"| auc | {results['final']['auc']:.4f} ({interval_told(results['final']['intervals']['auc'])}) |"
    assert auc in page
    assert all(pod["key"] in page for pod in results["pods"])
    assert "only if at least 2 of 2 pods contributed" in page
    # From the file alone it tells what the file knows.
    alone = Path(report("export", "m.safetensors", "-o", "n.pt")["card"]).read_text()
    assert auc in alone
    assert results["pods"][0]["key"] not in alone
    Path("m.safetensors").unlink()
    code, _, err = call("export", "latest", "-o", "m.safetensors")
    assert code == 2
    assert err.startswith("fl-app: m.safetensors.card.md already exists")


def test_export_takes_a_file_too_and_the_form_from_the_outputs_name(project: Path, report: Callable[..., Any]) -> None:
    report("export", "latest", "-o", "one.pt")
    done = report("export", "one.pt", "-o", "two.safetensors")
    assert done["format"] == "safetensors"
    assert Path("two.safetensors").is_file()


def test_export_overwrites_only_when_forced(project: Path, call: Call) -> None:
    Path("mine.pt").write_text("keep me")
    code, _, err = call("export", "latest", "-o", "mine.pt")
    assert (code, err) == (
        2,
        "fl-app: mine.pt already exists; choose another name, or overwrite it with --force\n",
    )
    assert Path("mine.pt").read_text() == "keep me"
    assert call("export", "latest", "-o", "mine.pt", "--force")[0] == 0
    TrainedModel.load("mine.pt")


def test_a_run_without_a_model_says_why_it_has_none(project: Path, call: Call, report: Callable[..., Any]) -> None:
    failed = next(run["run"] for run in report("runs") if run["status"] == "failed")
    code, _, err = call("export", failed)
    assert code == 2
    assert "has no model: it ended as 'failed'" in err


def test_predict_writes_a_row_of_probabilities_for_every_row(project: Path, call: Call) -> None:
    code, out, err = call("predict", "latest", "public.csv", "-o", "scores.csv")
    assert (code, out, err) == (0, "", "300 rows scored: scores.csv\n")
    scores = pd.read_csv("scores.csv")
    expected = TrainedModel.load("runs/latest/model.pt").predict_proba(pd.read_csv("public.csv"))
    assert list(scores.columns) == ["no", "yes"]
    assert np.allclose(scores.to_numpy(), expected, atol=1e-8)
    assert call("predict", "runs/latest/model.pt", "public.csv")[1] == Path("scores.csv").read_text()
    pd.read_csv("public.csv").to_parquet("public.parquet")
    assert call("predict", "latest", "public.parquet")[1] == Path("scores.csv").read_text()


def test_report_draws_and_tells_what_left_the_pods(project: Path, report: Callable[..., Any]) -> None:
    done = report("report")
    run = (project / "runs/latest").resolve()
    pictures = ("curves", "loss", "roc", "calibration", "confusion")
    assert done == {
        "report": str(run / "report.html"),
        "pictures": [str(run / f"{name}.png") for name in pictures],
    }
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    page = (run / "report.html").read_text()
    results = RunDirectory(run).results().document()
    for part in ("Settings", "Confusion matrix", "Time and bytes by step", "What left each pod", "Calibration"):
        assert f">{part}</h" in page
    assert ">round 2, validation</th>" in page
    assert f"{results['final']['auc']:.4f}" in page
    assert all(pod["key"] in page for pod in results["pods"])
    masked = [row for row in page.split("<tr>") if "only the sum over the pods can be read" in row]
    assert [row.partition(">")[2].partition(":")[0] for row in masked] == ["statistics", "train", "evaluate"]


@pytest.mark.parametrize("browser", [True, False])
def test_a_report_is_shown_in_the_browser_if_there_is_one(
    browser: bool, project: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(asked.append(address)) or browser)
    code, out, err = call("report", "--open")
    page = Path(out.splitlines()[0])
    assert code == 0
    assert asked == [page.resolve().as_uri()]
    assert err == "" if browser else f"there is no browser here; copy {page} to" in err


def test_report_of_a_failed_run_says_why(project: Path, report: Callable[..., Any]) -> None:
    failed = next(run["run"] for run in report("runs") if run["status"] == "failed")
    done = report("report", failed)
    assert done["pictures"] == []
    page = html.unescape(Path(done["report"]).read_text())
    assert "does not approve pod 'north'" in page
    assert "Who approves whom" in page


def test_doctor_finds_nothing_wrong_with_a_sound_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", str(free_port()))
    found = {finding.about: finding for finding in examine(project)}
    assert [finding for finding in found.values() if not finding.ok and finding.about != "disk"] == []
    assert found["torch"].text.startswith("2.")
    assert {"flwr", "ray", "home", "demonstration", "disk"} <= found.keys()


def test_doctor_finds_what_is_wrong(
    project: Path, call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = project / "home/pods/north/identity.key"
    key.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", str(server.getsockname()[1]))
        monkeypatch.setattr("server.doctor.installation.requires", lambda _: ["numpy<1", "no-such-package>=2"])
        code, out, _ = call("doctor")
        as_json = json.loads(call("doctor", "--json")[1])
    assert code == 1
    assert f"chmod go= {key}" in out
    assert "but <1 is needed" in out
    assert "WRONG  no-such-package: is not installed" in out
    assert "something else listens" in out
    assert sum(not finding["ok"] for finding in as_json) >= 4


def test_doctor_names_a_superlink_started_elsewhere(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", str(server.getsockname()[1]))
        monkeypatch.setattr("server.doctor.installation._superlinks", lambda port: iter([(4711, tmp_path)]))
        elsewhere = next(finding for finding in examine(project) if "SuperLink" in finding.about)
        here = next(finding for finding in examine(tmp_path) if "SuperLink" in finding.about)
    assert not elsewhere.ok
    assert "kill 4711" in elsewhere.text
    assert here.ok


def test_doctor_looks_at_a_federation_too(project: Path, report: Callable[..., Any]) -> None:
    pods = [finding["text"] for finding in report("doctor", "--federation", "small") if finding["about"] == "pod"]
    assert [text.split(",")[0] for text in pods] == ["north", "south"]
    assert not [finding for finding in report("doctor") if finding["about"] == "pod"]


def test_the_process_table_is_searched_for_superlinks() -> None:
    from server.doctor.installation import _superlinks

    assert os.getpid() not in dict(_superlinks(1))
