"""What is known of a pod's table without reading it: its digest, and what it publishes. Kept in the pod's own home.

In a deployment each message is answered by a new process, and a hello that reads a table of ten million rows takes
longer than the server waits. So both are on the disk, closed to others, and never leave the pod.

The digest is of the table's bytes. It is taken again unless the file is, by its path, device, inode, size and the times
of its last change, the one that it was taken of. Writing to a file sets the time of its inode's change (ctime), which
programs cannot choose; a file changed so recently that the clock could not tell another change is not remembered yet.
All else is kept under that digest and is therefore never of another table. What cannot be read back is made anew.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from fl_app.pod.definition import Pod
from fl_app.system.files import replace_file
from fl_app.tabular import cell_text

_SETTLED_NS = 5_000_000_000
"""How long ago a file must have changed last: no file system's clock takes two changes so far apart for one."""
_DIGEST = "digest.json"
_PUBLISHED, _MOST_PUBLISHED = "published-", 16
"""Schemas that are kept: one for each proposal. A modeller who keeps proposing must not fill the disk."""
_READING = (
    *("table_file", "csv_file", "read_options", "cells", "dictionaries", "cell_text"),
    *("date_cells", "dates"),
)
_DESCRIBING = ("schema", "column_spec", "settings")
Identity = tuple[str, int, int, int, int, int]


def identity_of(path: Path) -> Identity:
    """Return what tells a file from any other and from itself after a change; raises `OSError` if there is none."""
    found = path.stat()
    return str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@cache
def code_of(*modules: str) -> tuple[bytes, ...]:
    """Return the text of the code that reads tables, and of more modules of `fl_app.tabular`."""
    tabular = Path(str(cell_text.__file__)).parent  # Arrow is imported where a table is read, and not to find its cache
    texts = ((tabular / f"{name}.py").read_bytes() for name in (*_READING, *modules))
    return version("pyarrow").encode(), *texts


class TableCache:
    """What is known of the table of one pod.

    Parameters
    ----------
    directory : Path or None
        Directory of the files, readable by their owner alone; made with the first of them. None: nothing is kept.
    pod : Pod
        Whose table.
    """

    def __init__(self, directory: Path | None, pod: Pod) -> None:
        self._directory, self._pod = directory, pod

    def digest(self) -> bytes:
        """Return the SHA-256 of the table's bytes, taken again only if the file has changed."""
        identity = identity_of(self._pod.datasource.path)
        kept = self._load(_DIGEST)
        if kept:
            with suppress(ValueError):
                document = json.loads(kept)
                if document["identity"] == list(identity):
                    return bytes.fromhex(document["sha256"])
        with self._pod.datasource.path.open("rb") as file:
            taken = hashlib.file_digest(file, "sha256").digest()
        if self._is_still(identity):
            self._save(_DIGEST, json.dumps({"identity": identity, "sha256": taken.hex()}).encode())
        return taken

    def published(self, proposal: str, describe: Callable[[], str]) -> str:
        """Return what ``describe`` makes of the table under a modeller's ``proposal``, without calling it if known."""
        if self._directory is None:
            return describe()
        before = identity_of(self._pod.datasource.path)
        made_of = (self.digest(), *code_of(*_DESCRIBING), self._pod.model_dump_json().encode(), proposal.encode())
        name = _PUBLISHED + hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in made_of)).hexdigest()
        kept = self._load(name)
        if kept is not None:
            return kept.decode()
        text = describe()
        if self._is_still(before):
            self._save(name, text.encode())
            self._remove_old()
        return text

    def _is_still(self, identity: Identity) -> bool:
        """Say whether what was read since the file was found to be ``identity`` may be remembered as its content."""
        settled = max(identity[-2:]) <= time.time_ns() - _SETTLED_NS
        return settled and identity_of(self._pod.datasource.path) == identity

    def _load(self, name: str) -> bytes | None:
        """Return the content of a file, or None if it is not there or not as it was written."""
        if self._directory is None:
            return None
        with suppress(OSError):
            head, _, content = (self._directory / name).read_bytes().partition(b"\n")
            if head == hashlib.sha256(content).hexdigest().encode():
                return content
        return None

    def _save(self, name: str, content: bytes) -> None:
        """Write a file, if the disk takes it."""
        if self._directory is None:
            return
        with suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            checked = hashlib.sha256(content).hexdigest().encode() + b"\n" + content
            replace_file(self._directory / name, checked, mode=0o600)

    def _remove_old(self) -> None:
        if self._directory is None:
            return
        with suppress(OSError):
            found = [entry for entry in os.scandir(self._directory) if entry.name.startswith(_PUBLISHED)]
            for entry in sorted(found, key=lambda e: e.stat().st_mtime_ns)[:-_MOST_PUBLISHED]:
                os.unlink(entry)
