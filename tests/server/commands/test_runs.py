"""Comparing, logging and removing runs."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.tabular.settings import DataStructure
from server.app.results import Results, RoundResult
from server.app.run_directory import RunDirectory
from server.display.tracking import Mlflow, TensorBoard, Tracking

Call = Callable[..., tuple[int, str, str]]
FIGURES = {"accuracy": 0.8, "auc": 0.9, "f1": 0.7, "recall": 0.6, "precision": 0.8, "brier": 0.1, "loss": 0.3}


def made(runs: Path, name: str, rounds: int = 2, **settings: Any) -> RunDirectory:
    """A completed run with a name of our choice."""
    config = RunConfig(
        pods=("a", "b"), datastructure=DataStructure(target="t"), local_epochs=1, rounds=rounds, **settings
    )
    first = RunDirectory.create(runs, config)
    path = runs / name
    first.path.rename(path)
    (runs / "latest").unlink()
    (runs / "latest").symlink_to(name)
    run = RunDirectory(path.resolve())
    entries = [
        {"round": n, "train_loss": 1 / n, "clipped": 0, "seconds": 1.0, **FIGURES, "auc": n / 4}
        for n in range(1, rounds + 1)
    ]
    steps = {"train": {"messages": 4, "bytes_out": 1, "bytes_in": 1000 * rounds, "seconds": [1.0]}}
    results = {
        **{"run_id": name, "status": "completed", "seconds": 3.0, "rounds": entries, "final": FIGURES},
        "secure_aggregation": {"enabled": True, "steps": steps},
    }
    run.write_results(Results.model_validate(results))
    return run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "runs", "r1")
    made(tmp_path / "runs", "r2", rounds=3, seed=7)
    return tmp_path / "runs"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def names(runs: Path) -> list[str]:
    return [run.name for run in RunDirectory.all(runs)]


def test_compare_tells_what_differs_and_draws(runs: Path, call: Call) -> None:
    found = json.loads(call("runs", "compare", "r1", "latest", "--json")[1])
    assert found["runs"] == ["r1", "r2"]
    assert found["settings"] == {"rounds": [2, 3], "seed": [0, 7]}
    assert found["figures"]["auc, pods' test rows"] == [0.9, 0.9]
    assert found["figures"]["bytes from the pods"] == [2000, 3000]
    assert found["picture"] == "runs/comparison.png"
    assert (runs / "comparison.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = call("runs", "compare", "r1", "r2", "-o", "here.png")
    assert code == 0
    assert "seed" in out
    assert "here.png" in out
    assert Path("here.png").is_file()
    assert names(runs) == ["r1", "r2"]


def test_compare_takes_runs_that_failed(runs: Path, call: Call) -> None:
    failed = made(runs, "r3")
    failed.write_results(Results(run_id="r3", status="failed", rounds=(), error="lost"))
    found = json.loads(call("runs", "compare", "r1", "r3", "--json")[1])
    assert found["figures"]["status"] == ["completed", "failed"]
    assert found["figures"]["auc, pods' test rows"] == [0.9, None]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "r1"), "two different runs"),
        (("compare", "r2", "latest"), "two different runs"),
        (("compare", "r1", "no"), "no run directory"),
        (("compare", "r1", "r2", "-o", "p.svg"), "ends in .png"),
        (("compare", "r1", "r2", "-o", "no/p.png"), "cannot be written"),
        (("log", "r1"), "say where to"),
        (("remove", "r1"), "say --yes"),
        (("remove", "no", "--yes"), "no run directory"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(runs: Path, call: Call, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = call("runs", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("fl-app: ")
    assert err.count("\n") == 1
    assert said in err
    assert names(runs) == ["r1", "r2"]


def test_remove_mends_latest(runs: Path, call: Call) -> None:
    assert json.loads(call("runs", "remove", "r2", "--yes", "--json")[1]) == {"removed": ["r2"], "latest": "r1"}
    assert RunDirectory.find("latest", runs).name == "r1"
    assert call("runs", "remove", "latest", "--yes")[0] == 0
    assert list(runs.iterdir()) == []


def test_remove_leaves_latest_alone_where_it_leads_to_another(runs: Path, call: Call) -> None:
    assert json.loads(call("runs", "remove", "runs/r1", "--yes", "--json")[1])["latest"] == "r2"
    assert names(runs) == ["r2"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", ["r2"]), ("n\n", ["r1", "r2"]), ("", ["r1", "r2"])])
def test_remove_asks(runs: Path, call: Call, monkeypatch: pytest.MonkeyPatch, answer: str, left: list[str]) -> None:
    import io

    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    code, _, err = call("runs", "remove", "r1")
    assert "Remove r1 with all files?" in err
    assert (code == 0) == ("r1" not in left)
    assert names(runs) == left


def test_remove_follows_no_link(runs: Path, call: Call, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(runs / "r1", outside / "r9")
    (outside / "keep.txt").write_text("mine")
    (runs / "r9").symlink_to(outside / "r9")
    (runs / "r1" / "data").symlink_to(outside)
    for given in ("r9", "../outside/r9", str(outside / "r9"), "runs/r9", "runs/../outside/r9", "..", "."):
        code, _, err = call("runs", "remove", given, "--yes")
        assert (code, err.count("\n")) == (2, 1), given
    (runs / "latest").unlink()
    (runs / "latest").symlink_to(outside / "r9")
    assert call("runs", "remove", "latest", "--yes")[0] == 2
    assert call("runs", "remove", "r1", "--yes")[0] == 0
    assert (outside / "keep.txt").read_text() == "mine"
    assert (outside / "r9" / "config.json").is_file()
    assert not (runs / "r1").exists()


def test_a_run_under_way_is_not_removed(runs: Path, call: Call) -> None:
    with RunDirectory.find("r2", runs).carried_out():
        code, _, err = call("runs", "remove", "r2", "--yes")
    assert code == 2
    assert "under way" in err
    assert names(runs) == ["r1", "r2"]


class Kept:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float, int]] = []
        self.status = ""

    def scalar(self, name: str, value: float, step: int) -> None:
        self.told.append((name, value, step))

    def close(self, status: str) -> None:
        self.status = status


def test_tracking_tells_each_round_once_and_waits_for_its_evaluation(runs: Path) -> None:
    results = RunDirectory.find("r2", runs).results()
    sink = Kept()
    tracking = Tracking(sink)
    first, second, _ = results.rounds
    tracking(Results())
    tracking(Results(rounds=(first, RoundResult(round=2, train_loss=0.5))))
    tracking(Results(rounds=(first, second, RoundResult(round=3))))
    tracking(Results(rounds=(first, second, RoundResult(round=3))))
    assert [(step, value) for name, value, step in sink.told if name == "validation/auc"] == [(1, 0.25), (2, 0.5)]
    tracking.close(results)
    assert [step for name, _, step in sink.told if name == "training/loss"] == [1, 2, 3]
    assert ("test/auc", 0.9, 3) in sink.told
    assert sink.status == "completed"


def test_tensorboard_reads_what_was_logged(runs: Path, call: Call) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert call("runs", "log", "r2", "--tensorboard", "logs")[:2] == (0, "run r2 logged to logs\n")
    events = EventAccumulator("logs/r2")
    events.Reload()
    found = [
        (event.step, round(float(event.tensor_proto.float_val[0]), 4)) for event in events.Tensors("validation/auc")
    ]
    assert found == [(1, 0.25), (2, 0.5), (3, 0.75)]
    code, _, err = call("runs", "log", "r2", "--tensorboard", "logs")
    assert code == 2
    assert "already exists" in err


@pytest.mark.parametrize("extra", ["tensorboard", "mlflow"])
def test_without_the_extra_it_says_what_to_install(
    runs: Path, call: Call, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    for module in (extra, f"{extra}.summary"):
        monkeypatch.setitem(sys.modules, module, None)
    code, _, err = call("runs", "log", "r2", f"--{extra}", "somewhere")
    assert code == 2
    assert err.count("\n") == 1
    assert f"pip install 'fl-app[{extra}]'" in err
    assert not Path("somewhere").exists()


class Server:
    """A tracking server as MLflow's client shows it."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def client(self, tracking_uri: str | None) -> "Server":
        return self

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return "7"

    def search_runs(self, experiments: list[str], text: str) -> list[str]:
        return [name for name in self.runs if text == f"tags.`fl_app.run` = '{name}'"]

    def create_run(self, experiment: str, *, tags: Mapping[str, str], run_name: str) -> Any:
        self.runs[run_name] = {"params": {}, "metrics": [], "tags": tags}
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def log_param(self, run: str, key: str, value: str) -> None:
        self.runs[run]["params"][key] = value

    def log_metric(self, run: str, key: str, value: float, *, step: int) -> None:
        self.runs[run]["metrics"].append((key, value, step))

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[run]["status"] = status


def test_mlflow_is_given_settings_and_figures(runs: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    package, errors = ModuleType("mlflow"), ModuleType("mlflow.exceptions")
    package.MlflowClient = server.client  # type: ignore[attr-defined]
    errors.MlflowException = RuntimeError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", errors)
    assert call("runs", "log", "r1", "--mlflow", "http://localhost:5000")[0] == 0
    kept = server.runs["r1"]
    assert kept["status"] == "FINISHED"
    assert kept["params"]["seed"] == "0"
    assert json.loads(kept["params"]["pods"]) == ["a", "b"]
    assert ("validation/auc", 0.5, 2) in kept["metrics"]
    with pytest.raises(UsageError, match="has run r1 already"):
        Mlflow("", "r1", {})
    monkeypatch.setattr(server, "create_experiment", lambda _: (_ for _ in ()).throw(RuntimeError("no\nanswer")))
    with pytest.raises(UsageError, match="MLflow at its default: no answer"):
        Mlflow("", "r2", {})


def test_a_place_that_has_the_run_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "r1").mkdir()
    with pytest.raises(UsageError, match="already exists"):
        TensorBoard(tmp_path, "r1")
