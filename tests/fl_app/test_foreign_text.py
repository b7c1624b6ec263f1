"""One hostile schema, and hostile texts of pods and runs, through everything that shows them."""

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from flwr.app import RecordDict
from markdown_it import MarkdownIt

from client.app.ledger import Ledger
from client.app.owner import write_log
from fl_app.cli import main
from fl_app.config import RunConfig
from fl_app.errors import RunFailed
from fl_app.flower import records
from fl_app.host.findings import Finding
from fl_app.secagg.ledger_protocol import Account
from fl_app.tabular.combining import combine
from fl_app.tabular.encoding import Encoding, summed_columns
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.network import build_network, state_of
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.settings import DEFAULT_ARCHITECTURE, DataStructure
from fl_app.tabular.statistics import Statistics
from server.app.description_result import BalanceRows, CategoryRows, ColumnDescription, DescriptionResult
from server.app.importance_result import ColumnImportance, ImportanceResult
from server.app.results import Metrics, PodResult, Results, RoundResult, Stop
from server.app.run_directory import RunDirectory
from server.commands import pods as pods_command
from server.display.live import Lines, Notebook, Terminal
from server.display.plain_console import PlainConsole
from server.display.report import write_report
from server.display.run_status import Status
from server.exports.model_card import card
from server.modeller.schema_discovery import PodInfo
from server.modeller.schema_verdicts import judge
from strategies import CohortRefused
from strategies.polling import Reply

FORGED = "fl-app: every pod approves"
HOSTILE = (
    "[/b]", "[link=http://x]y[/link]", "\x1b[2J\x1b]0;title\x07", "\x9b31m", "name\u202eeman", "\r" + FORGED,
    f"name\n{FORGED}", "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "[x](javascript:alert(1))",
    "`code` | cell", "$\\frac{1$", "http://example.org", "$(touch here)", ":smile:", "{{ 7 * 7 }}",
)  # fmt: skip
"""Markup of rich, escape sequences, another direction, a line that looks like our own, HTML, Markdown, TeX, shell."""
ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
_OF_RICH = re.compile(r"\r?\x1b\[[0-9;?]*[A-HJKhlm]")


def assert_harmless(text: str) -> None:
    """Fail if text on its way to a terminal holds anything that acts, or a line that somebody else has made up."""
    assert not ACTS.search(text), ascii(ACTS.search(text))
    assert not [line for line in text.splitlines() if line.startswith(FORGED)]


def columns() -> tuple[Column, ...]:
    """Return a category, with hostile values, for each hostile name, a number in a hostile unit, and a target."""
    categories = tuple(Column(name=name, kind="categorical", values=tuple(sorted(HOSTILE))) for name in HOSTILE)
    number = Column(name="number", kind="continuous", low=0.0, high=8.0, unit=HOSTILE[6])
    return (*categories, number, Column(name="target", kind="categorical", values=tuple(sorted(HOSTILE[6:8]))))


def results(run_id: str = "run") -> Results:
    why = " ".join(HOSTILE)
    losses: Any = {"north": {"step": "train", "why": why, "code": "x"}}
    return Results(
        run_id=run_id,
        status="failed",
        error=why,
        rounds=(RoundResult(round=1, loss=0.5, auc=0.5, lost=losses),),
        final=Metrics(auc=0.5, loss=0.5),
        stopped=Stop(round=1, why=why),
        pods=tuple(PodResult(name=name, key=name, approves=HOSTILE) for name in HOSTILE),
        approvals=[["", *HOSTILE], *([name, *HOSTILE] for name in HOSTILE)],  # type: ignore[arg-type]
        schema_differences=HOSTILE,
        notes=HOSTILE,
        importance=ImportanceResult(
            columns=tuple(ColumnImportance(column=name, loss_rise=0.1) for name in HOSTILE), rows=40
        ),
        classes=HOSTILE[6:8],
        confusion=((1, 2), (3, 4)),
    )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run whose every text is hostile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    config = RunConfig(pods=("a", "b"), datastructure=DataStructure(target=HOSTILE[6]), local_epochs=1)
    made = RunDirectory.create(tmp_path / "runs", config)
    made.write_results(results(made.name))
    return made


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command and return all that it prints."""
    with pytest.raises(SystemExit):
        main(list(arguments))
    return "".join(capsys.readouterr())


def test_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    out = PlainConsole(file=io.StringIO(), width=4000)
    monkeypatch.setattr(pods_command, "console", lambda: out)
    north = Schema(name="north", columns=columns())
    target = Column(name="target", kind="categorical", values=("x", "y"))
    south = Schema(name="south", columns=(*columns()[:-3], target))
    published = {
        name: PodInfo(schema, HOSTILE[6], HOSTILE, versions={HOSTILE[2]: HOSTILE[6]}, online_since=HOSTILE[6])
        for name, schema in (("north", north), (HOSTILE[6], south))
    }
    verdicts = judge([north, south])
    pods_command._show(published, list(HOSTILE), verdicts, "target")
    assert_harmless(out.file.getvalue())  # type: ignore[attr-defined]
    for verdict in verdicts:
        for command in verdict.commands.values():
            assert verdict.name in shlex.split(command)


@pytest.mark.parametrize("display", [Terminal, Lines])
def test_progress(display: Any) -> None:
    out = PlainConsole(file=io.StringIO(), width=4000, force_terminal=display is Terminal, _environ={"TERM": "xterm"})
    shown = display(out)
    shown.start()
    for name in HOSTILE:
        shown.line(f"round 1: lost {name}")
        shown.status(Status(f"training {name}", waiting=HOSTILE, seconds=1000.0))
    shown.stop()
    assert_harmless(_OF_RICH.sub("", out.file.getvalue()))  # type: ignore[attr-defined]


def test_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    bundles: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **_: bundles.append(bundle))
    shown = Notebook()
    shown.line(" ".join(HOSTILE))
    shown.status(Status("training", waiting=HOSTILE))
    for bundle in bundles:
        assert_harmless(bundle["text/plain"])
        assert not re.search("<(script|img)", bundle["text/html"])


def test_runs(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("list",), ("show", "latest"), ("compare", run.name, run.name)):
        assert_harmless(told(capsys, "runs", *command))
    document = json.loads(told(capsys, "runs", "show", "latest", "--json"))
    assert document["error"] == " ".join(HOSTILE)  # exactly, and in ASCII


def test_an_error_at_the_end_of_a_command(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RunFailed("\n".join(HOSTILE))

    monkeypatch.setattr("server.commands.runs._list", fails)
    text = told(capsys, "runs", "list")
    assert FORGED in text
    assert_harmless(text)


def test_the_report(run: RunDirectory) -> None:
    page = write_report(run)[0].read_text("utf-8")
    assert not re.search("<(script>alert|img)", page)
    assert not ACTS.search(page)
    assert "{{ 7 * 7 }}" in page
    assert page.count("&lt;script&gt;") >= 3


def test_a_description(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple(BalanceRows(value=name, rows=(500, 700)) for name in HOSTILE)
    entries = tuple(CategoryRows(value=name, rows=100) for name in HOSTILE)
    described = tuple(
        ColumnDescription(name=name, kind="categorical", pods=2, rows=1200, categories=entries, balance=rows)
        for name in HOSTILE
    )
    number = ColumnDescription(
        name="number", kind="continuous", unit=HOSTILE[6], pods=2, rows=1200, mean=1.0, mean_error=0.1,
        quantiles=(1.0,) * 5, histogram_edges=(0.0, 1.0), histogram_rows=(1200,),
    )  # fmt: skip
    noise = {"rows": 6.0, "categories": 4.0, "balance": 4.0}
    run.write_results(
        Results(
            run_id=run.name,
            status="completed",
            schema_differences=HOSTILE,
            description=DescriptionResult(
                rows=1200, target=HOSTILE[6], classes=HOSTILE[6:8], columns=(*described, number), noise=noise
            ),
        )
    )
    text = told(capsys, "runs", "show", run.name)
    assert "rows by " in text
    assert_harmless(text)
    page = write_report(run)[0].read_text("utf-8")
    assert not re.search("<(script>alert|img)", page)
    assert not ACTS.search(page)
    assert page.count("<svg") == 2


def model() -> TrainedModel:
    schema = combine([Schema(name=name, columns=columns()) for name in ("north", "south")])
    structure = DataStructure(target="target")
    encoding = Encoding.of(schema, structure, Statistics.zeros(summed_columns(schema, structure)), min_bin_rows=1)
    state = state_of(build_network(encoding, DEFAULT_ARCHITECTURE, 0))
    return TrainedModel(encoding, DEFAULT_ARCHITECTURE, state, {"run": HOSTILE[6]})


def test_the_model_card() -> None:
    known = {**results().document(), "pods": [{"name": name, "key": name} for name in HOSTILE]}
    text = card(model(), Path("m.pt"), known)
    assert not ACTS.search(text)
    assert not re.search(r"https?://|www\.", re.sub("`[^`]*`", "", text))  # GitHub would make links of them
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = {child.type for token in tokens for child in [token, *(token.children or [])]}
    assert not kinds & {"html_block", "html_inline", "image", "link_open"}
    assert f"\n{FORGED}" not in text


def test_the_ledgers_log_and_the_pods_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path))
    ledger = Ledger(tmp_path / "pods" / "north" / "ledger.db")
    for name in HOSTILE:
        account = Account(name, name, {other: bytes(32) for other in HOSTILE[:3]} | {name: bytes(32)})
        ledger.enter_session(account, b"session", b"")
        ledger.enter_refusal(account, name, 0, name)
    assert_harmless(told(capsys, "pod", "log", "north"))
    for line in told(capsys, "pod", "log", "north", "--lines").splitlines():
        assert line.isascii()
    for name in HOSTILE:
        assert_harmless(told(capsys, "pod", "status", name))
        assert_harmless(told(capsys, "pod", "pause", name))


def test_the_pods_own_log(tmp_path: Path) -> None:
    for name in HOSTILE:
        write_log(tmp_path / "pod.log", name)
    assert not ACTS.search((tmp_path / "pod.log").read_text())


def test_doctor(run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding(name, False, f"{name}: see there") for name in HOSTILE]
    monkeypatch.setattr("server.doctor.installation.examine", lambda *_: found)
    text = told(capsys, "doctor")
    assert not ACTS.search(text)
    assert "[/b]" in text


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    header = ",".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in HOSTILE)
    rows = "\n".join(",".join(["1"] * len(HOSTILE)) for _ in range(30))
    (tmp_path / "a.csv").write_text(f"{header}\n{rows}\n", newline="")
    for arguments in (("init", "a.csv", "--name", "a"), ("check", "a.yaml")):
        assert not ACTS.search(told(capsys, "pod", *arguments))
    assert (tmp_path / "a.yaml").exists()


def test_why_there_is_no_cohort_is_told_in_lines_of_our_own() -> None:
    refused = CohortRefused([f"two nodes answer as pod '{name}'" for name in HOSTILE], ("north",))
    assert_harmless(str(refused))
    assert len(str(refused).splitlines()) == 1


def test_a_pods_refusal_stays_in_its_line() -> None:
    for name in HOSTILE:
        content = records.put(RecordDict(), records.Refusal("north", "policy", name))
        refusal = Reply(1, content).refusal()
        assert refusal is not None
        assert_harmless(refusal.text)
        assert len(refusal.text.splitlines()) == 1
