"""A pod's replicas on its own disk: what it has followed of each series, and the answer whose sum it has yet to see.

In a deployment each message is answered by a new process, and a pod may be restarted in the middle of a run. So the
replica is written when it has moved on, and what is needed to check the sum of an answer when the answer is made. Both
are in files that their owner alone may read; the second is a secret from the server, and is deleted once it is used.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from fl_app.replica.state import Replica
from fl_app.secagg.errors import MalformedMessage
from fl_app.secagg.verified_sum import Pending
from fl_app.system.files import replacing

MOST_SERIES = 16
"""Replicas that are kept, the latest ones: one that was removed can be had from the other pods of its series."""
_LABEL_BYTES = 32
_REPLICA, _PENDING = ".replica", ".pending"


class ReplicaStore:
    """The replica of one series at one pod.

    Parameters
    ----------
    directory : Path
        Where all replicas of the pod are; made with the first of them.
    series : str
        The series.
    """

    def __init__(self, directory: Path, series: str) -> None:
        self._directory = directory
        # A series is what the server says it is: its name is no part of a path.
        self._stem = hashlib.sha256(series.encode()).hexdigest()[:32]
        self._held: tuple[Replica, bytes] | None = None

    def load(self) -> tuple[Replica, bytes]:
        """Return the replica and the label of the step that it followed last; an empty one where none can be read."""
        if self._held is None:
            try:
                data = self._path(_REPLICA).read_bytes()
                self._held = Replica.from_bytes(data[_LABEL_BYTES:]), data[:_LABEL_BYTES]
            except (OSError, MalformedMessage):
                self._held = Replica(), b""
        return self._held

    def save(self, replica: Replica, label: bytes) -> None:
        """Write the replica that the step under ``label`` has made, and forget what that step's sum was checked by."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(self._path(_REPLICA), mode=0o600) as file:
            file.write(label.ljust(_LABEL_BYTES, b"\0"))
            for part in replica.parts():
                file.write(part)
        self._held = replica, label
        self.forget_pending()
        self._remove_old()

    def pending(self) -> Pending | None:
        """Return what the sum of the last answer is to be checked by, None where there is none."""
        try:
            return Pending.from_bytes(self._path(_PENDING).read_bytes())
        except (OSError, MalformedMessage):
            return None

    def expect(self, pending: Pending) -> None:
        """Write what the sum of an answer is to be checked by, before the answer leaves."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(self._path(_PENDING), mode=0o600) as file:
            file.write(pending.to_bytes())

    def forget_pending(self) -> None:
        """Delete what the sum of the last answer is to be checked by."""
        self._path(_PENDING).unlink(missing_ok=True)

    def _path(self, suffix: str) -> Path:
        return self._directory / f"{self._stem}{suffix}"

    def _remove_old(self) -> None:
        found = sorted(self._directory.glob(f"*{_REPLICA}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[MOST_SERIES:]:
            with suppress(OSError):
                os.unlink(path)
                path.with_suffix(_PENDING).unlink(missing_ok=True)
