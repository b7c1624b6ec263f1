"""The owner's ledger: one append-only, hash-chained table with an entry for every message answered or refused.

It keeps "each step is answered once" true across crashes. Flower saves a node's state after a reply has left, so the
state may be lost with the process; the ledger is on disk before the reply leaves.

- An entry comes before what it is about: the session before the hello, the beginning of a step before the handlers run,
  its answer before the masked vector leaves, a list of survivors before the signature or the shares leave.
- A step is spent when it begins, and its answer is a second entry. Two answers to one round would go into two sums,
  whose difference may be one pod's own vector; so a step that failed in between is not begun a second time.
- That a step failed tells something of the rows, and who asks chooses on what it fails. So a failure ends the pod's
  part in the series, and the owner limits failures a day. A pod that was killed in between may come back.
- Each entry hashes the one before. A session remembers the head of its last entry and refuses if that is gone: a ledger
  deleted or rolled back while a run is under way is noticed, and an owner who noted a head finds later changes.
- What a private step tells of the rows is entered with its beginning, as spent; see `client.app.budget`.
- Training rounds are counted over all runs of a series, since a resumed run goes on with the same model; statistics,
  evaluation and sessions over one run.
"""

import copy
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from client.app.budget import SPENT, Charge, Spent, detail_of, mark_of, spent_by, write_mark
from client.app.ledger_entries import Entry, broken_at, chain, cohort_text, prepare
from fl_app.secagg.errors import AlreadyAnswered, LedgerRefused, PartIsOver, PolicyRefused
from fl_app.secagg.ledger_protocol import Account
from fl_app.secagg.messages import TRAIN

LOCK_SECONDS = 20.0
_LONGEST_TEXT = 1000

# A step that has neither an answer nor a failure was cut off by a kill, as far as can be told once another begins.
_FAILED_IN_SERIES = """
SELECT 1 FROM entries AS begun WHERE event = 'begin' AND series = ? AND EXISTS (
    SELECT 1 FROM entries WHERE run = begun.run AND kind = begun.kind AND round = begun.round
    AND event IN ('failure', 'refusal'))
"""
_FAILED_TODAY = """
SELECT count(*) FROM entries AS begun WHERE event = 'begin' AND time >= ? AND (
    EXISTS (
        SELECT 1 FROM entries WHERE run = begun.run AND kind = begun.kind AND round = begun.round
        AND event IN ('failure', 'refusal'))
    OR NOT EXISTS (
        SELECT 1 FROM entries WHERE run = begun.run AND kind = begun.kind AND round = begun.round
        AND event = 'answer')
    AND EXISTS (
        SELECT 1 FROM entries WHERE seq > begun.seq
        AND (event = 'session' OR run = begun.run AND event = 'begin')))
"""


class Ledger:
    """The ledger of one pod.

    Every method opens the file, checks and appends in one exclusive transaction, so that two processes that answer for
    one pod cannot both find a step unspent. Where a method takes an account, a run's identifier stands for a run that
    is its own series.

    Parameters
    ----------
    path : Path
        SQLite file, made with owner-only permissions when it is first needed.
    app : str
        Hash of the app's bundle at work, for the entries.
    runs_per_day, rounds_per_day, failed_steps_per_day : int or None
        Most runs that begin, most training rounds, and most steps that begin and are not answered, in one day (UTC).
    """

    def __init__(
        self,
        path: Path,
        app: str = "",
        *,
        runs_per_day: int | None = None,
        rounds_per_day: int | None = None,
        failed_steps_per_day: int | None = None,
    ) -> None:
        self._path, self._app = path, app
        self._runs_per_day, self._rounds_per_day = runs_per_day, rounds_per_day
        self._failed_steps_per_day = failed_steps_per_day
        self._charge: Charge | None = None

    def charging(self, charge: Charge) -> "Ledger":
        """Return the same ledger, for a step that costs ``charge`` when it begins."""
        charged = copy.copy(self)
        charged._charge = charge
        return charged

    def spent(self, series: str = "") -> Spent:
        """Return what private runs have spent in all, and those of ``series``."""
        with self._open() as database:
            return spent_by(database, mark_of(self._path), series)

    def enter_session(
        self, account: Account | str, session: bytes, head: bytes, at_most: int = 1, size: int = 0
    ) -> bytes:
        """Enter that a session begins and return the new head.

        Raises
        ------
        LedgerRefused
            If ``head`` (what this pod remembers of the run, b"" for nothing) is gone from the ledger, if the run
            belonged to another series, or if ``at_most`` sessions of it have begun.
        PartIsOver
            If a step of the series has failed.
        PolicyRefused
            If as many runs or training rounds have begun today as the owner allows a day, or more steps have failed.
        """
        account = _account(account)
        with self._open() as database:
            _check_head(database, account.run, head)
            query = "SELECT count(*), min(series), max(series) FROM entries WHERE run = ? AND event = 'session'"
            # min and max are equal, and the account's, if all the run's sessions are of its series
            begun, *series = database.execute(query, (account.run,)).fetchone()
            if begun and series != [account.series] * 2:
                raise LedgerRefused("this run has begun as part of another series")
            if database.execute(_FAILED_IN_SERIES, (account.series,)).fetchone():
                raise PartIsOver("a step of this training has failed at the pod, whose part in it is over")
            if begun >= at_most:
                raise LedgerRefused(f"this run has begun {at_most} sessions, as many as the owner allows")
            if not begun:
                self._check_runs_today(database)
            self._check_rounds_today(database)
            head = self._append(database, account, "session", size=size, detail=session.hex())
            self._check_failures_today(database)  # last: whatever was under way is so no longer
            return head

    def last_round(self, series: str) -> int:
        """Return the last training round of a series that has begun, 0 if none has."""
        with self._open() as database:
            return _last_round(database, series) or 0

    def followed(self, series: str) -> tuple[int, bytes]:
        """Return how far a series has been followed and the digest of the replica; (0, 32 zero bytes) for nothing."""
        query = "SELECT detail FROM entries WHERE series = ? AND event = 'followed' ORDER BY seq DESC LIMIT 1"
        with self._open() as database:
            for (detail,) in database.execute(query, (series,)):
                place, _, known = detail.partition(":")
                return int(place), bytes.fromhex(known)
        return 0, bytes(32)

    def enter_begin(self, account: Account | str, kind: str, round: int, label: bytes, head: bytes) -> bytes:
        """Enter that a step begins, whatever becomes of it, and return the new head.

        Raises
        ------
        AlreadyAnswered
            If this round of this kind, or a later one, has begun in any session of the run or, if it is training, of
            the series.
        LedgerRefused
            If ``head`` is gone from the ledger.
        PolicyRefused
            If as many training rounds have begun today as the owner allows a day, or more steps have failed; or if
            the step costs more than the owner's budget leaves.
        """
        account = _account(account)
        with self._open() as database:
            _check_head(database, account.run, head)
            query = "SELECT max(round) FROM entries WHERE run = ? AND kind = ? AND event = 'begin'"
            last = database.execute(query, (account.run, kind)).fetchone()[0]
            if kind == TRAIN:  # whichever run of the series it was
                last = _last_round(database, account.series)
            # Rounds go up: an earlier one that was skipped is not begun later, under a model that has moved on.
            if last is not None and round <= last:
                raise AlreadyAnswered(f"round {round} of '{kind}' comes after round {last} was begun")
            if kind == TRAIN:
                self._check_rounds_today(database)
            head = self._append(database, account, "begin", kind, round, detail=label.hex())
            self._check_failures_today(database)
            return self._spend(database, account, kind, round, self._charge) if self._charge else head

    def enter_answer(
        self, account: Account | str, kind: str, round: int, label: bytes, head: bytes, size: int = 0, why: str = ""
    ) -> bytes:
        """Enter an answer about to be given and return the new head; ``why`` is `IN_CLEAR` for one without masks.

        Raises
        ------
        AlreadyAnswered
            If the step was answered.
        LedgerRefused
            If ``head`` is gone from the ledger, or it does not hold that this step has begun under ``label``.
        """
        account = _account(account)
        step = (account.run, kind, round, label.hex())
        with self._open() as database:
            _check_head(database, account.run, head)
            query = "SELECT 1 FROM entries WHERE run = ? AND kind = ? AND round = ? AND detail = ? AND event = "
            if not database.execute(f"{query}'begin'", step).fetchone():
                raise LedgerRefused("the pod's ledger does not hold that this step has begun")
            if database.execute(f"{query}'answer'", step).fetchone():
                raise AlreadyAnswered(f"round {round} of '{kind}' was answered")
            return self._append(database, account, "answer", kind, round, size=size, detail=label.hex(), why=why)

    def enter_survivors(self, account: Account | str, event: str, label: bytes, head: bytes, size: int = 0) -> bytes:
        """Enter that this pod signs or unmasks the account's cohort under ``label``, and return the new head.

        Raises
        ------
        AlreadyAnswered
            If it spoke of another list before; the same one may be entered again.
        LedgerRefused
            If ``head`` is gone from the ledger, or it holds no answer under ``label``.
        """
        account = _account(account)
        with self._open() as database:
            _check_head(database, account.run, head)
            query = "SELECT kind, round FROM entries WHERE run = ? AND event = 'answer' AND detail = ?"
            spoken = "SELECT cohort FROM entries WHERE run = ? AND event IN ('survivors', 'unmask') AND detail = ?"
            under = (account.run, label.hex())
            for kind, round in database.execute(query, under):  # at most one
                # Two lists under one label would open two sums, whose difference may be one pod's own.
                if any(cohort != (cohort_text(account),) for cohort in database.execute(spoken, under)):
                    raise AlreadyAnswered("this pod spoke of other survivors under the same label")
                return self._append(database, account, event, kind, round, size=size, detail=label.hex())
            raise LedgerRefused("the pod's ledger holds no answer under this label")

    def enter(
        self,
        account: Account | str,
        event: str,
        kind: str,
        *,
        round: int = 0,
        size: int = 0,
        detail: str = "",
        why: str = "",
        head: bytes = b"",
    ) -> bytes:
        """Enter a message that may come any number of times, and return the new head.

        Raises
        ------
        LedgerRefused
            If ``head`` is gone from the ledger.
        """
        account = _account(account)
        with self._open() as database:
            _check_head(database, account.run, head)
            return self._append(database, account, event, kind, round, size=size, detail=detail, why=why)

    def enter_refusal(self, account: Account | str, kind: str, round: int, why: str, size: int = 0) -> None:
        """Enter that a message was refused, and why."""
        self.enter(account, "refusal", kind, round=round, why=why[:_LONGEST_TEXT], size=size)

    def entries(self) -> list[Entry]:
        """Return all entries in order; raises `LedgerRefused`, naming the first bad entry, if the chain is broken."""
        entries, broken = self.read()
        if broken is not None:
            raise LedgerRefused(f"the ledger was altered: entry {broken} does not follow from the one before")
        return entries

    def read(self) -> tuple[list[Entry], int | None]:
        """Return all entries in order, and the number of the first at which the chain is broken, None if it is not."""
        with self._open() as database:
            entries = [Entry(*row) for row in database.execute("SELECT * FROM entries ORDER BY seq")]
        return entries, broken_at(entries)

    def _spend(self, database: sqlite3.Connection, account: Account, kind: str, round: int, charge: Charge) -> bytes:
        """Enter what a step costs, after all that may refuse it: the mark is written, whatever becomes of the rest."""
        mark = mark_of(self._path)
        spent = charge.to(spent_by(database, mark, account.series))
        head = self._append(database, account, SPENT, kind, round, detail=detail_of(spent, charge.terms))
        write_mark(mark, spent)
        return head

    def _check_runs_today(self, database: sqlite3.Connection) -> None:
        query = "SELECT count(DISTINCT run) FROM entries WHERE event = 'session' AND time >= ?"
        if self._runs_per_day is not None and _today(database, query) >= self._runs_per_day:
            raise PolicyRefused(
                f"{self._runs_per_day} runs have begun today at this pod, as many as its owner allows a day "
                "(maximum_runs_per_day)"
            )

    def _check_rounds_today(self, database: sqlite3.Connection) -> None:
        query = "SELECT count(*) FROM entries WHERE event = 'begin' AND kind = 'train' AND time >= ?"
        if self._rounds_per_day is not None and _today(database, query) >= self._rounds_per_day:
            raise PolicyRefused(
                f"{self._rounds_per_day} training rounds have begun today at this pod, as many as its owner allows a "
                "day (maximum_rounds_per_day)"
            )

    def _check_failures_today(self, database: sqlite3.Connection) -> None:
        most = self._failed_steps_per_day
        if most is not None and _today(database, _FAILED_TODAY) >= most:
            raise PolicyRefused(
                f"{most} steps have failed today at this pod, as many as its owner allows a day "
                "(maximum_failed_steps_per_day)"
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one exclusive, synchronous transaction."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            database = sqlite3.connect(self._path, timeout=LOCK_SECONDS, isolation_level=None)
            try:
                # EXTRA: the entry is on the disk, and so is the directory's record of it, when COMMIT returns.
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("BEGIN EXCLUSIVE")
                prepare(database)
                yield database
                database.execute("COMMIT")
            finally:
                database.close()  # rolls back what was not committed
        except (sqlite3.Error, OSError, OverflowError) as error:
            raise LedgerRefused("the pod's ledger cannot be written; its owner must look at it") from error

    def _append(
        self,
        database: sqlite3.Connection,
        account: Account,
        event: str,
        kind: str = "",
        round: int = 0,
        *,
        size: int = 0,
        detail: str = "",
        why: str = "",
    ) -> bytes:
        seq, head = database.execute("SELECT seq, head FROM entries ORDER BY seq DESC LIMIT 1").fetchone() or (0, b"")
        time = datetime.now(UTC).isoformat(timespec="microseconds")
        about = (account.run, account.series, self._app)
        line = (seq + 1, time, *about, event, kind, round, cohort_text(account), size, detail, why)
        head = chain(head, *line)
        database.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*line, head))
        return head


def _check_head(database: sqlite3.Connection, run: str, head: bytes) -> None:
    """Raise `LedgerRefused` unless ``head`` is an entry of the run; b"" is remembered by a run that has none yet."""
    query = "SELECT 1 FROM entries WHERE run = ? AND head = ?"
    if head and not database.execute(query, (run, head)).fetchone():
        raise LedgerRefused("the pod's ledger does not hold what this run has entered: it was deleted or replaced")


def _last_round(database: sqlite3.Connection, series: str) -> int | None:
    query = "SELECT max(round) FROM entries WHERE series = ? AND kind = 'train' AND event = 'begin'"
    last: int | None = database.execute(query, (series,)).fetchone()[0]
    return last


def _today(database: sqlite3.Connection, query: str) -> int:
    counted: int = database.execute(query, (datetime.now(UTC).date().isoformat(),)).fetchone()[0]
    return counted


def _account(account: Account | str) -> Account:
    return Account(account, account) if isinstance(account, str) else account
