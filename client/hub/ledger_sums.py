"""What a ledger's entries come to, by run and by pod, and whether they follow from each other."""

import json
from dataclasses import dataclass, field

from client.app.ledger_entries import ANSWERS, IN_CLEAR, Entry
from client.site.ledger_totals import Totals

_LONGEST = 400
MOST_APPS = 5


@dataclass
class RunSums:
    """One run, or, with the name "", what belongs to none.

    Attributes
    ----------
    run, series : str
        Its identifier, and the training that it belongs to.
    first, last : str
        When its first and last entries were made, UTC.
    apps : list of str
        The versions of the app that have asked, by hash.
    pods : dict of str to str
        The cohort, with the fingerprints of keys, as the pod entered it last.
    clear : bool
        Whether an answer left without masks.
    spent : str
        What the ledger says of the budget after the run's last private step; "" where no step was private.
    why : str
        Of its last refusal.
    """

    run: str
    series: str
    first: str
    last: str = ""
    apps: list[str] = field(default_factory=list)
    pods: dict[str, str] = field(default_factory=dict)
    clear: bool = False
    spent: str = ""
    why: str = ""
    totals: Totals = field(default_factory=Totals)

    def add(self, entry: Entry, cohort: dict[str, str]) -> None:
        """Add one entry."""
        self.last, self.series = entry.time, self.series or entry.series
        if entry.app and entry.app not in self.apps:
            self.apps = [*self.apps, entry.app][-MOST_APPS:]
        self.pods = cohort or self.pods
        self.clear = self.clear or (entry.event == "answer" and entry.why == IN_CLEAR)
        if entry.event == "spent":
            self.spent = entry.detail
        if entry.event == "refusal":
            self.why = entry.why[:_LONGEST]
        self.totals.add(entry)


@dataclass
class Sums:
    """All entries.

    Attributes
    ----------
    seen, last_seq, head, written
        Entries read, the number of the last one, the head computed up to it, and the one that it carries.
    broken : int or None
        The first entry that does not follow from the one before.
    runs : dict
        By run; what belongs to none is in `other`.
    met : dict
        By pod and fingerprint of its key: when the two were last in one session, and how many sessions.
    private : set
        Steps that were paid for, (run, kind, round).
    last_answer : str
        When something that was asked for left last; "" if nothing has.
    last_refusal : Entry or None
        The last one.
    """

    seen: int = 0
    last_seq: int = 0
    head: bytes = b""
    written: bytes = b""
    broken: int | None = None
    totals: Totals = field(default_factory=Totals)
    runs: dict[str, RunSums] = field(default_factory=dict)
    other: RunSums = field(default_factory=lambda: RunSums("", "", ""))
    met: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    private: set[tuple[str, str, int]] = field(default_factory=set)
    last_answer: str = ""
    last_refusal: Entry | None = None

    def add(self, entry: Entry, *, follows: bool, head: bytes) -> None:
        """Add the next entry."""
        self._next(entry.seq, follows=follows)
        self.head, self.written = head, entry.head
        cohort = cohort_of(entry)
        self.totals.add(entry)
        if entry.event in ANSWERS:
            self.last_answer = entry.time
        if entry.event == "refusal":
            self.last_refusal = entry
        if entry.event == "spent":
            self.private.add((entry.run, entry.kind, entry.round))
        if entry.event == "session":
            for pair in cohort.items():
                self.met[pair] = entry.time, self.met.get(pair, ("", 0))[1] + 1
        if entry.run and entry.run not in self.runs:
            self.runs[entry.run] = RunSums(entry.run, entry.series, entry.time)
        (self.runs[entry.run] if entry.run else self.other).add(entry, cohort)

    def skip(self, seq: object) -> None:
        """Pass over a row that is no entry."""
        self._next(seq if isinstance(seq, int) else 0, follows=False)
        self.written = b""

    def _next(self, seq: int, *, follows: bool) -> None:
        self.seen, self.last_seq = self.seen + 1, seq
        if not follows and self.broken is None:
            self.broken = seq


def cohort_of(entry: Entry) -> dict[str, str]:
    """Return the pods that an entry is about, with the fingerprints of their keys; {} for what is no such text."""
    try:
        cohort = json.loads(entry.cohort)
    except ValueError:
        return {}
    sound = isinstance(cohort, dict) and all(isinstance(value, str) for value in cohort.values())
    return cohort if sound else {}
