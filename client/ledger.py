"""The owner's ledger: every answer a pod gives, on disk before it is given, in one append-only, hash-chained table.

It is what keeps "each (run, kind, round) is answered once" true across crashes: Flower's own state is pushed after
a reply and may be lost, the ledger is written before. The head of the chain that a session remembers must still be in
it, or the pod refuses: a ledger deleted or rolled back while a run is under way is noticed.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fl_app.secagg.canonical import digest
from fl_app.secagg.errors import AlreadyAnswered, LedgerRefused

LOCK_SECONDS = 20.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    run TEXT NOT NULL,
    event TEXT NOT NULL,
    kind TEXT NOT NULL,
    round INTEGER NOT NULL,
    detail TEXT NOT NULL,
    head BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS once ON entries (run, kind, round) WHERE event = 'answer';
"""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger; ``head`` is SHA-256 over the line and the head before it."""

    seq: int
    time: str
    run: str
    event: str
    kind: str
    round: int
    detail: str
    head: bytes


class Ledger:
    """The ledger of one pod.

    Parameters
    ----------
    path : Path
        SQLite file, made with owner-only permissions when it is first needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def enter_session(self, run: str, session: bytes, head: bytes, at_most: int = 1) -> bytes:
        """Enter that a session begins and return the new head.

        Raises
        ------
        LedgerRefused
            If ``head`` (what this pod remembers of the run, b"" for nothing) is gone from the ledger, or ``at_most``
            sessions of the run have begun.
        """
        with self._open() as database:
            self._find(database, run, head)
            query = "SELECT count(*) FROM entries WHERE run = ? AND event = 'session'"
            if database.execute(query, (run,)).fetchone()[0] >= at_most:
                raise LedgerRefused(f"this run has begun {at_most} sessions, as many as the owner allows")
            return self._append(database, run, "session", "", 0, session.hex())

    def enter_answer(self, run: str, kind: str, round: int, label: bytes, head: bytes) -> bytes:
        """Enter an answer about to be given and return the new head.

        Raises
        ------
        AlreadyAnswered
            If this round of this kind, or a later one, was answered in any session of the run.
        LedgerRefused
            If ``head`` is gone from the ledger.
        """
        with self._open() as database:
            self._find(database, run, head)
            query = "SELECT max(round) FROM entries WHERE run = ? AND kind = ? AND event = 'answer'"
            last = database.execute(query, (run, kind)).fetchone()[0]
            if last is not None and round <= last:
                raise AlreadyAnswered(f"round {round} of '{kind}' comes after round {last} was answered")
            return self._append(database, run, "answer", kind, round, label.hex())

    def enter_survivors(self, run: str, label: bytes, survivors: bytes, head: bytes) -> bytes:
        """Enter the one list of survivors this pod speaks of under ``label`` and return the new head.

        Raises
        ------
        AlreadyAnswered
            If it spoke of another list before; the same one may be entered again.
        LedgerRefused
            If ``head`` is gone from the ledger, or it holds no answer under ``label``.
        """
        with self._open() as database:
            self._find(database, run, head)
            query = "SELECT 1 FROM entries WHERE run = ? AND event = 'answer' AND detail = ?"
            if not database.execute(query, (run, label.hex())).fetchone():
                raise LedgerRefused("the pod's ledger holds no answer under this label")
            query = "SELECT detail FROM entries WHERE run = ? AND event = 'survivors' AND kind = ?"
            known = database.execute(query, (run, label.hex())).fetchone()
            if known is None:
                return self._append(database, run, "survivors", label.hex(), 0, survivors.hex())
            if known[0] != survivors.hex():
                raise AlreadyAnswered("this pod spoke of other survivors under the same label")
            return head

    def enter_look(self, run: str) -> None:
        """Enter that somebody looked at what this pod publishes, outside any session."""
        with self._open() as database:
            self._append(database, run, "look", "", 0, "")

    def enter_refusal(self, run: str, kind: str, round: int, why: str) -> None:
        """Enter that a message was refused, and why."""
        with self._open() as database:
            self._append(database, run, "refusal", kind, round, why)

    def entries(self) -> list[Entry]:
        """Return all entries in order; raises `LedgerRefused` if the chain is broken."""
        with self._open() as database:
            found = [Entry(*row) for row in database.execute("SELECT * FROM entries ORDER BY seq")]
        head = b""
        for entry in found:
            head = _chain(head, entry.seq, entry.time, entry.run, entry.event, entry.kind, entry.round, entry.detail)
            if head != entry.head:
                raise LedgerRefused(f"the ledger was altered: entry {entry.seq} does not follow from the one before")
        return found

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection inside one exclusive, synchronous transaction."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            database = sqlite3.connect(self._path, timeout=LOCK_SECONDS, isolation_level=None)
            try:
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("BEGIN EXCLUSIVE")
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                yield database
                database.execute("COMMIT")
            finally:
                database.close()  # rolls back what was not committed
        except (sqlite3.Error, OSError, OverflowError) as error:
            raise LedgerRefused("the pod's ledger cannot be written; its owner must look at it") from error

    @staticmethod
    def _find(database: sqlite3.Connection, run: str, head: bytes) -> None:
        query = "SELECT 1 FROM entries WHERE run = ? AND head = ?"
        if head and not database.execute(query, (run, head)).fetchone():
            raise LedgerRefused("the pod's ledger does not hold what this run has entered: it was deleted or replaced")

    @staticmethod
    def _append(database: sqlite3.Connection, run: str, event: str, kind: str, round: int, detail: str) -> bytes:
        last = database.execute("SELECT seq, head FROM entries ORDER BY seq DESC LIMIT 1").fetchone() or (0, b"")
        line = (last[0] + 1, datetime.now(UTC).isoformat(), run, event, kind, round, detail)
        head = _chain(last[1], *line)
        database.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*line, head))
        return head


def _chain(head: bytes, *line: str | int) -> bytes:
    return digest("fl-app/ledger/1", head, list(line))
