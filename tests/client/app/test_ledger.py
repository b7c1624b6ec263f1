import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import astuple
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.app.ledger import Ledger
from fl_app.secagg.canonical import digest
from fl_app.secagg.errors import AlreadyAnswered, LedgerRefused, PartIsOver, PolicyRefused
from fl_app.secagg.ledger_protocol import Account
from tests.support.at_once import at_once

RUN, LABEL = "run-7", b"L" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pods" / "a" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger(path)


def answer(ledger: Ledger, round: int = 1, kind: str = "train", run: str = RUN, head: bytes = b"") -> bytes:
    """Begin and answer a step."""
    return ledger.enter_answer(run, kind, round, LABEL, ledger.enter_begin(run, kind, round, LABEL, head))


# --- once


@pytest.mark.parametrize("label", [LABEL, b"M" * 32])
def test_a_round_is_answered_once_under_whatever_label(ledger: Ledger, label: bytes) -> None:
    answer(ledger)
    with pytest.raises(AlreadyAnswered, match="round 1 of 'train' comes after round 1"):
        ledger.enter_begin(RUN, "train", 1, label, b"")


def test_rounds_strictly_increase_but_may_leave_gaps(ledger: Ledger) -> None:
    answer(ledger, 1)
    answer(ledger, 5)
    for spent in (1, 2, 4, 5):
        with pytest.raises(AlreadyAnswered):
            answer(ledger, spent)
    answer(ledger, 6)


def test_a_second_session_does_not_make_a_round_new(ledger: Ledger) -> None:
    head = ledger.enter_session(RUN, b"one", b"", at_most=2)
    head = answer(ledger, 1, head=head)
    head = ledger.enter_session(RUN, b"two", head, at_most=2)
    with pytest.raises(AlreadyAnswered):
        answer(ledger, 1, head=head)
    answer(ledger, 2, head=head)


def test_kinds_and_runs_are_counted_on_their_own(ledger: Ledger) -> None:
    for kind in ("train", "statistics", "evaluate"):
        for run in (RUN, "run-8"):
            answer(ledger, 1, kind, run)
    with pytest.raises(AlreadyAnswered):
        answer(ledger, 1, "evaluate", "run-8")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(st.sampled_from(["train", "evaluate"]), st.integers(1, 4)), max_size=12))
def test_whatever_is_asked_in_whatever_order_each_round_is_entered_once(
    tmp_path: Path, asked: list[tuple[str, int]]
) -> None:
    path = tmp_path / "ledger.db"
    path.unlink(missing_ok=True)
    ledger, last = Ledger(path), {"train": 0, "evaluate": 0}
    for kind, round in asked:
        if round > last[kind]:
            answer(ledger, round, kind)
            last[kind] = round
        else:
            with pytest.raises(AlreadyAnswered):
                answer(ledger, round, kind)
    entered = [(entry.event, entry.kind, entry.round) for entry in ledger.entries()]
    assert len(entered) == len(set(entered))


def test_sessions_are_as_many_as_the_owner_allows(ledger: Ledger) -> None:
    head = b""
    for session in (b"one", b"two", b"three"):
        head = ledger.enter_session(RUN, session, head, at_most=3)
    with pytest.raises(LedgerRefused, match="3 sessions, as many as the owner allows"):
        ledger.enter_session(RUN, b"four", head, at_most=3)
    ledger.enter_session("run-8", b"one", b"", at_most=3)


def test_training_is_counted_over_a_series_and_all_else_over_a_run(ledger: Ledger) -> None:
    first, resumed = Account("run-7", "s"), Account("run-8", "s")
    for account in (first, resumed):
        ledger.enter_session(account, b"one", b"")
        for kind in ("statistics", "evaluate"):
            ledger.enter_begin(account, kind, 1, LABEL, b"")
            with pytest.raises(AlreadyAnswered):
                ledger.enter_begin(account, kind, 1, LABEL, b"")
    ledger.enter_begin(first, "train", 3, LABEL, b"")
    for spent in (1, 3):
        with pytest.raises(AlreadyAnswered, match=f"round {spent} of 'train' comes after round 3 was begun"):
            ledger.enter_begin(resumed, "train", spent, LABEL, b"")
    ledger.enter_begin(resumed, "train", 4, LABEL, b"")
    ledger.enter_begin(Account("run-9", "other"), "train", 1, LABEL, b"")


def test_a_series_with_the_name_of_a_run_of_another_series_is_another(ledger: Ledger) -> None:
    ledger.enter_begin(Account("run-7", "s"), "train", 1, LABEL, b"")
    ledger.enter_begin(Account("run-8", "run-7"), "train", 1, LABEL, b"")


@pytest.mark.parametrize("event", ["survivors", "unmask"])
def test_one_list_of_survivors_is_spoken_of_under_a_label(ledger: Ledger, event: str) -> None:
    both: Mapping[str, bytes] = {"a": bytes(32), "b": bytes([1]) * 32}
    head = answer(ledger)
    head = ledger.enter_survivors(Account(RUN, RUN, both), "survivors", LABEL, head, 5)
    head = ledger.enter_survivors(Account(RUN, RUN, both), event, LABEL, head, 5)
    for other in ({"a": bytes(32)}, {**both, "a": bytes([2]) * 32}):
        with pytest.raises(AlreadyAnswered, match="other survivors"):
            ledger.enter_survivors(Account(RUN, RUN, other), event, LABEL, head)
    last = ledger.entries()[-1]
    assert (last.event, last.kind, last.round, last.size) == (event, "train", 1, 5)


# --- steps that failed


@pytest.fixture
def tolerant(path: Path) -> Ledger:
    return Ledger(path, failed_steps_per_day=2)


def test_a_step_that_was_cut_off_counts_as_failed_once_another_begins(tolerant: Ledger) -> None:
    for round in (1, 2):
        tolerant.enter_begin(RUN, "train", round, LABEL, b"")
    with pytest.raises(PolicyRefused, match=r"2 steps have failed today.*maximum_failed_steps_per_day"):
        tolerant.enter_begin(RUN, "train", 3, LABEL, b"")
    tolerant.enter_answer(RUN, "train", 2, LABEL, b"")
    tolerant.enter_begin(RUN, "train", 3, LABEL, b"")


def test_a_session_ends_whatever_was_under_way(tolerant: Ledger) -> None:
    for run in ("run-7", "run-8"):
        tolerant.enter_session(run, b"s", b"")
        tolerant.enter_begin(run, "train", 1, LABEL, b"")
    with pytest.raises(PolicyRefused, match="maximum_failed_steps_per_day"):
        tolerant.enter_session("run-9", b"s", b"")
    assert [entry.event for entry in tolerant.entries()] == ["session", "begin"] * 2


def test_steps_that_are_answered_and_messages_that_are_refused_do_not_count_as_failed(tolerant: Ledger) -> None:
    for round in range(1, 6):
        answer(tolerant, round)
        tolerant.enter_refusal(RUN, "train.masked", 0, "why")
        tolerant.enter(RUN, "failure", "train.masked")
    tolerant.enter_session("run-8", b"s", b"")


def test_steps_that_failed_on_another_day_do_not_count(tolerant: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for round in (1, 2):
        tolerant.enter_begin(RUN, "train", round, LABEL, b"")
    with pytest.raises(PolicyRefused):
        tolerant.enter_session("run-8", b"s", b"")

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Tomorrow":
            return super().now(tz) + timedelta(days=1)

    monkeypatch.setattr("client.app.ledger.datetime", Tomorrow)
    tolerant.enter_session("run-8", b"s", b"")


def test_a_failed_step_ends_its_series_alone(ledger: Ledger) -> None:
    for series in ("s", "t"):
        account = Account(f"run of {series}", series)
        ledger.enter_session(account, b"one", b"")
        ledger.enter_begin(account, "train", 1, LABEL, b"")
    ledger.enter(Account("run of s", "s"), "failure", "train", round=1)
    for run in ("run of s", "run-9"):
        with pytest.raises(PartIsOver):
            ledger.enter_session(Account(run, "s"), b"two", b"", at_most=2)
    ledger.enter_session(Account("run of t", "t"), b"two", b"", at_most=2)


def test_a_ledger_from_before_a_limit_is_read_as_quickly(ledger: Ledger, path: Path) -> None:
    answer(ledger)
    indices = "SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name"
    with closing(sqlite3.connect(path)) as database:
        made = database.execute(indices).fetchall()
        for name in ("days", "series", "steps"):
            database.execute(f"DROP INDEX {name}")
    answer(ledger, 2)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(indices).fetchall() == made
    assert len(ledger.entries()) == 4


def test_the_text_of_a_refusal_is_kept_short(ledger: Ledger) -> None:
    ledger.enter_refusal(RUN, "query.hello", 0, "x" * 10**6)
    assert len(ledger.entries()[0].why) == 1000


# --- the chain


def test_entries_say_what_happened_and_each_holds_the_one_before(ledger: Ledger) -> None:
    first = ledger.enter_session(RUN, b"session", b"")
    second = answer(ledger, head=first)
    ledger.enter_refusal(RUN, "train.masked", 0, "why")
    entries = ledger.entries()
    assert [(e.seq, e.event, e.detail, e.why) for e in entries] == [
        (1, "session", b"session".hex(), ""),
        (2, "begin", LABEL.hex(), ""),
        (3, "answer", LABEL.hex(), ""),
        (4, "refusal", "", "why"),
    ]
    assert [e.head for e in entries[:3:2]] == [first, second]
    *said, head = astuple(entries[2])
    assert head == digest("fl-app/ledger/2", entries[1].head, said)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET series = 'x' WHERE seq = 2",
        "UPDATE entries SET app = 'x' WHERE seq = 2",
        "UPDATE entries SET kind = 'x' WHERE seq = 2",
        "UPDATE entries SET cohort = 'x' WHERE seq = 2",
        "UPDATE entries SET why = 'x' WHERE seq = 2",
        "UPDATE entries SET size = 9 WHERE seq = 2",
        "UPDATE entries SET round = 9 WHERE seq = 2",
        "UPDATE entries SET run = 'run-8' WHERE seq = 2",
        "UPDATE entries SET time = '' WHERE seq = 1",
        "UPDATE entries SET detail = 'x' WHERE seq = 1",
        "UPDATE entries SET event = 'refusal' WHERE seq = 2",
        "UPDATE entries SET head = x'00' WHERE seq = 3",
        "DELETE FROM entries WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 2",
        "UPDATE entries SET seq = 99 WHERE seq = 6",
    ],
)
def test_an_altered_line_is_found(ledger: Ledger, path: Path, change: str) -> None:
    for round in (1, 2, 3):
        answer(ledger, round + 1)
    with sqlite3.connect(path) as database:
        database.execute(change)
    database.close()
    with pytest.raises(LedgerRefused, match=r"the ledger was altered: entry \d+ does not follow"):
        ledger.entries()


# --- gone, rolled back, unusable


def test_a_ledger_deleted_while_a_run_is_under_way_is_refused(ledger: Ledger, path: Path) -> None:
    head = answer(ledger, head=ledger.enter_session(RUN, b"s", b""))
    path.unlink()
    with pytest.raises(LedgerRefused, match="deleted or replaced"):
        answer(ledger, 2, head=head)
    with pytest.raises(LedgerRefused, match="deleted or replaced"):
        ledger.enter_session(RUN, b"t", head, at_most=9)
    assert ledger.entries() == []


def test_a_ledger_rolled_back_while_a_run_is_under_way_is_refused(ledger: Ledger, path: Path) -> None:
    head = answer(ledger, 1, head=ledger.enter_session(RUN, b"s", b""))
    old = path.with_name("old.db")
    shutil.copy(path, old)
    head = answer(ledger, 2, head=head)
    os.replace(old, path)
    for round in (2, 3):
        with pytest.raises(LedgerRefused, match="deleted or replaced"):
            answer(ledger, round, head=head)
    assert len(ledger.entries()) == 3


def test_a_head_of_another_run_is_not_this_runs(ledger: Ledger) -> None:
    other = answer(ledger, run="run-8")
    with pytest.raises(LedgerRefused):
        answer(ledger, head=other)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + bytes(500)])
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(ledger: Ledger, path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(LedgerRefused, match="cannot be written") as refused:
        answer(ledger)
    assert str(path) not in str(refused.value)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_refused_without_naming_it(tmp_path: Path) -> None:
    (tmp_path / "pods").write_text("a file where a directory should be")
    with pytest.raises(LedgerRefused) as refused:
        answer(Ledger(tmp_path / "pods" / "a" / "ledger.db"))
    assert str(tmp_path) not in str(refused.value)


def test_a_round_too_large_for_the_file_is_a_typed_refusal(ledger: Ledger) -> None:
    with pytest.raises(LedgerRefused):
        answer(ledger, 2**63)


def test_the_file_is_its_owners_alone(ledger: Ledger, path: Path) -> None:
    answer(ledger)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


# --- real processes

ENTER = """
import sys
from pathlib import Path
from client.app.ledger import Ledger
from fl_app.secagg.errors import AlreadyAnswered
ledger, won = Ledger(Path(sys.argv[1])), []
print("ready", flush=True)
sys.stdin.readline()
for number in range(1, 21):
    try:
        ledger.enter_begin("run-7", "train", number, sys.argv[2].encode(), b"")
        won.append(number)
    except AlreadyAnswered:
        pass
print(*won)
"""

ENTER_AND_DIE = """
import os, signal, sys
from pathlib import Path
from client.app.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
head = ledger.enter_begin("run-7", "train", 1, b"L", bytes.fromhex(sys.argv[2]))
if sys.argv[3] == "answer":
    ledger.enter_answer("run-7", "train", 1, b"L", head)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_of_two_processes_that_answer_a_round_at_once_one_does(path: Path) -> None:
    printed = at_once(ENTER, *((str(path), name) for name in ("one", "other")))
    won = [[int(word) for word in said.split()] for said in printed]
    assert not set(won[0]) & set(won[1])
    entries = Ledger(path).entries()  # an unbroken chain
    assert sorted(won[0] + won[1]) == [entry.round for entry in entries]
    assert entries[-1].round == 20


def test_whoever_comes_second_reads_nothing_before_the_first_is_done(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(ledger, 1)
    entering, done, seen, outcome = threading.Event(), threading.Event(), [], []

    def slow(*line: object) -> bytes:
        seen.append(line)
        entering.set()
        done.wait(10)
        return b"head"

    def second() -> None:
        try:
            answer(Ledger(path), 2)
        except AlreadyAnswered as error:
            outcome.append(error)

    monkeypatch.setattr("client.app.ledger.chain", slow)
    first = threading.Thread(target=ledger.enter_begin, args=(RUN, "train", 2, LABEL, b""))
    both = [first, threading.Thread(target=second)]
    both[0].start()
    assert entering.wait(10)
    both[1].start()
    both[1].join(0.3)
    assert both[1].is_alive()
    done.set()
    for thread in both:
        thread.join(10)
    assert len(outcome) == len(seen) == 1


@pytest.mark.parametrize("after", ["begin", "answer"])
def test_a_kill_between_entry_and_reply_spends_the_round_and_no_more(ledger: Ledger, path: Path, after: str) -> None:
    head = ledger.enter_session(RUN, b"s", b"")
    killed = subprocess.run([sys.executable, "-c", ENTER_AND_DIE, str(path), head.hex(), after], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    # The pod's state is that of before the reply: it still holds the old head.
    with pytest.raises(AlreadyAnswered):
        answer(ledger, 1, head=head)
    answer(ledger, 2, head=head)
    killed_one = ["begin", "answer"] if after == "answer" else ["begin"]
    assert [entry.event for entry in ledger.entries()] == ["session", *killed_one, "begin", "answer"]


def test_what_was_not_committed_is_not_there(ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(ledger, 1)

    def stop(*line: object) -> bytes:
        raise RuntimeError("stopped in the middle of an entry")

    monkeypatch.setattr("client.app.ledger.chain", stop)
    with pytest.raises(RuntimeError):
        answer(ledger, 2)
    monkeypatch.undo()
    assert [entry.round for entry in ledger.entries()] == [1, 1]
    answer(ledger, 2)
