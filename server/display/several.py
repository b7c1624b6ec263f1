"""The progress of what takes several runs, on a console: a line for each run, and the status meanwhile."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from typing import Generic, Self

from rich.console import Console

from fl_app.validation import counted
from server.app.results import Results
from server.display.live import display_for
from server.display.run_status import Clock, Status
from server.modeller.several_directory import Content


class SeveralProgress(ABC, Generic[Content]):
    """Follows several runs: a line as each ends.

    Parameters
    ----------
    console : Console
        Where to show it.
    """

    def __init__(self, console: Console) -> None:
        self._display, self._clock = display_for(console), Clock()
        self._told: set[Hashable] = set()

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    @abstractmethod
    def _planned(self, content: Content) -> str:
        """Return what is about to be done, in a sentence."""

    @abstractmethod
    def _place(self, content: Content, number: int) -> tuple[str, int]:
        """Return what the run of a number is called, and how many there will be."""

    @abstractmethod
    def _ended(self, content: Content) -> Iterator[tuple[Hashable, str]]:
        """Yield the key and the line of each run that has ended, in the order of the lines."""

    def begin(self, content: Content) -> None:
        """Say what is about to be done; runs that have ended by then get no line."""
        self._told = {key for key, _ in self._ended(content)}
        self._display.line(self._planned(content))
        if self._told:
            self._display.line(f"{counted(len(self._told), 'run')} of them done before")

    def __call__(self, content: Content, results: Results) -> None:
        """Show which runs have ended since, and how far the one under way is."""
        self.ended(content)
        status, done = self._clock.status(results), sum(1 for _ in self._ended(content))
        place, whole = self._place(content, done + 1)
        what = f"{place} of {whole}: {status.what}"
        if status.of:
            what += f" ({status.done}/{status.of})"
        self._display.status(
            Status(
                what,
                done=done,
                of=whole,
                waiting=status.waiting,
                seconds=status.seconds,
                sent=status.sent,
                received=status.received,
            )
        )

    def ended(self, content: Content) -> None:
        """Show a line for each run that has ended since."""
        for key, text in self._ended(content):
            if key not in self._told:
                self._told.add(key)
                self._display.line(text)
