"""The directory of what takes several runs, a tuning or a cross-validation: its document, and the runs beside it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from fl_app.errors import UsageError
from fl_app.system.files import held, replace_file
from server.app.document import Document
from server.app.run_directory import make_dated

Content = TypeVar("Content", bound=Document)


class SeveralDirectory(Generic[Content]):
    """One directory's files: the document, and the lock of whoever carries it out.

    A kind of it says how its name begins, what its document is called and of what class, and which field has the name.

    Parameters
    ----------
    path : Path
        The directory.
    """

    PREFIX: ClassVar[str]
    FILE: ClassVar[str]
    CONTENT: ClassVar[type[Any]]
    ID: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, runs: Path, **given: Any) -> Self:
        """Make a new one under ``runs``, with these fields of its document; raises `UsageError` if it cannot."""
        now = datetime.now(UTC)
        try:
            made = cls(make_dated(runs, now, cls.PREFIX))
            identity = {cls.ID: made.name, "status": "running", "started": now.isoformat(timespec="seconds")}
            made.write(cls.CONTENT(**identity, **given))
        except OSError as error:
            raise UsageError(f"{runs}: no directory can be made here: {error.strerror}") from error
        return made

    @property
    def name(self) -> str:
        """Its id."""
        return self.path.name

    @property
    def runs(self) -> Path:
        """Where its runs are."""
        return self.path.parent

    @property
    def resumed_as(self) -> str:
        """What ``--resume`` takes in this working directory."""
        return self.name if self.runs == Path("runs").resolve() else str(self.path)

    def read(self) -> Content:
        """Return what it has come to; raises `UsageError` if its file is damaged."""
        path = self.path / self.FILE
        try:
            content: Content = self.CONTENT.read(path.read_bytes())
        except (OSError, UsageError) as error:
            raise UsageError(f"{path}: cannot be read: {error}") from error
        return content

    def write(self, content: Content) -> None:
        """Replace what it has come to."""
        replace_file(self.path / self.FILE, (json.dumps(content.document(), indent=1) + "\n").encode())

    @contextmanager
    def carried_out(self) -> Iterator[None]:
        """Lock it while it is carried out; raises `UsageError` if another process has locked it."""
        try:
            with held(self.path / ".lock"):
                yield
        except BlockingIOError:
            raise UsageError(f"{self.name} is under way; stop it first, or let it end") from None
