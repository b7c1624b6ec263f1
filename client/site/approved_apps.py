"""The app versions that a pod's owner has approved, and the last ones that were refused.

::

    $FL_APP_HOME/pods/NAME/
        apps/SHA256.fab         approved: the bundle itself, so that it can be compared with the next one
        refused/SHA256.fab      refused: the last few, for the owner to inspect

A bundle is known by the SHA-256 of its bytes, and by nothing that the server says about it.
"""

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from fl_app.errors import UsageError
from fl_app.system.files import replace_file

MAX_BYTES = 10 << 20
"""The largest bundle that is stored; Flower makes none that is larger."""
MAX_REFUSED = 5
_HASH = re.compile("[0-9a-f]{64}")


def hash_of(content: bytes) -> str:
    """Return the name under which a bundle is approved: the SHA-256 of its bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


class Apps:
    """The approved and the refused bundles of one pod.

    Parameters
    ----------
    directory : Path
        The pod's home. Nothing is created in it before there is something to store.
    """

    def __init__(self, directory: Path) -> None:
        self._approved, self._refused = directory / "apps", directory / "refused"

    def approved(self, name: str) -> bool:
        """Say whether the owner approved the bundle whose hash is ``name``, and its file is still that bundle."""
        return _read(self._approved, name) is not None

    def approve(self, content: bytes) -> str:
        """Approve the bundle ``content`` for this pod, and return its hash."""
        name = hash_of(content)
        _write(self._approved, name, content)
        with suppress(OSError):
            (self._refused / f"{name}.fab").unlink()
        return name

    def revoke(self, name: str) -> None:
        """Withdraw the approval of the bundle ``name``.

        Raises
        ------
        UsageError
            If it is not an approved one.
        """
        if name not in self.names():
            raise UsageError(f"{name}: not an approved version; `fl-app pod approve-app NAME --list` shows them")
        (self._approved / f"{name}.fab").unlink()

    def refuse(self, content: bytes) -> str:
        """Store the refused bundle ``content`` for its owner to inspect, unless too large, and return its hash."""
        name = hash_of(content)
        if len(content) <= MAX_BYTES:
            _write(self._refused, name, content)
            for older in _newest_first(self._refused)[MAX_REFUSED:]:
                older.unlink(missing_ok=True)
        return name

    def names(self) -> list[str]:
        """Return the hashes of the approved bundles, the last approved first."""
        return [path.stem for path in _newest_first(self._approved)]

    def refused(self) -> list[str]:
        """Return the hashes of the stored refused bundles, the last refused first."""
        return [path.stem for path in _newest_first(self._refused)]

    def last(self) -> bytes | None:
        """Return the bundle that was approved last, or None."""
        return next((content for name in self.names() if (content := _read(self._approved, name)) is not None), None)

    def find_refused(self, start: str) -> bytes:
        """Return the refused bundle whose hash begins with ``start``.

        Raises
        ------
        UsageError
            If there is not exactly one.
        """
        matches = [name for name in self.refused() if name.startswith(start)]
        content = _read(self._refused, matches[0]) if len(matches) == 1 else None
        if content is None:
            stored = ", ".join(name[:12] for name in self.refused()) or "none"
            raise UsageError(f"{start}: not the hash of one refused version stored here ({stored})")
        return content

    def find_approved(self, start: str) -> str:
        """Return the whole hash of the approved bundle whose hash begins with ``start``; raises as `find_refused`."""
        matches = [name for name in self.names() if name.startswith(start)]
        if len(matches) != 1:
            approved = ", ".join(name[:12] for name in self.names()) or "none"
            raise UsageError(f"{start}: not the hash of one approved version ({approved})")
        return matches[0]


def _newest_first(directory: Path) -> list[Path]:
    bundles = [path for path in directory.glob("*.fab") if _HASH.fullmatch(path.stem)]
    return sorted(bundles, key=lambda path: (path.stat().st_mtime_ns, path.stem), reverse=True)


def _read(directory: Path, name: str) -> bytes | None:
    """Return the bundle ``name``, or None if there is none or it is not what its name says."""
    if not _HASH.fullmatch(name):
        return None
    try:
        content = (directory / f"{name}.fab").read_bytes()
    except OSError:
        return None
    return content if hash_of(content) == name else None


def _write(directory: Path, name: str, content: bytes) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(directory / f"{name}.fab", content, mode=0o600)
    except OSError as error:
        raise UsageError(f"{directory}: the app's bundle cannot be stored there: {error.strerror}") from error
