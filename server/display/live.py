"""How progress is shown: a live line on a terminal, one output in a notebook, plain lines everywhere else."""

import os
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from fl_app.system.printable import continued, one_line
from server.display.run_status import Status
from server.display.templates import render
from server.display.words import duration, listed

_FIRST_NOTE = 10.0
"""Seconds after which plain lines name the pods awaited; then after twice as long, and so on."""


class Display(Protocol):
    """Shows lines that stay and a status that is replaced."""

    def start(self) -> None:
        """Begin."""

    def line(self, text: str) -> None:
        """Show a line that stays."""

    def status(self, status: Status) -> None:
        """Show how far the run is now."""

    def stop(self) -> None:
        """End; only the lines stay."""


def display_for(console: Console) -> Display:
    """Return the display for a console; without animation where CI or NO_COLOR is set, or on a dumb terminal."""
    if console.is_jupyter:
        return Notebook()
    animated = console.is_terminal and not console.is_dumb_terminal and not console.no_color
    return Terminal(console) if animated and not os.environ.get("CI") else Lines(console)


class Terminal:
    """Below the lines: one with the step and a bar, one with figures, one with the pods awaited."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots")
        self._live = Live(self._layout(Status("starting")), console=console, transient=True, refresh_per_second=8)

    def start(self) -> None:
        """Begin."""
        self._live.start()

    def line(self, text: str) -> None:
        """Show a line above the live ones."""
        _print(self._console, text)

    def status(self, status: Status) -> None:
        """Redraw the live lines."""
        self._live.update(self._layout(status))

    def stop(self) -> None:
        """Remove the live lines."""
        self._live.stop()

    def _layout(self, status: Status) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [self._spinner, Text(one_line(status.what))]
        if status.of:
            cells += [ProgressBar(status.of, status.done, width=30), Text(f"{status.done}/{status.of}")]
        head.add_row(*cells)
        layout = Table.grid()
        layout.add_row(head)
        for text in filter(None, (status.figures, status.awaited)):
            layout.add_row(Text(f"  {one_line(text)}", style="dim", no_wrap=True, overflow="ellipsis"))
        return layout


class Notebook:
    """One output, updated in place: the notebook is saved with its last state, as plain HTML."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._handle: Any = None
        self._shown = ""

    def start(self) -> None:
        """Begin."""
        self._show("starting")

    def line(self, text: str) -> None:
        """Add a line."""
        self._lines.append(text)

    def status(self, status: Status) -> None:
        """Show the status below the lines."""
        self._show(" · ".join(filter(None, (status.what, status.figures, status.awaited))), status.done, status.of)

    def stop(self) -> None:
        """Remove the status."""
        self._show()

    def _show(self, status: str = "", done: int = 0, of: int = 0) -> None:
        text = "\n".join(map(continued, [*self._lines, *([status] if status else [])]))
        page = render("display/notebook.html.j2", lines=self._lines, status=status, done=done, of=of)
        if page == self._shown:
            return
        self._shown = page
        bundle = {"text/plain": text, "text/html": page}
        if self._handle is None:
            from IPython.display import display  # a notebook's kernel is made of it

            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class Lines:
    """Lines alone; during a long step, now and then one with the pods awaited."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last, self._next = 0.0, _FIRST_NOTE

    def start(self) -> None:
        """Begin."""

    def line(self, text: str) -> None:
        """Print a line."""
        _print(self._console, text)

    def status(self, status: Status) -> None:
        """Print a line if the step has taken long."""
        if status.seconds < self._last:  # another step
            self._next = _FIRST_NOTE
        self._last = status.seconds
        if status.waiting and status.seconds >= self._next:
            self._next = 2 * max(self._next, status.seconds)
            self.line(f"{status.what}: still waiting for {listed(status.waiting)} ({duration(status.seconds)})")

    def stop(self) -> None:
        """End."""


def _print(console: Console, text: str) -> None:
    """Print a line as it is: a name in it may look like markup."""
    console.print(continued(text), markup=False, emoji=False, highlight=False, soft_wrap=True)
