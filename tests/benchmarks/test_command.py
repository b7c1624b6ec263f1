"""``python -m benchmarks``: its documents, its files, and users' mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import core
from benchmarks.__main__ import PROGRAM, bench
from benchmarks.children import CHECKOUT
from benchmarks.measure import machine
from benchmarks.record import write_page
from benchmarks.rounds import COMPLETE, FLOWER, Run
from fl_app.cli import main


def test_core_gives_the_ratios_to_rivals_and_limits() -> None:
    arguments = ["core", "--elements", "2000", "--pods", "2", "--pods", "10", "--repeats", "1", "--json"]
    done = CliRunner().invoke(bench, arguments)
    document = json.loads(done.stdout)
    wanted = {"mask_over_aes256", "secaggplus_over_mask", "secaggplus_over_pod_step", "secaggplus_over_server"}
    assert wanted <= set(document["ratios"])
    assert all(isinstance(value, float) and value > 0 for value in document["ratios"].values())
    assert {row["by"] for row in document["measured"]} >= {"SecAgg+", "scalar shares", "AES-256-CTR", "memcpy"}
    assert document["machine"].keys() >= {"date", "processor", "load"}


def test_without_a_cohort_of_ten_there_are_no_ratios() -> None:
    assert core.ratios(list(core.core([500], [2], 1))) == {}


def test_wire_gives_bytes_per_parameter() -> None:
    done = CliRunner().invoke(bench, ["wire", "--elements", "100000", "--json"])
    rows = json.loads(done.stdout)["measured"]
    ours = {row["by"]: row["per_parameter"] for row in rows if row["by"].startswith("fl-app")}
    assert ours == {"fl-app 2^61-1": pytest.approx(8.0, abs=1e-3), "fl-app 2^31-1": pytest.approx(4.0, abs=1e-3)}
    beside = [row["beside"] for row in rows if row["what"] == "every pod must answer"]
    assert max(beside) <= 2048


def test_memory_is_within_its_bounds() -> None:
    done = CliRunner().invoke(bench, ["memory", "--elements", "4000000", "--pods", "5", "--json"])
    vectors = {row["part"]: row["vectors"] for row in json.loads(done.stdout)["measured"]}
    assert vectors["pod"] <= 1.25
    assert vectors["server"] <= 2.5
    # As it comes, cut out of what came, and joined; fewer if Flower took pieces that are alike for one.
    assert vectors["flower-server"] >= 2.5


def test_cohorts_give_what_server_and_pods_do() -> None:
    done = CliRunner().invoke(bench, ["cohorts", "--pods", "4", "--rounds", "2", "--elements", "10", "--json"])
    rows = json.loads(done.stdout)["measured"]
    parts = {"join", "first round", "later round"}
    assert {row["what"] for row in rows if row["who"] == "server"} == parts
    assert {row["what"] for row in rows if row["who"] == "pod"} == parts | {"unmask"}
    assert all(0 < row["least"] <= row["median"] <= row["most"] for row in rows)


def test_results_are_written_as_documents_a_picture_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [Run("deployment", 2, COMPLETE, [1.0, 2.0], 5.0), Run("deployment", 2, FLOWER, [2.0, 4.0], 20.0)]
    monkeypatch.setattr("benchmarks.rounds.measure", lambda *_: runs)
    done = CliRunner().invoke(bench, ["rounds", "--output", str(tmp_path / "out"), "--json"])
    document = json.loads(done.stdout)
    assert document["ratios"] == {
        "deployment_2_secure_over_flower": 0.5,
        "deployment_2_secure_over_flower_whole": 0.25,
    }
    CliRunner().invoke(bench, ["wire", "--elements", "1000", "--output", str(tmp_path / "out")])
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "README.md",
        "rounds.json",
        "rounds.png",
        "wire.json",
    }
    page = (tmp_path / "out" / "README.md").read_text()
    assert machine()["processor"] in page
    assert "| deployment | 2 | fl-app, t = n | 2 | 1.50 (1.00 to 2.00) | 5.0 |" in page
    assert "bytes per parameter" in page


def run_from(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a directory from which the checkout is found through PYTHONPATH alone."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=200
    )


def test_it_runs_from_any_directory_and_so_do_the_processes_it_starts(tmp_path: Path) -> None:
    done = run_from(tmp_path, "memory", "--elements", "1000", "--pods", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["part"] for row in json.loads(done.stdout)["measured"]] == [
        "pod",
        "server",
        "flower-pod",
        "flower-server",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wires"], "No such command 'wires'"),
        (["core", "--pods", "1"], "1 is not in the range x>=2"),
        (["rounds", "--only", "deploy"], "'deploy' is not one of 'simulation', 'deployment'"),
        (["wire", "--output", __file__], "is a file"),
    ],
)
def test_a_mistake_ends_in_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, command=bench, name=PROGRAM)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{PROGRAM}: ")
    assert message in line


def test_the_committed_page_is_made_of_the_committed_documents(tmp_path: Path) -> None:
    directory = tmp_path / "benchmarks"
    directory.mkdir()
    for path in (CHECKOUT / "benchmarks").iterdir():
        if path.suffix in (".json", ".png"):
            (directory / path.name).symlink_to(path)
    write_page(directory)
    assert (directory / "README.md").read_text() == (CHECKOUT / "benchmarks" / "README.md").read_text()


def test_pages_of_the_hub_are_timed() -> None:
    done = CliRunner().invoke(bench, ["hub", "--pods", "3", "--runs", "2", "--repeats", "2", "--json"])
    assert done.exit_code == 0, done.output
    measured = json.loads(done.stdout)["measured"]
    assert [one["page"] for one in measured] == [
        "/modeller/runs",
        "/modeller/runs/RUN",
        "/operator/",
        "/operator/parties",
        "/operator/runs",
    ]
    assert all(0 < one["least"] <= one["median"] <= one["most"] for one in measured)
