"""What entries of the ledger mean, in words: what left the pod, in which form, when, and at what price."""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from client.app.budget import read_detail
from client.app.ledger_entries import IN_CLEAR, Entry
from client.hub.ledger_sums import RunSums, Sums
from client.site.budget_report import BudgetReport, rounded_up
from fl_app.secagg.errors import LedgerRefused

SEALED, NOTHING = "sealed", "nothing left"
_KINDS = {
    "statistics": "sums over the table",
    "train": "the update of training round {round}, with counts of how well the model did",
    "evaluate": "counts of the final evaluation",
}
_EVENTS: Mapping[str, tuple[str, str]] = {
    "look": ("schema, approvals and versions, signed, for whoever asked", IN_CLEAR),
    "bystander": ("that the run is without this pod", IN_CLEAR),
    "session": ("keys for this session, schema, approvals and versions, signed", IN_CLEAR),
    "hello": ("the same keys, schema and approvals once more", IN_CLEAR),
    "roster": ("shares of this session's secrets, each sealed for one other pod", SEALED),
    "begin": ("a step begins, and is spent whatever becomes of it", NOTHING),
    "spent": ("the step is paid for from the privacy budget", NOTHING),
    "survivors": ("a signature under the list of pods that answered", IN_CLEAR),
    "unmask": ("shares that open what is left of masks once pods were lost", IN_CLEAR),
    "followed": ("the cohort's sum was verified", NOTHING),
    "refusal": ("a refusal, and why", IN_CLEAR),
    "failure": ("that the pod could not answer, not why", IN_CLEAR),
    "pause": ("the owner paused the pod", NOTHING),
    "resume": ("the owner let the pod answer again", NOTHING),
}
EVENTS = tuple(sorted((*_EVENTS, "answer")))
"""What entries may be, for the filter."""


def what_and_form(entry: Entry, sums: Sums) -> tuple[str, str]:
    """Return what left with an entry, and in which form."""
    if entry.event != "answer":
        return _EVENTS.get(entry.event, (entry.event, ""))
    what = _KINDS.get(entry.kind, entry.kind).format(round=entry.round)
    form = IN_CLEAR if entry.why == IN_CLEAR else "one masked vector"
    noise = (entry.run, entry.kind, entry.round) in sums.private
    return what, f"{form}, with the noise of a private run" if noise else form


def told_time(text: str) -> str:
    """Return the time of an entry to the second; as it is, shortened, if it is none."""
    return f"{text[:10]} {text[11:19]} UTC" if len(text) > 18 and text[10] == "T" else text[:40]


def age(text: str) -> float | None:
    """Return how many seconds ago an entry was made, None if it does not say when."""
    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds())
    except (ValueError, TypeError):
        return None


def who(cohort: Iterable[str]) -> str:
    """Return the names of a cohort, or how many they are."""
    names = list(cohort)
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} pods"


def told_budget(budget: BudgetReport | None) -> dict[str, Any] | None:
    """Return how a budget stands, rounded to the safe side."""
    if budget is None:
        return None
    left = None if budget.left is None else math.floor(budget.left * 1000) / 1000
    return {"epsilon": budget.epsilon, "delta": budget.delta, "spent": rounded_up(budget.spent), "left": left}


def spent_text(run: RunSums) -> str:
    """Return what all runs have spent after a run's last private step; "" if it had none."""
    if not run.spent:
        return ""
    try:
        spent, terms = read_detail(run.spent)
    except LedgerRefused:  # altered, which the chain tells
        return "cannot be read"
    return f"{rounded_up(terms.told(spent.total))} in all, at delta {terms.delta:g}"
