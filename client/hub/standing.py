"""How a pod stands, read from its home: online, paused, its file, and what it has published of its table last."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from client.site.own_pod import last_file, pod_in
from client.site.pausing import is_paused
from client.site.serving import LOG, has_connected, is_served
from fl_app.errors import FlAppError, UsageError
from fl_app.pod.definition import Pod
from fl_app.pod.policy import Policy
from fl_app.system.home import ENCODED_DIRECTORY, pod_home
from fl_app.tabular.schema import Schema

_PUBLISHED = "published-*"


@dataclass(frozen=True)
class Published:
    """A schema that the pod has made for whoever asked, and when, in seconds since the epoch."""

    schema: Schema
    time: float


class Standing:
    """One pod's home, as its hub reads it.

    Parameters
    ----------
    name, home
        The pod, and where keys and ledgers are kept.
    file
        The pod's file; None: the one it was last run with.
    """

    def __init__(self, name: str, home: Path | None = None, file: Path | None = None) -> None:
        self.name, self.home, self.directory = name, home, pod_home(name, home)
        self._given = file
        self._pod: tuple[tuple[Path, int, int], Pod | None, str] | None = None
        self._connected = 0
        self._published: tuple[tuple[str, int], Published | None] | None = None

    def paused(self) -> bool:
        """Say whether the owner has paused the pod."""
        return is_paused(self.name, self.home)

    def online(self) -> bool:
        """Say whether a process serves the pod, whose node a SuperLink has taken; a log is read until it says so."""
        if not is_served(self.name, self.home):
            return False
        log = self.directory / "flower" / LOG
        try:
            inode = log.stat().st_ino  # each start has a new log
            if inode != self._connected and has_connected(log):
                self._connected = inode
        except OSError:
            return False
        return inode == self._connected

    @property
    def file(self) -> Path | None:
        """The pod's file, None if it has never been run."""
        if self._given is not None:
            return self._given
        return last_file(self.name, self.home)

    def pod(self) -> tuple[Pod | None, str]:
        """Return the pod as its file defines it, or None and why it cannot be read; "" if it was never run."""
        file = self.file
        if file is None:
            return None, ""
        try:
            found = file.stat()
        except OSError as error:
            return None, f"{file}: {error.strerror}"
        stamp = file, found.st_size, found.st_mtime_ns
        if self._pod is None or self._pod[0] != stamp:
            self._pod = (stamp, *self._loaded(file))
        return self._pod[1:]

    def policy(self) -> Policy:
        """Return the owner's terms, or the default ones where there is no file."""
        pod, _ = self.pod()
        return pod.policy if pod else Policy()

    def published(self) -> Published | None:
        """Return the schema that the pod made last, None where none is kept."""
        found = []
        for path in (self.directory / ENCODED_DIRECTORY).glob(_PUBLISHED):
            with suppress(OSError):
                found.append((path.stat().st_mtime_ns, path))
        newest = sorted(found, reverse=True)
        if not newest:
            return None
        key = (newest[0][1].name, newest[0][0])
        if self._published is None or self._published[0] != key:
            made = (Published(schema, moment / 1e9) for moment, path in newest if (schema := _schema_in(path)))
            self._published = key, next(made, None)
        return self._published[1]

    def _loaded(self, file: Path) -> tuple[Pod | None, str]:
        try:
            return pod_in(file, self.name), ""
        except FlAppError as error:
            return None, error.full_text


def _schema_in(path: Path) -> Schema | None:
    """Return the schema in a file of `client.app.table_cache`; other answers are kept beside it."""
    with suppress(OSError, ValueError, UsageError, FlAppError):
        head, _, content = path.read_bytes().partition(b"\n")
        if head == hashlib.sha256(content).hexdigest().encode():
            return Schema.from_json(content.decode())
    return None
