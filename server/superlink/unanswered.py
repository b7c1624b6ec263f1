"""Which messages have had no answer yet: what a run waits for, noted as messages pass and told to whoever asks."""

import time
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Unanswered:
    """A message that a node has not answered: its kind, when it was sent, and until when it is good (epoch, s)."""

    node: int
    kind: str
    since: float
    expires: float


class UnansweredMessages:
    """The messages of each run that wait for an answer. No other thread than the event loop's may use it."""

    def __init__(self) -> None:
        self._runs: dict[int, dict[str, Unanswered]] = {}

    def sent(self, run: int, message: str, unanswered: Unanswered) -> None:
        """Note a message to a node."""
        self._runs.setdefault(run, {})[message] = unanswered

    def answered(self, run: int, message: str) -> None:
        """Note that a message has its answer."""
        messages = self._runs.get(run, {})
        messages.pop(message, None)
        if not messages:
            self._runs.pop(run, None)

    def over(self, runs: Collection[int]) -> None:
        """Forget the messages of runs that are over."""
        for run in runs:
            self._runs.pop(run, None)

    def of(self, run: int) -> list[Unanswered]:
        """Return what a run waits for, the oldest first."""
        now = time.time()
        waiting = [one for one in self._runs.get(run, {}).values() if one.expires > now]
        return sorted(waiting, key=lambda one: one.since)
