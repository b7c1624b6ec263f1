"""A hub reads the ledger without holding it, each entry once, and finds what was changed in it."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from client.app.ledger import Ledger
from client.hub import ledger_view
from client.hub.ledger_view import LedgerUnread, LedgerView
from client.site.ledger_totals import Totals
from fl_app.secagg.ledger_protocol import Account
from tests.client.hub.conftest import SOUTH, Home, step

KEYS = {"north": bytes(32), "south": SOUTH}


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def test_sums_are_those_of_the_log(home: Home) -> None:
    sums, expected = LedgerView(home.path).refresh(), Totals()
    for entry in home.ledger.entries():
        expected.add(entry)
    assert sums.totals == expected
    assert (sums.totals.messages, sums.totals.rounds, sums.totals.runs) == (11, 4, 2)
    assert (sums.broken, sums.seen) == (None, len(home.ledger.entries()))
    assert sums.written == home.ledger.entries()[-1].head


def test_an_entry_is_read_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    chain = ledger_view.chain
    monkeypatch.setattr(ledger_view, "chain", lambda head, *line: hashed.append(line[0]) or chain(head, *line))
    view = LedgerView(home.path)
    for _ in range(3):
        view.refresh()
    home.ledger.enter_refusal("10", "query.hello", 0, "no")
    assert view.refresh().totals.refusals == 2
    assert hashed == [entry.seq for entry in home.ledger.entries()]


def test_many_entries_are_read_in_short_reads(bare: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_view, "BATCH", 3)
    for number in range(10):
        bare.ledger.enter(Account(str(number)), "look", "query.hello", size=number)
    view = LedgerView(bare.path)
    assert view.refresh().totals.looks == 10
    entries, count = view.page(2, 4)
    assert ([entry.seq for entry in entries], count) == ([6, 5, 4, 3], 10)
    assert [entry.run for entry in view.page(1, 4, "7")[0]] == ["7"]
    assert view.page(1, 4, None, "refusal") == ([], 0)


def test_the_pod_writes_while_a_hub_looks(home: Home) -> None:
    view, ended = LedgerView(home.path), threading.Event()
    problems: list[Exception] = []

    def look() -> None:
        while not ended.is_set():
            try:
                view.refresh()
                view.page(1, 50)
            except LedgerUnread:
                pass  # the pod was just writing
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50):
        home.ledger.enter_refusal(str(100 + number), "query.hello", 0, "no")
    ended.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert view.refresh().seen == len(home.ledger.entries())
    assert view.refresh().broken is None


def test_no_transaction_stays_open_between_looks(home: Home) -> None:
    view = LedgerView(home.path)
    view.refresh()
    view.page(1, 50)
    view.spent()
    with closing(sqlite3.connect(home.path, timeout=0, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")  # raises if anybody holds it
        database.execute("ROLLBACK")


def test_the_ledger_cannot_be_written_through_the_view(home: Home) -> None:
    with closing(LedgerView(home.path)._open()) as database, pytest.raises(sqlite3.OperationalError):
        database.execute("DELETE FROM entries")


def test_while_the_pod_writes_what_was_known_stays(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_view, "_BUSY_SECONDS", 0.01)
    view = LedgerView(home.path)
    before = view.refresh().seen
    home.ledger.enter_refusal("10", "query.hello", 0, "no")
    with closing(sqlite3.connect(home.path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnread):
            view.refresh()
        assert view.sums.seen == before
    assert view.refresh().seen == before + 1


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE entries SET size = 1 WHERE seq = 3", 3),
        ("UPDATE entries SET size = 'much' WHERE seq = 3", 3),
        ("UPDATE entries SET cohort = '[' WHERE seq = 4", 4),
        ("UPDATE entries SET why = CAST(x'ff' AS TEXT) WHERE seq = 5", 5),
        ("DELETE FROM entries WHERE seq = 4", 5),
        ("UPDATE entries SET seq = -4 WHERE seq = 4", -4),
    ],
)
def test_a_change_of_what_was_read_already_is_found(home: Home, statement: str, broken: int) -> None:
    view = LedgerView(home.path)
    assert view.refresh().broken is None
    change(home.path, statement)
    assert view.refresh().broken == broken
    assert LedgerView(home.path).refresh().broken == broken
    assert f"entry {broken} does not follow" in home.page("/")
    assert "chain of" not in home.page("/ledger")


def test_a_change_beside_a_new_entry_is_found_with_the_next_full_look(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = LedgerView(home.path)
    view.refresh()
    change(home.path, "UPDATE entries SET size = 1 WHERE seq = 3")
    home.ledger.enter_refusal("10", "query.hello", 0, "no")
    view._again = 0.0
    assert view.refresh().broken == 3


def test_a_ledger_that_was_cut_off_or_replaced_is_read_anew(home: Home) -> None:
    view = LedgerView(home.path)
    view.refresh()
    change(home.path, "DELETE FROM entries WHERE seq > 2")
    assert view.refresh().seen == 2
    home.path.unlink()
    assert view.refresh().seen == 0
    assert view.page(1, 10) == ([], 0)
    step(Ledger(home.path), Account("7", "7", KEYS), "train", 1, b"")
    assert view.refresh().totals.rounds == 1


def test_what_is_spent_is_what_the_ledger_says_also_once_it_is_gone(home: Home) -> None:
    view = LedgerView(home.path)
    assert view.spent() == home.ledger.spent()
    spent = home.ledger.spent().total
    assert spent > 0
    home.path.unlink()
    assert view.spent().total == spent


@pytest.mark.parametrize("content", [b"no ledger", b""])
def test_a_file_that_is_no_ledger_is_said_to_be_none(bare: Home, content: bytes) -> None:
    bare.path.write_bytes(content)
    with pytest.raises(LedgerUnread):
        LedgerView(bare.path).refresh()
    for page in ("/", "/ledger", "/runs", "/budget", "/approvals"):
        assert bare.page(page)
