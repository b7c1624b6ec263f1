"""The ledger's table: what an entry says, and the hash chain over the entries.

The head after an entry is SHA-256 over the head before it and every column of the entry, so an entry cannot be changed,
left out or put in without changing all heads that follow. The chain has no key: who can write the file can compute a
new chain. What holds against that is a head known elsewhere, in a session under way or in the owner's notes.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from fl_app.secagg.canonical import digest
from fl_app.secagg.crypto import fingerprint
from fl_app.secagg.errors import LedgerRefused
from fl_app.secagg.ledger_protocol import Account

FORM = 2
"""Version of the table and the chain, kept in SQLite's ``user_version``."""

ANSWERS = frozenset({"look", "bystander", "session", "hello", "roster", "answer", "survivors", "unmask"})
"""The events with which something leaves that a modeller asked for; refusals and failures leave, too, as texts."""

IN_CLEAR = "in the clear"
"""What an entry says of an answer that left without masks, as a policy may allow."""

# The two unique indexes say "once" a second time, in the database itself: were a check in `Ledger` wrong, a second
# beginning or answer still could not be written.
_SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    run TEXT NOT NULL,
    series TEXT NOT NULL,
    app TEXT NOT NULL,
    event TEXT NOT NULL,
    kind TEXT NOT NULL,
    round INTEGER NOT NULL,
    cohort TEXT NOT NULL,
    size INTEGER NOT NULL,
    detail TEXT NOT NULL,
    why TEXT NOT NULL,
    head BLOB NOT NULL
);
CREATE UNIQUE INDEX once_a_series ON entries (series, round, event)
    WHERE kind = 'train' AND event IN ('begin', 'answer');
CREATE UNIQUE INDEX once_a_run ON entries (run, kind, round, event)
    WHERE kind <> 'train' AND event IN ('begin', 'answer');
CREATE INDEX runs ON entries (run, event);
CREATE INDEX heads ON entries (head);
"""
_INDICES = (
    "CREATE INDEX IF NOT EXISTS days ON entries (time, event)",
    "CREATE INDEX IF NOT EXISTS series ON entries (series, event)",
    "CREATE INDEX IF NOT EXISTS steps ON entries (run, kind, round)",
    "CREATE INDEX IF NOT EXISTS spent ON entries (seq) WHERE event = 'spent'",
)
"""Of use to the limits; a ledger that was begun without them gets them."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes
    ----------
    seq, time : int, str
        Its number, from 1 on, and when it was made, in UTC.
    run, series, app : str
        The Flower run; the training that it belongs to; the hash of the app's bundle that the owner's guard verified,
        "" where there is none.
    event : str
        "look" (schema discovery), "bystander", "session" and "hello" (its repetition), "roster", "begin" and "answer"
        of a step, with "spent" where it is private; "survivors", "unmask"; "followed", where its sum was verified;
        "refusal"; "failure", where the pod could not answer; or "pause" and "resume", by the owner.
    kind, round : str, int
        The step, or else the message's type.
    cohort : str
        The pods it is about and the fingerprints of their keys, as JSON.
    size : int
        Bytes of content that left with it; 0 for the beginning of a step.
    detail : str
        Hexadecimal: the session, the roster's digest, or the label of a step; of what is spent, JSON with the sums, see
        `client.app.budget.Spent`.
    why : str
        Of a refusal; of a pause and its end, by what it was done; of an answer without masks, `IN_CLEAR`.
    head : bytes
        SHA-256 over the line and the head before it.
    """

    seq: int
    time: str
    run: str
    series: str
    app: str
    event: str
    kind: str
    round: int
    cohort: str
    size: int
    detail: str
    why: str
    head: bytes

    def document(self) -> dict[str, Any]:
        """Return the entry as JSON holds it."""
        document = {"bytes" if name == "size" else name: value for name, value in vars(self).items()}
        return document | {"cohort": json.loads(self.cohort), "head": self.head.hex()}


def prepare(database: sqlite3.Connection) -> None:
    """Make the table in a new file; raise `LedgerRefused` for a ledger of another version."""
    form = database.execute("PRAGMA user_version").fetchone()[0]
    if form != FORM:
        if form or database.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise LedgerRefused("the pod's ledger is one of another version of fl-app; its owner must put it aside")
        for statement in _SCHEMA.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {FORM}")
    for index in _INDICES:
        database.execute(index)


def broken_at(entries: Sequence[Entry]) -> int | None:
    """Return the number of the first entry that does not follow from the one before, None if they all do."""
    head = b""
    for number, entry in enumerate(entries, 1):
        *line, written = astuple(entry)
        head = chain(head, *line)
        if (entry.seq, written) != (number, head):
            return entry.seq
    return None


def cohort_text(account: Account) -> str:
    """Return what an entry says of the cohort: names and fingerprints, as JSON."""
    return json.dumps({name: fingerprint(key) for name, key in account.cohort.items()}, separators=(",", ":"))


def chain(head: bytes, *line: str | int) -> bytes:
    """Return the head after ``line``, all of an entry but its own head, comes after ``head``."""
    return digest(f"fl-app/ledger/{FORM}", head, list(line))
