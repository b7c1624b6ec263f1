"""What the entries of a ledger come to: what has left a pod, and what has not."""

from dataclasses import dataclass, field, fields

from client.app.ledger_entries import ANSWERS, Entry


@dataclass
class Totals:
    """Sums over entries, added one by one.

    Attributes
    ----------
    messages, bytes : int
        Messages answered, and bytes of content that left, with refusals and failures.
    runs, rounds, other_steps : int
        Runs that began, and the training rounds and other steps that were answered.
    looks, refusals, failures : int
        Messages besides.
    """

    messages: int = 0
    bytes: int = 0
    runs: int = 0
    rounds: int = 0
    other_steps: int = 0
    looks: int = 0
    refusals: int = 0
    failures: int = 0
    _begun: set[str] = field(default_factory=set, repr=False)

    def add(self, entry: Entry) -> None:
        """Add one entry."""
        event, steps = entry.event, entry.event == "answer"
        self.bytes += entry.size
        self.messages += event in ANSWERS
        self.rounds += steps and entry.kind == "train"
        self.other_steps += steps and entry.kind != "train"
        self.looks += event == "look"
        self.refusals += event == "refusal"
        self.failures += event == "failure"
        if event == "session":
            self._begun.add(entry.run)
            self.runs = len(self._begun)

    def document(self) -> dict[str, int]:
        """Return the sums by their names."""
        return {one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")}
