"""What a session asks of the owner's ledger, and on whose account it asks.

The protocol's promise that every step is answered once, and every label unmasked for one list of survivors, outlives a
crash only because the ledger is written first. So a session takes no step without one; `client.app.ledger` is the
implementation on disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Account:
    """On whose account an entry is made: the run, the series it belongs to, and the cohort by names and identity keys.

    The cohort is the roster, where there is one, and the survivors, where an entry is about their sum.
    """

    run: str
    series: str = ""
    cohort: Mapping[str, bytes] = field(default_factory=dict)


class Ledger(Protocol):
    """The owner's record. An entry is on disk when the call returns, which gives the new head of the hash chain.

    ``head`` is the last head that the session remembers: a ledger that no longer holds it was deleted or rolled back,
    and refuses.
    """

    def enter_begin(self, account: Account, kind: str, round: int, label: bytes, head: bytes) -> bytes:
        """Enter that a step begins, and so spend it; raises `AlreadyAnswered` or `LedgerRefused`."""

    def enter_answer(self, account: Account, kind: str, round: int, label: bytes, head: bytes, size: int) -> bytes:
        """Enter, once, the answer of ``size`` bytes that is about to be given to a step that has begun."""

    def enter_survivors(self, account: Account, event: str, label: bytes, head: bytes, size: int) -> bytes:
        """Enter that this pod signs ("survivors") or unmasks ("unmask") the account's cohort under a label.

        The first list under a label is the only one; entering the same list again is no error.
        """
