"""Names that pods choose are text: on the terminal, in a notebook and on the page, whatever they look like."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.system.printable import printable
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.settings import DataStructure
from server.app.results import PodResult, Results, RoundResult, Stop
from server.app.run_directory import RunDirectory
from server.commands import pods as pods_command
from server.display.plain_console import PlainConsole
from server.display.progress import Progress, matrix_table, results_table
from server.display.report import write_report
from server.modeller.schema_discovery import PodInfo
from server.modeller.schema_verdicts import judge

NAMES = ("[/b]", "[bold red]x", ":smile:", "<script>alert(1)</script>", "a&b\"'", "[link=http://x]y[/link]")
ESCAPES = "\x1b[2J\x1b]0;title\x07\r\u202e"


def console() -> PlainConsole:
    return PlainConsole(file=io.StringIO(), width=200, force_terminal=True, _environ={"TERM": "xterm"})


def shown(made: PlainConsole) -> str:
    return made.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_terminal_is_text(name: str) -> None:
    out = console()
    out.print(name)
    table = Table(title=f"title {name}")
    table.add_column(f"head {name}")
    table.add_row(f"cell {name}")
    out.print(table)
    out.print(matrix_table([["approves", name], [name, "-"]]))
    out.print(results_table(Results(run_id=name, rounds=(RoundResult(round=1, auc=0.5),))))
    text = shown(out).replace("\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[3m", "")
    for line in (name, f"title {name}", f"head {name}", f"cell {name}", f"run {name}"):
        assert line in text, line


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    out = console()
    out.print(ESCAPES)
    table = Table()
    table.add_column(ESCAPES)
    table.add_row(ESCAPES)
    out.print(table)
    text = shown(out)
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text
    assert not {"\x07", "\r", "\u202e"} & set(text)
    assert "\\x1b[2J" in text
    assert printable("a\tb\nc") == "a\tb\nc"


@pytest.mark.parametrize("name", NAMES)
def test_progress_shows_why_training_ended_as_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    out = console()
    ended = Results(run_id="r", status="completed", seconds=1.0, stopped=Stop(round=1, why=name))
    with Progress(out) as progress:
        progress(ended)
    assert f"training ended with round 1: {name}" in shown(out)


def test_pods_shows_columns_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = tuple(Column(name=name, kind="categorical", values=("a", "b")) for name in (*NAMES, ESCAPES))
    out = console()
    monkeypatch.setattr(pods_command, "console", lambda: out)
    schema = Schema(name="north", columns=columns)
    pods_command._show({"north": PodInfo(schema, "SHA256:k", ())}, [], judge([schema]), NAMES[0])
    assert all(name in shown(out) for name in NAMES)
    assert "\x1b[2J" not in shown(out)


def test_commands_show_the_error_of_a_run_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = RunConfig(pods=("a", "b"), datastructure=DataStructure(target="[/b]"), local_epochs=1)
    run = RunDirectory.create(Path("runs"), config)
    run.write_results(Results(run_id=run.name, status="failed", rounds=(), error=f"{NAMES} {ESCAPES}"))
    with pytest.raises(SystemExit):
        main(["runs", "show", "latest"])
    out = capsys.readouterr().out
    assert all(part in out for part in ("[/b]", "[bold red]x", ":smile:", "<script>"))
    assert "\x1b" not in out
    with pytest.raises(SystemExit):
        main(["runs", "show", "latest", "--json"])
    assert json.loads(capsys.readouterr().out)["error"] == f"{NAMES} {ESCAPES}"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_on_the_page_is_text(name: str, tmp_path: Path) -> None:
    config = RunConfig(pods=("a", "b"), datastructure=DataStructure(target=name), local_epochs=1)
    run = RunDirectory.create(tmp_path, config)
    losses: Any = {name: {"step": name, "why": name, "code": ""}}
    rounds = (RoundResult(round=1, loss=0.5, auc=0.5, lost=losses),)
    results = Results(
        run_id=run.name,
        status="failed",
        rounds=rounds,
        error=name,
        stopped=Stop(round=1, why=name),
        pods=(PodResult(name=name, key=name), PodResult(name="b", approves=(name,))),
        schema_differences=(name,),
        classes=(name, "no"),
        confusion=((1, 2), (3, 4)),
    )
    run.write_results(results)
    text = write_report(run)[0].read_text("utf-8")
    for mark in ("<script", "a&b", "b\"'"):
        assert mark not in text
    if name.startswith("["):
        assert text.count(name) >= 8
