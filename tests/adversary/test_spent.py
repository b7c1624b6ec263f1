"""The owner's budget in the ledger: what was spent stays spent, whatever becomes of the process or of the file."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.app.budget import SPENT, Charge, Part, Spent, Terms, mark_of, read_detail, shown
from client.app.ledger import Ledger
from fl_app.privacy.accounting import epsilon_of
from fl_app.privacy.cost import UNIT, budget
from fl_app.secagg.errors import AlreadyAnswered, LedgerRefused, PolicyRefused
from fl_app.secagg.ledger_protocol import Account
from tests.support.at_once import at_once

LABEL = b"L" * 32
TERMS, UNLIMITED = Terms(1.0, 1e-5), Terms(None, 1e-5)
LIMIT = budget(1.0, 1e-5)
TENTH = LIMIT // 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def begin(
    path: Path,
    number: int,
    *,
    cost: int = TENTH,
    series: str = "s",
    part: Part = "training",
    frame: str = "rows",
    terms: Terms = TERMS,
) -> None:
    """Begin a private step as a new process would, by a ledger of its own."""
    kind = "train" if part == "training" else "evaluate"
    account = Account(f"run of {series}", series)
    Ledger(path).charging(Charge(cost, part, frame, terms)).enter_begin(account, kind, number, LABEL, b"")


def said(path: Path, number: int) -> str:
    """Return what is said when a step begins: nothing, the text of a refusal, or what else went wrong."""
    try:
        begin(path, number)
    except LedgerRefused as error:
        return str(error)
    except Exception as error:
        return repr(error)
    return ""


def total(path: Path) -> int:
    return Ledger(path).spent().total


# -- what is entered


def test_a_private_step_is_spent_with_its_beginning(path: Path) -> None:
    begin(path, 1, cost=7)
    begin(path, 2, cost=7)
    begin(path, 1, cost=20, part="held_out")
    entries = Ledger(path).entries()  # the chain holds
    assert [(entry.event, entry.kind, entry.round) for entry in entries] == [
        ("begin", "train", 1),
        (SPENT, "train", 1),
        ("begin", "train", 2),
        (SPENT, "train", 2),
        ("begin", "evaluate", 1),
        (SPENT, "evaluate", 1),
    ]
    spent, terms = read_detail(entries[-1].detail)
    assert spent == Spent(number=3, total=20, training=14, held_out=20, frame="rows") == Ledger(path).spent("s")
    assert terms == TERMS


def test_a_step_that_costs_nothing_is_entered_as_it_was(path: Path) -> None:
    Ledger(path).enter_begin("run", "train", 1, LABEL, b"")
    assert [entry.event for entry in Ledger(path).entries()] == ["begin"]
    assert not mark_of(path).exists()
    assert Ledger(path).spent("run") == Spent()


def test_a_series_pays_the_dearer_path_and_each_series_pays(path: Path) -> None:
    for number, (series, part, cost, expected) in enumerate(
        [
            ("s", "training", 10, 10),
            ("s", "held_out", 8, 10),
            ("t", "held_out", 5, 15),
            ("s", "held_out", 8, 21),
            ("t", "training", 4, 21),
            ("t", "training", 4, 24),
            ("s", "training", 1, 24),
        ],
        1,
    ):
        begin(path, number, cost=cost, series=series, part=part)  # type: ignore[arg-type]
        assert total(path) == expected


def test_without_a_limit_a_step_is_entered_all_the_same(path: Path) -> None:
    begin(path, 1, cost=10**18, terms=UNLIMITED)
    assert total(path) == 10**18
    assert UNLIMITED.left(10**18) is None
    with pytest.raises(PolicyRefused):  # the owner has set one since
        begin(path, 2, cost=1)


# -- what is refused


def test_a_step_beyond_the_budget_is_refused_and_not_begun(path: Path) -> None:
    for number in range(1, 11):
        begin(path, number)
    before = Ledger(path).entries()
    with pytest.raises(PolicyRefused, match="privacy budget leaves: of epsilon 1 at delta 1e-05, a run of epsilon 0 "):
        begin(path, 11)
    assert Ledger(path).entries() == before
    assert total(path) == 10 * TENTH
    begin(path, 1, part="held_out")  # other rows, which have paid nothing
    with pytest.raises(PolicyRefused):
        begin(path, 1, series="t")


def test_the_last_unit_may_be_spent_and_no_more(path: Path) -> None:
    begin(path, 1, cost=LIMIT)
    assert epsilon_of(total(path) / UNIT, 1e-5) <= 1.0
    with pytest.raises(PolicyRefused):
        begin(path, 2, cost=1)


def test_what_is_left_is_told_as_the_epsilon_of_one_more_run(path: Path) -> None:
    begin(path, 1, cost=LIMIT // 2)
    left = TERMS.left(total(path))
    assert left is not None
    assert 0.6 < left < 0.8  # not the half: epsilon does not add up
    with pytest.raises(PolicyRefused, match=f"a run of epsilon {shown(left)} is left"):
        begin(path, 2, cost=LIMIT)
    assert float(shown(left)) <= left < float(shown(left)) + 0.001
    begin(path, 2, cost=budget(float(shown(left)), 1e-5))


def test_a_step_that_is_refused_for_another_reason_spends_nothing(path: Path) -> None:
    begin(path, 1)
    with pytest.raises(AlreadyAnswered):
        begin(path, 1)
    strict = Ledger(path, failed_steps_per_day=1).charging(Charge(TENTH, "training", "rows", TERMS))
    with pytest.raises(PolicyRefused, match="steps have failed today"):
        strict.enter_begin(Account("run of s", "s"), "train", 2, LABEL, b"")
    assert total(path) == TENTH
    assert json.loads(mark_of(path).read_bytes())["total"] == TENTH


def test_another_table_in_the_middle_of_a_series_is_refused(path: Path) -> None:
    begin(path, 1, frame="rows")
    for part in ("training", "held_out"):
        with pytest.raises(PolicyRefused, match="begin a new run"):
            begin(path, 2, frame="other rows", part=part)  # type: ignore[arg-type]
    assert total(path) == TENTH
    begin(path, 1, frame="other rows", series="t")
    begin(path, 2, frame="rows")
    assert total(path) == 3 * TENTH


# -- restarts, kills, and files that are gone

KILLED = """
import os, signal, sys
from pathlib import Path
import client.app.ledger as module
from client.app.budget import Charge, Terms
from fl_app.secagg.ledger_protocol import Account
if sys.argv[2] == "before the entry":
    write = module.write_mark
    def write_mark(*given):
        write(*given)
        os.kill(os.getpid(), signal.SIGKILL)
    module.write_mark = write_mark
charge = Charge(int(sys.argv[3]), "training", "rows", Terms(1.0, 1e-5))
module.Ledger(Path(sys.argv[1])).charging(charge).enter_begin(Account("run of s", "s"), "train", 2, b"L", b"")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["before the entry", "after the entry"])
def test_a_step_whose_process_was_killed_stays_spent(path: Path, moment: str) -> None:
    begin(path, 1)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), moment, str(TENTH)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert total(path) == 2 * TENTH
    begin(path, 3)
    assert total(path) == 3 * TENTH
    with pytest.raises(PolicyRefused):
        begin(path, 4, cost=8 * TENTH)


def cut(path: Path, keep: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM entries WHERE seq > ?", (keep,))


def test_a_ledger_whose_end_was_cut_off_gives_nothing_back(path: Path) -> None:
    for number in range(1, 10):
        begin(path, number)
    cut(path, 4)
    Ledger(path).entries()  # the chain does not tell
    assert total(path) == 9 * TENTH
    begin(path, 10)
    with pytest.raises(PolicyRefused):
        begin(path, 11)


def test_a_cut_that_the_total_does_not_show_gives_nothing_back_either(path: Path) -> None:
    """The evaluation was within what training had cost, so the total was the same before and after it."""
    begin(path, 1, cost=5)
    kept = len(Ledger(path).entries())
    begin(path, 1, cost=4, part="held_out")
    cut(path, kept)
    begin(path, 2, cost=4, part="held_out")
    assert total(path) >= 4 + 4


def test_a_ledger_that_was_deleted_gives_nothing_back(path: Path) -> None:
    for number in range(1, 11):
        begin(path, number)
    path.unlink()
    assert total(path) == 10 * TENTH
    with pytest.raises(PolicyRefused):
        begin(path, 1, series="t")


def test_a_mark_that_was_deleted_gives_nothing_back(path: Path) -> None:
    for number in range(1, 11):
        begin(path, number)
    mark_of(path).unlink()
    assert total(path) == 10 * TENTH
    with pytest.raises(PolicyRefused):
        begin(path, 1, series="t")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"0",
        b"{",
        b"[]",
        b"\xff",
        b'{"total": -1}',
        b'{"total": 1.5}',
        b'{"total": true}',
        b'{"total": null}',
        b'{"spent": 1}',
    ],
)
def test_a_mark_that_cannot_be_read_is_no_mark_of_zero(path: Path, content: bytes) -> None:
    mark_of(path).write_bytes(content)
    assert "its owner must look at it" in said(path, 1)
    assert mark_of(path).read_bytes() == content


@pytest.mark.parametrize("detail", ["", "7", "[]", '{"total": 1}', '{"total": -1, "epsilon": 1, "delta": 1e-5}'])
def test_an_entry_that_cannot_be_read_is_none_of_zero(path: Path, detail: str) -> None:
    begin(path, 1)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE entries SET detail = ? WHERE event = 'spent'", (detail,))
    assert "its owner must look at it" in said(path, 2)


def test_a_mark_that_cannot_be_written_lets_no_step_begin(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **options: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("client.app.budget.replace_file", full)
    with pytest.raises(LedgerRefused, match="cannot be written"):
        begin(path, 1)
    monkeypatch.undo()
    assert Ledger(path).entries() == []


def test_the_mark_is_its_owners_alone(path: Path) -> None:
    begin(path, 1)
    assert stat.S_IMODE(mark_of(path).stat().st_mode) == 0o600


STEPS = st.tuples(st.sampled_from("st"), st.sampled_from(["training", "held_out"]), st.integers(0, 9))
LOSSES = st.sampled_from(["keep", "roll back", "delete", "lose the mark"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happens=st.lists(STEPS | LOSSES, max_size=12))
def test_whatever_happens_to_the_ledger_no_row_has_told_more_than_was_spent(
    tmp_path: Path, happens: list[tuple[str, Part, int] | str]
) -> None:
    """A mark is lost here only while the ledger is whole, and the ledger only while the mark is."""
    path, old = tmp_path / "ledger.db", tmp_path / "old.db"
    for file in (path, old, mark_of(path)):
        file.unlink(missing_ok=True)
    told: Counter[tuple[str, str]] = Counter()
    whole, number, before = True, 0, 0
    for one in happens:
        if isinstance(one, tuple):
            series, part, cost = one
            number += 1
            begin(path, number, cost=cost, series=series, part=part, terms=UNLIMITED)
            told[series, part] += cost
            whole = True  # the entry holds the total again
        elif one == "keep" and path.exists():
            shutil.copy(path, old)
        elif one == "roll back" and old.exists() and mark_of(path).exists():
            shutil.copy(old, path)
            whole = False
        elif one == "delete" and mark_of(path).exists():
            path.unlink(missing_ok=True)
            whole = False
        elif one == "lose the mark" and whole:
            mark_of(path).unlink(missing_ok=True)
        after = total(path)
        assert after >= before
        assert after >= sum(max(told[series, "training"], told[series, "held_out"]) for series in "st")
        before = after


# -- two at once

SPENDING = """
import sys
from pathlib import Path
from client.app.budget import Charge, Terms
from client.app.ledger import Ledger
from fl_app.secagg.errors import PolicyRefused
from fl_app.secagg.ledger_protocol import Account
charge = Charge(int(sys.argv[3]), "training", "rows", Terms(1.0, 1e-5))
ledger, account, won = Ledger(Path(sys.argv[1])).charging(charge), Account(sys.argv[2], sys.argv[2]), 0
print("ready", flush=True)
sys.stdin.readline()
for number in range(1, 16):
    try:
        ledger.enter_begin(account, "train", number, b"L", b"")
        won += 1
    except PolicyRefused:
        pass
print(won)
"""


def test_two_processes_that_spend_at_once_spend_no_more_than_there_is(path: Path) -> None:
    won = [int(said) for said in at_once(SPENDING, *((str(path), name, str(TENTH)) for name in ("one", "other")))]
    assert sum(won) == 10
    assert total(path) == 10 * TENTH
    assert sum(entry.event == SPENT for entry in Ledger(path).entries()) == 10


def test_a_training_costs_no_more_than_it_says_however_often_its_steps_are_asked_again(path: Path) -> None:
    charge = Charge(TENTH, "training", "rows", Terms(None, 1e-5), most=3 * TENTH)
    account = Account("run", "series")
    for number in (1, 2, 3):
        Ledger(path).charging(charge).enter_begin(account, "train", number, LABEL, b"")
    with pytest.raises(PolicyRefused, match="has spent the privacy that it asked for"):
        Ledger(path).charging(charge).enter_begin(account, "train", 4, LABEL, b"")
    # Resumed as another run, it is the same training; another training has its own.
    with pytest.raises(PolicyRefused, match="begin a new run"):
        Ledger(path).charging(charge).enter_begin(Account("again", "series"), "train", 4, LABEL, b"")
    Ledger(path).charging(charge).enter_begin(Account("other", "other"), "train", 1, LABEL, b"")
    assert total(path) == 4 * TENTH


# -- old ledgers, and many entries


def test_a_ledger_of_before_there_was_a_budget_is_read_and_goes_on(path: Path) -> None:
    Ledger(path).enter_begin("run", "train", 1, LABEL, b"")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP INDEX spent")
    os.chmod(path, 0o600)
    assert Ledger(path).spent("run") == Spent()
    begin(path, 1)
    assert [entry.event for entry in Ledger(path).entries()] == ["begin", "begin", SPENT]


def test_what_is_spent_is_found_without_reading_the_ledger(path: Path) -> None:
    begin(path, 1)
    queries: list[str] = []
    with closing(sqlite3.connect(path)) as database:
        from client.app.budget import spent_by

        database.set_trace_callback(queries.append)
        spent_by(database, mark_of(path), "s")
        database.set_trace_callback(None)
        plans = [" ".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}")) for query in queries]
    assert len(plans) == 2
    assert all("USING" in plan and "INDEX" in plan and "TEMP B-TREE" not in plan for plan in plans), plans
