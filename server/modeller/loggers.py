"""Where progress is told: through Python's logging once it is set up, else straight to the terminal or notebook."""

import io
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PROGRESS = "fl_app"
_WIDTH = 140


def setup_loggers(loggers: Iterable[logging.Logger], level: int = logging.INFO) -> list[logging.Logger]:
    """Make ``loggers``, and the one that tells of progress, show lines of ``level`` and above; return ``loggers``.

    A logger whose lines are shown already, by itself or by a parent, gets no second handler.
    """
    given = list(loggers)
    for logger in (logging.getLogger(PROGRESS), *given):
        logger.setLevel(level)
        if not logger.hasHandlers():
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
            logger.addHandler(handler)
    return given


def progress_console() -> "Console":
    """Return where progress goes: the logger ``fl_app`` if it is set up to show it, else standard error."""
    from server.display.plain_console import PlainConsole

    logger = logging.getLogger(PROGRESS)
    if logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        return PlainConsole(file=_LogLines(logger), width=_WIDTH, force_jupyter=False, force_terminal=False)
    console = PlainConsole(stderr=True)
    return console if console.is_terminal or console.is_jupyter else PlainConsole(stderr=True, width=_WIDTH)


class _LogLines(io.StringIO):
    """A file whose lines are log records."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self._logger.info("%s", line.rstrip())
        return len(text)
