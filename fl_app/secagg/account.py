"""What a pod's session asks of its owner's ledger, and what every entry says of the session."""

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
    """The owner's record. Entries are on disk when the call returns; each returns the new head of the chain."""

    def enter_begin(self, account: Account, kind: str, round: int, label: bytes, head: bytes) -> bytes:
        """Enter that a step begins, and so spend it; raises `AlreadyAnswered` or `LedgerRefused`.

        ``head`` is the last head this pod remembers of the run.
        """

    def enter_answer(self, account: Account, kind: str, round: int, label: bytes, head: bytes, size: int) -> bytes:
        """Enter an answer of ``size`` bytes about to be given to a step that has begun, once."""

    def enter_survivors(self, account: Account, event: str, label: bytes, head: bytes, size: int) -> bytes:
        """Enter that this pod signs ("survivors") or unmasks ("unmask") the account's cohort under a label.

        It is the one list this pod speaks of under the label; the same may come again.
        """
