"""Where progress is shown: a live line on a terminal, one output in a notebook, plain lines everywhere else."""

import html
import os
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from server.display.progress_text import Status, duration, listed

_FIRST_NOTE = 10.0
"""Seconds after which plain lines say who is waited for; and again after twice as long, and so on."""


class Display(Protocol):
    """Shows lines that stay, and a status that passes."""

    def start(self) -> None:
        """Begin."""

    def line(self, text: str) -> None:
        """Show a line that stays."""

    def status(self, status: Status) -> None:
        """Show how far the run is now."""

    def stop(self) -> None:
        """End; only lines stay."""


def display_for(console: Console) -> Display:
    """Return what suits the console; nothing moves where CI or NO_COLOR is set, or on a terminal that cannot."""
    if console.is_jupyter:
        return Notebook()
    moves = console.is_terminal and not console.is_dumb_terminal and not console.no_color
    return Terminal(console) if moves and not os.environ.get("CI") else Lines(console)


class Terminal:
    """A line with a bar, one with figures and one with names, at the foot of what has been printed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = Spinner("dots")
        self._live = Live(self._drawn(Status("starting")), console=console, transient=True, refresh_per_second=8)

    def start(self) -> None:
        """Begin."""
        self._live.start()

    def line(self, text: str) -> None:
        """Show a line above the live ones."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def status(self, status: Status) -> None:
        """Draw the live lines anew."""
        self._live.update(self._drawn(status))

    def stop(self) -> None:
        """Take the live lines away."""
        self._live.stop()

    def _drawn(self, status: Status) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [self._spinner, Text(status.what)]
        if status.of:
            cells += [ProgressBar(status.of, status.done, width=30), Text(f"{status.done}/{status.of}")]
        head.add_row(*cells)
        drawn = Table.grid()
        drawn.add_row(head)
        for text in filter(None, (status.figures, status.awaited)):
            drawn.add_row(Text(f"  {text}", style="dim", no_wrap=True, overflow="ellipsis"))
        return drawn


class Notebook:
    """One output, which is changed in place: what is saved with the notebook is its last state, plain HTML."""

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
        """Show how far it is below the lines."""
        bar = f'<progress max="{status.of}" value="{status.done}"></progress> ' if status.of else ""
        self._show(" · ".join(filter(None, (status.what, status.figures, status.awaited))), bar)

    def stop(self) -> None:
        """Leave the lines."""
        self._show()

    def _show(self, status: str = "", bar: str = "") -> None:
        text = "\n".join([*self._lines, *([status] if status else [])])
        style = "margin:0;white-space:pre-wrap;line-height:1.4"
        lines = html.escape("\n".join(self._lines))
        foot = f"<div>{bar}{html.escape(status)}</div>" if status else ""
        page = f'<div><pre style="{style}">{lines}</pre>{foot}</div>'
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
    """Lines alone; of a step that takes long, from time to time who is waited for."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last, self._next = 0.0, _FIRST_NOTE

    def start(self) -> None:
        """Begin."""

    def line(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def status(self, status: Status) -> None:
        """Print a line if the step has been under way for long."""
        if status.seconds < self._last:  # another step
            self._next = _FIRST_NOTE
        self._last = status.seconds
        if status.waiting and status.seconds >= self._next:
            self._next = 2 * max(self._next, status.seconds)
            self.line(f"{status.what}: still waiting for {listed(status.waiting)} ({duration(status.seconds)})")

    def stop(self) -> None:
        """End."""
