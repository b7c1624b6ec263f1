"""What is shown of a run: in words, on a terminal, in a notebook, in a file."""

import io
import sys
import types
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from fl_app.validation import counted
from server.app.results import Results
from server.display.live import Lines, Notebook, Terminal, display_for
from server.display.progress import Progress, results_table
from server.display.run_status import Clock, Status


def results(rounds: int = 0, name: str = "train", trip: str | None = None, **more: Any) -> Results:
    """Return the results of a run under way in which so many rounds of 2 seconds are completed."""
    step = {"name": name, "round": rounds + 1, "of": 5, "waiting": ["north", "south"], "trip": trip}
    entries = [{"round": n, "seconds": 2.0, "train_loss": 0.5, "auc": 0.75, "loss": 0.5} for n in range(1, rounds + 1)]
    if entries:
        entries[-1].pop("auc")  # comes in with the next step
    costs = {"statistics": {"bytes_out": 1_000, "bytes_in": 2_000, "seconds": [1.0]}}
    under_way = {
        **{"run_id": "r", "status": "running", "rounds": entries, "step": step},
        "secure_aggregation": {"steps": costs},
    }
    return Results.model_validate({**under_way, **more})


class Now:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_status_tells_the_step_who_is_awaited_bytes_and_time() -> None:
    now = Now()
    clock = Clock(now)
    assert clock.status(Results()).what == "starting"
    now.seconds += 7
    first = clock.status(results(3))
    assert (first.what, first.done, first.of, first.seconds) == ("training round 4 of 5", 3, 5, 0.0)
    assert (first.waiting, first.sent, first.received) == (("north", "south"), 1_000, 2_000)
    assert first.left == 2.0 + 2.0 + 1.0  # two rounds, and an evaluation like the statistics
    now.seconds += 1.5
    assert clock.status(results(3)).left == 3.5
    now.seconds += 60
    late = clock.status(results(3))
    assert (late.left, late.seconds) == (3.0, 61.5)
    assert clock.status(results(4)).seconds == 0.0
    assert first.awaited == "waiting for north, south"
    assert first.figures == "0 s · 1.0 kB sent, 2.0 kB received · about 5 s left"


def test_time_left_is_told_only_where_it_is_known() -> None:
    clock = Clock()
    assert clock.status(results(0)).left is None
    assert clock.status(results(5, name="evaluate")).left is None
    assert "at most 7 s left" in clock.status(results(2, early_stopping={"metric": "auc"})).figures


def test_trips_within_a_step_are_named() -> None:
    assert Clock().status(results(1, trip="unmask")).what == "training round 2 of 5 (unmasking)"


def test_of_many_pods_some_are_named() -> None:
    status = Status("x", waiting=tuple(f"pod-{n}" for n in range(9)))
    assert status.awaited == "waiting for pod-0, pod-1, pod-2, pod-3 and 5 more"


def terminal(**settings: Any) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "xterm"}, **settings)


def test_nothing_moves_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert isinstance(display_for(terminal()), Terminal)
    assert isinstance(display_for(terminal(no_color=True)), Lines)
    assert isinstance(display_for(Console(file=io.StringIO())), Lines)
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(display_for(dumb), Lines)
    monkeypatch.setenv("CI", "true")
    assert isinstance(display_for(terminal()), Lines)


def test_on_a_terminal_lines_stay_and_the_status_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    console = terminal()
    with Progress(console) as progress:
        progress(results(1))
        progress(results(2))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "training round 3 of 5" in shown
    assert "waiting for north, south" in shown
    assert shown.count("round   1/5  accuracy -  auc 0.7500") == 1
    assert shown.endswith("\x1b[2K")  # the live lines are erased


def test_lines_are_plain_and_each_round_is_told_once() -> None:
    out = io.StringIO()
    with Progress(Console(file=out, width=140)) as progress:
        for done in (0, 1, 2, 2, 3):
            progress(results(done))
        ended = results(3, status="completed", seconds=6.5, kept=3)
        ended = ended.changed(rounds=(*ended.rounds[:-1], ended.rounds[-1].changed(auc=0.75)))
        progress(ended)
        progress(ended)
    assert out.getvalue().splitlines() == [
        "round   1/5  accuracy -  auc 0.7500  loss 0.5000  train loss 0.5000  2.0 s",
        "round   2/5  accuracy -  auc 0.7500  loss 0.5000  train loss 0.5000  2.0 s",
        "round   3/5  accuracy -  auc 0.7500  loss 0.5000  train loss 0.5000  2.0 s",
        "done in 6.5 s: 1.0 kB sent, 2.0 kB received",
    ]


def test_lines_tell_now_and_then_who_is_waited_for() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=140))
    for seconds in (0, 5, 10, 11, 19, 20, 39, 40, 0, 9):
        lines.status(Status("training round 1 of 5", waiting=("north",), seconds=seconds))
    assert out.getvalue().splitlines() == [
        f"training round 1 of 5: still waiting for north ({seconds} s)" for seconds in (10, 20, 40)
    ]


class Handle:
    def __init__(self, bundle: Mapping[str, str]) -> None:
        self.shown = [bundle]

    def update(self, bundle: Mapping[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(bundle)


def test_a_notebook_has_one_output_whose_last_state_is_plain_html(monkeypatch: pytest.MonkeyPatch) -> None:
    handles: list[Handle] = []

    def display(bundle: Mapping[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        handles.append(Handle(bundle))
        return handles[-1]

    module = types.ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    notebook = Notebook()
    notebook.start()
    status = Status("training round 2 of 5", 1, 5, ("<north>",))
    notebook.status(status)
    notebook.status(status)
    notebook.line("round 1 & more")
    notebook.stop()
    (handle,) = handles
    texts = [bundle["text/plain"] for bundle in handle.shown]
    assert texts == ["starting", "training round 2 of 5 · 0 s · waiting for <north>", "round 1 & more"]
    assert '<progress max="5" value="1">' in handle.shown[1]["text/html"]
    assert "&lt;north&gt;" in handle.shown[1]["text/html"]
    last = handle.shown[-1]["text/html"]
    assert "round 1 &amp; more" in last
    assert "<script" not in last
    assert "<progress" not in last


def test_the_table_marks_the_round_that_is_kept() -> None:
    ended = results(3, status="completed", kept=2)
    console = Console(file=io.StringIO(), width=140)
    console.print(results_table(ended))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert ["kept" in line for line in lines if "validation" in line] == [False, True, False]


def shown(*states: Results) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    with Progress(console) as progress:
        for state in states:
            progress(state)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_a_note_follows_the_first_round_and_is_shown_once() -> None:
    noted = {"notes": ["4 optimizer steps in all"]}
    lines = shown(results(1, **noted), results(2, **noted), results(3, **noted))
    assert [line[:11] for line in lines] == ["round   1/5", "note: 4 opt", "round   2/5"]


def test_a_skipped_round_is_shown_in_a_resumed_run_too() -> None:
    old, new = {"round": 1, "why": "before"}, {"round": 4, "why": "pods had answered it before"}
    resumed = {"resumed": [{"time": "2026-01-01T00:00:00+00:00", "after": 3}]}
    lines = shown(results(3, skipped=[old], **resumed), results(3, skipped=[old, new], **resumed))
    assert lines == ["round   4/5  skipped: pods had answered it before"]
    assert shown(results(0, skipped=[old])) == ["round   1/5  skipped: before"]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 categories"), (1, "1 category"), (2, "2 categories"), (3000, "3,000 categories")]
)
def test_counts_agree_with_their_nouns(number: int, text: str) -> None:
    assert counted(number, "category", "categories") == text
