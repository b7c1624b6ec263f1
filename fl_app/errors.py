"""The root of every error this project raises on purpose.

An error's text tells its reader what was expected, what came instead, and what to do next.
Errors whose text may leave a pod never contain a data value, a path or a key: see ``fl_app.secagg.errors``.
"""


class FlAppError(Exception):
    """Root of all errors raised on purpose; the command line prints it in one line, without a traceback."""

    exit_code = 1

    @property
    def full_text(self) -> str:
        """What the command line prints: the text, and whatever else its reader, and nobody beyond, may be told."""
        return str(self)


class UsageError(FlAppError):
    """A file, argument or setting written by the user is wrong; the text names it and says what is allowed."""

    exit_code = 2


class DataError(FlAppError):
    """A table cannot be used as asked: a column is missing, a type disagrees, a value cannot be read.

    Parameters
    ----------
    text : str
        What is wrong. It may leave a pod, so that it quotes no cell.
    detail : str
        What follows the text where the table's own owner reads it: lines, and cells.
    """

    def __init__(self, text: str = "", *, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail

    @property
    def full_text(self) -> str:
        """The text with its detail, for the owner of the table alone."""
        return f"{self}{self.detail}"


class RunFailed(FlAppError):
    """A run ended before it was done; what it had saved stays in its run directory."""
