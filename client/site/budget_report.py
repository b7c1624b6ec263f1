"""What a pod's owner is told of the privacy budget: spent and left, as epsilon at the owner's delta."""

import math
from dataclasses import dataclass
from pathlib import Path

from client.app.budget import Terms, mark_of, read_detail, shown
from client.app.ledger import Ledger
from client.app.ledger_entries import Entry
from client.site.own_pod import last_file, pod_in
from fl_app.errors import FlAppError
from fl_app.pod.policy import Policy
from fl_app.secagg.errors import LedgerRefused
from fl_app.system.home import LEDGER_FILE, pod_home


@dataclass(frozen=True)
class BudgetReport:
    """How a pod stands.

    Attributes
    ----------
    epsilon, delta : float or None, float
        The owner's terms; epsilon is None where no budget is set.
    spent : float
        What all private runs have told of a row, as epsilon.
    left : float or None
        The epsilon that one more run may cost.
    """

    epsilon: float | None
    delta: float
    spent: float
    left: float | None

    def text(self) -> str:
        """Return it as a line."""
        spent = f"epsilon {rounded_up(self.spent)}"
        if self.epsilon is None or self.left is None:
            return (
                f"privacy: {spent} is spent at delta {self.delta:g}; no budget is set, and runs without privacy are "
                "not counted"
            )
        return (
            f"privacy: {spent} of {self.epsilon:g} is spent at delta {self.delta:g}; a run of epsilon "
            f"{shown(self.left)} is left"
        )


def budget_report(name: str, home: Path | None = None, file: Path | None = None) -> BudgetReport:
    """Return how pod ``name`` stands.

    Parameters
    ----------
    home : Path or None
        Where keys and ledgers are kept.
    file : Path or None
        The pod's file, which has the terms; None: the one with which it was last run. Where there is none, what was
        spent is told at the default delta.

    Raises
    ------
    UsageError
        If ``file`` is no pod file, or another pod's.
    LedgerRefused
        If the ledger or its mark cannot be understood.
    """
    ledger = pod_home(name, home) / LEDGER_FILE
    known = ledger.exists() or mark_of(ledger).exists()
    total = Ledger(ledger).spent().total if known else 0
    return report_of(total, pod_in(file, name).policy if file else _last_policy(name, home))


def report_of(total: int, policy: Policy) -> BudgetReport:
    """Return how a pod stands that has spent ``total`` units, on its owner's terms."""
    terms = Terms(policy.epsilon, policy.delta)
    return BudgetReport(terms.epsilon, terms.delta, terms.told(total), terms.left(total))


def entry_text(entry: Entry) -> str:
    """Return what an entry of something spent says, in words."""
    try:
        spent, terms = read_detail(entry.detail)
    except LedgerRefused:  # altered, which the chain tells
        return "cannot be read"
    return f"epsilon {rounded_up(terms.told(spent.total))} in all, at delta {terms.delta:g}"


def rounded_up(epsilon: float) -> str:
    """Return what is spent as text, rounded up to thousandths."""
    return f"{math.ceil(epsilon * 1000) / 1000:g}"


def _last_policy(name: str, home: Path | None) -> Policy:
    file = last_file(name, home)
    try:
        return pod_in(file, name).policy if file else Policy()
    except (OSError, ValueError, TypeError, KeyError, FlAppError):  # its file is elsewhere by now
        return Policy()
