"""What private runs have told of the rows, and what an owner's budget leaves: numbers that only grow.

Every private step is entered as spent in the transaction that enters its beginning. An entry holds the sums of its
series and the total, so that one look at the last entries is enough. A row is for training or held out for good: of a
series it pays the dearer of the two paths, and of several series for each.

The ledger may lose its end, or be deleted. So the total stands in a second file too, the mark, which is written before
the entry is: what was spent is the larger of both. Where they differ, the ledger does not hold all that its series
have spent. Then each series pays anew, both paths from zero, on top of the total.
"""

import json
import sqlite3
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from fl_app.privacy.accounting import epsilon_of
from fl_app.privacy.cost import MOST, UNIT, budget
from fl_app.secagg.errors import LedgerRefused, PolicyRefused
from fl_app.system.files import replace_file

SPENT = "spent"
"""The ledger's event."""
MARK_SUFFIX = ".spent"
"""Of the mark, whose file lies beside the ledger's."""
Part = Literal["training", "held_out"]
"""The rows that a step is about."""


@dataclass(frozen=True)
class Terms:
    """An owner's budget: what all private runs together may tell of a row.

    Attributes
    ----------
    epsilon : float or None
        None: as much as they like.
    delta : float
        At which epsilon is meant, and what was spent is told.
    """

    epsilon: float | None
    delta: float

    def allows(self, total: int) -> bool:
        """Say whether ``total`` units stay within the budget."""
        return self.epsilon is None or total <= budget(self.epsilon, self.delta)

    def left(self, total: int) -> float | None:
        """Return the epsilon that one more run may cost once ``total`` units are spent; None without a limit."""
        if self.epsilon is None or total == 0:
            return self.epsilon
        return self.told(max(0, budget(self.epsilon, self.delta) - total))

    def told(self, total: int) -> float:
        """Return as epsilon what ``total`` units tell of a row."""
        return epsilon_of(total / UNIT, self.delta)


@dataclass(frozen=True)
class Spent:
    """What was spent by a moment: in all, and by one series. Amounts are in units of 1e-12 rho.

    Attributes
    ----------
    number : int
        How many steps were paid for, at least.
    total : int
        By all series.
    since : int
        Entries before this number do not tell all that their series have spent.
    training, held_out : int
        By the series, along either path.
    frame : str or None
        What had to stay the same for the series' rows to keep their part; None before its first step.
    """

    number: int = 0
    total: int = 0
    since: int = 0
    training: int = 0
    held_out: int = 0
    frame: str | None = None

    def after(self, cost: int, part: Part, frame: str) -> "Spent":
        """Return what is spent once a step of the series has cost ``cost``."""
        grown = {part: getattr(self, part) + cost}
        further = replace(self, number=self.number + 1, frame=frame, **grown)
        return replace(further, total=self.total + further.of_series - self.of_series)

    @property
    def of_series(self) -> int:
        """What the series has cost: the dearer path."""
        return max(self.training, self.held_out)

    def foreseen(self, run: int) -> int:
        """Return the total once the series' run is over, whose dearer path costs ``run`` units in all."""
        return self.total + max(0, run - self.of_series)


@dataclass(frozen=True)
class Charge:
    """What a private step costs, and on what terms it may begin."""

    cost: int
    part: Part
    frame: str
    terms: Terms
    most: int = MOST
    """What all steps of the series may cost: what its run says of itself holds, however often a step is repeated."""

    def to(self, spent: Spent) -> Spent:
        """Return what is spent once the step has begun.

        Raises
        ------
        PolicyRefused
            If that is more than the owner's budget, or the series began on other rows.
        """
        check_frame(spent, self.frame)
        after = spent.after(self.cost, self.part, self.frame)
        if after.of_series > self.most:
            raise PolicyRefused(
                "this training has spent the privacy that it asked for, on steps that were lost and asked again: "
                "begin a new run"
            )
        check_total(self.terms, spent, after.total, "this step")
        return after


def check_frame(spent: Spent, frame: str, where: str = "this pod") -> None:
    """Raise `PolicyRefused` if the series has begun on other rows, or with another split of them."""
    if spent.frame not in (None, frame):
        raise PolicyRefused(
            f"the table of {where}, or how it is split, is another one than when this training began; begin a new run"
        )


def check_total(terms: Terms, spent: Spent, total: int, what: str) -> None:
    """Raise `PolicyRefused`, which says what is left, if ``total`` exceeds the owner's budget."""
    if not terms.allows(total):
        raise PolicyRefused(
            f"{what} would spend more than the owner's privacy budget leaves: of epsilon {terms.epsilon:g} at delta "
            f"{terms.delta:g}, a run of epsilon {shown(terms.left(spent.total) or 0.0)} is left"
        )


def shown(epsilon: float) -> str:
    """Return what is left of a budget as text, rounded down."""
    return f"{int(epsilon * 1000) / 1000:g}"


def mark_of(ledger: Path) -> Path:
    """Return where the mark of a ledger is."""
    return ledger.with_suffix(MARK_SUFFIX)


def spent_by(database: sqlite3.Connection, mark: Path, series: str) -> Spent:
    """Return what is spent, as the ledger or the mark has it, and the sums of ``series``.

    Raises
    ------
    LedgerRefused
        If one of the two cannot be understood: nothing is spent on a guess.
    """
    entered, marked = _last(database), _marked(mark)
    number, total = max(entered.number, marked.number), max(entered.total, marked.total)
    since = max(entered.since, marked.since)
    if (entered.number, entered.total) != (marked.number, marked.total):
        since = number + 1
    known = Spent(number, total, since)
    of_series = _last(database, series)
    if of_series.number < since or not of_series.number:
        return known
    return replace(known, training=of_series.training, held_out=of_series.held_out, frame=of_series.frame)


def write_mark(mark: Path, spent: Spent) -> None:
    """Write the mark, on the disk before this returns; its name is by the commit, which syncs the directory."""
    content = {"number": spent.number, "total": spent.total, "since": spent.since}
    replace_file(mark, json.dumps(content).encode(), mode=0o600)


def detail_of(spent: Spent, terms: Terms) -> str:
    """Return what an entry says, as JSON: all of ``spent``, and the terms on which it was."""
    return json.dumps(asdict(spent) | asdict(terms), separators=(",", ":"))


def read_detail(detail: str) -> tuple[Spent, Terms]:
    """Read what an entry says; raises `LedgerRefused` if it cannot be understood."""
    try:
        given = json.loads(detail)
        terms = Terms(given.pop("epsilon"), given.pop("delta"))
        return _checked(Spent(**given)), terms
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LedgerRefused("the pod's ledger does not say what was spent; its owner must look at it") from error


def _last(database: sqlite3.Connection, series: str | None = None) -> Spent:
    query = f"SELECT detail FROM entries WHERE event = '{SPENT}'"  # noqa: S608 - a constant
    query, given = (query, ()) if series is None else (f"{query} AND series = ?", (series,))
    for (detail,) in database.execute(f"{query} ORDER BY seq DESC LIMIT 1", given):
        return read_detail(detail)[0]
    return Spent()


def _marked(mark: Path) -> Spent:
    try:
        return _checked(Spent(**json.loads(mark.read_bytes())))
    except FileNotFoundError:
        return Spent()
    except (ValueError, TypeError) as error:
        raise LedgerRefused("the pod's record of what was spent cannot be read; its owner must look at it") from error


def _checked(spent: Spent) -> Spent:
    numbers = (spent.number, spent.total, spent.since, spent.training, spent.held_out)
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("what was spent is whole numbers from 0 on")
    return spent
