"""A pod's ledger as its hub reads it: in short reads that keep no lock, each entry once, and only once it is written.

A read of some hundred entries takes milliseconds; the pod, which writes in exclusive transactions, waits that long at
most. Sums and the chain go on from where they were. The whole chain is gone over again where the file has changed and
has no new entry, where its last known entry is another one, and from time to time.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

from client.app.budget import Spent, mark_of, spent_by
from client.app.ledger_entries import FORM, Entry, chain
from client.hub.ledger_sums import Sums
from fl_app.errors import FlAppError

BATCH = 500
_BUSY_SECONDS = 0.5
_AGAIN_SECONDS, _AGAIN_TIMES = 60.0, 100.0
"""The whole chain is gone over again after a minute, and after a hundred times as long as it took."""
_TYPES = (int, str, str, str, str, str, str, int, str, int, str, str, bytes)
_FIRST = -(2**63)
_Stamp = tuple[int, int, int, int]


class LedgerUnread(FlAppError):
    """The ledger cannot be read now."""


class LedgerView:
    """What a hub knows of the ledger at ``path``; its methods may be called from several threads.

    Attributes
    ----------
    sums : Sums
        What the entries read so far come to.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.sums = path, Sums()
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._again = 0.0
        self._spent: tuple[tuple[_Stamp | None, _Stamp | None], Spent] | None = None

    def refresh(self) -> Sums:
        """Take in what is new, and return what all entries come to.

        Raises
        ------
        LedgerUnread
            If the file cannot be read now; what was known of it stays.
        """
        with self._lock:
            stamp = _stamp_of(self.path)
            if stamp != self._stamp:
                self.sums = self._read_on(stamp) if stamp else Sums()
                self._stamp = stamp
            return self.sums

    def page(self, number: int, size: int, run: str | None = None, event: str = "") -> tuple[list[Entry], int]:
        """Return the entries of page ``number`` (from 1 on), the newest first, and how many entries match in all."""
        where, given = _matching(run, event)
        if not self.path.exists():
            return [], 0
        with closing(self._open()) as database:
            try:
                count = database.execute(f"SELECT count(*) FROM entries {where}", given).fetchone()[0]  # noqa: S608
                query = f"SELECT * FROM entries {where} ORDER BY seq DESC LIMIT ? OFFSET ?"  # noqa: S608 - constants
                rows = database.execute(query, (*given, size, max(0, number - 1) * size)).fetchall()
            except sqlite3.Error as error:
                raise _unread() from error
        return [entry for row in rows if (entry := _entry(row)) is not None], count

    def spent(self) -> Spent:
        """Return what private runs have spent in all.

        Raises
        ------
        LedgerUnread, LedgerRefused
            If it cannot be read, or not be understood.
        """
        mark = mark_of(self.path)
        stamps = (_stamp_of(self.path), _stamp_of(mark))
        if stamps == (None, None):
            return Spent()
        known = self._spent
        if known is None or known[0] != stamps:
            if stamps[0] is None:
                with closing(sqlite3.connect(":memory:")) as database:
                    database.execute("CREATE TABLE entries (seq, series, event, detail)")
                    known = stamps, spent_by(database, mark, "")
            else:
                with closing(self._open()) as database:
                    try:
                        known = stamps, spent_by(database, mark, "")
                    except sqlite3.Error as error:
                        raise _unread() from error
            self._spent = known
        return known[1]

    def _read_on(self, stamp: _Stamp) -> Sums:
        known = self.sums
        anew = self._stamp is None or stamp[0] != self._stamp[0] or time.monotonic() >= self._again
        if not anew and self._holds(known):
            before = known.seen
            self._take_after(known.last_seq, known)
            if known.seen != before:
                return known
            # It has changed, and nothing came: whatever was changed stood there before.
        return self._whole()

    def _whole(self) -> Sums:
        began, sums = time.monotonic(), Sums()
        self._take_after(_FIRST, sums)
        now = time.monotonic()
        self._again = now + max(_AGAIN_SECONDS, _AGAIN_TIMES * (now - began))
        return sums

    def _take_after(self, number: int, sums: Sums) -> None:
        for batch in self._batches(number):
            for row in batch:
                _take(sums, row)

    def _holds(self, known: Sums) -> bool:
        """Say whether the last entry that was read is still there."""
        if not known.seen:
            return True
        with closing(self._open()) as database:
            try:
                query = "SELECT head FROM entries WHERE seq = ?"
                return bool(database.execute(query, (known.last_seq,)).fetchone() == (known.written,))
            except sqlite3.Error as error:
                raise _unread() from error

    def _batches(self, after: int) -> Iterator[list[Sequence[Any]]]:
        """Yield the rows after an entry's number; no lock is held while they are looked at."""
        with closing(self._open()) as database:
            try:
                form = database.execute("PRAGMA user_version").fetchone()[0]
                if form != FORM:
                    raise LedgerUnread("this ledger is one of another version of fl-app: put it aside")
                query = "SELECT * FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
                while batch := database.execute(query, (after, BATCH)).fetchall():
                    yield batch
                    after = batch[-1][0]
            except sqlite3.Error as error:
                raise _unread() from error

    def _open(self) -> sqlite3.Connection:
        try:
            database = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", timeout=_BUSY_SECONDS, uri=True)
        except sqlite3.Error as error:
            raise _unread() from error
        database.text_factory = lambda data: data.decode("utf-8", "replace")
        return database


def _take(sums: Sums, row: Sequence[Any]) -> None:
    """Add an entry, and go on with the chain; one that is no entry breaks it and is left out of the sums."""
    entry = _entry(row)
    if entry is None:
        sums.skip(row[0])
        return
    *line, written = astuple(entry)
    head = chain(sums.head, *line)
    sums.add(entry, follows=(entry.seq, written) == (sums.seen + 1, head), head=head)


def _entry(row: Sequence[Any]) -> Entry | None:
    sound = all(type(value) is kind for value, kind in zip(row, _TYPES, strict=True))
    return Entry(*row) if sound else None


def _matching(run: str | None, event: str) -> tuple[str, tuple[str, ...]]:
    asked = {"run": run, "event": event or None}
    given = {column: value for column, value in asked.items() if value is not None}
    where = " AND ".join(f"{column} = ?" for column in given)
    return (f"WHERE {where}" if where else ""), tuple(given.values())


def _stamp_of(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _unread() -> LedgerUnread:
    return LedgerUnread("the ledger cannot be read now: it is being written, was cut off while it was, or is no ledger")
