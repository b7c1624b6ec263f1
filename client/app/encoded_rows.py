"""A cache of encoded rows on the pod's own disk: in a deployment each message is answered by a new process.

A file's name is a digest of everything its content depends on: the table's bytes, how it is read, the encoding and the
code that encodes. So a stale file is never read, and files with another digest are removed.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from client.app.table_cache import TableCache, code_of, identity_of
from fl_app.pod.definition import Pod
from fl_app.system.files import replacing
from fl_app.tabular.encoding import Encoded, Encoding
from fl_app.tabular.folds import Fold

_DIGITS, _SUFFIX = 32, ".npz"


class EncodedRows:
    """The encoded parts of one pod's table under one encoding.

    Parameters
    ----------
    directory : Path
        Directory of the files, readable by their owner alone; made with the first of them.
    pod : Pod
        Whose table.
    encoding : Encoding
        How it is encoded.
    fold : Fold or None
        What the run holds out; None: what the owner's shares say.
    """

    def __init__(self, directory: Path, pod: Pod, encoding: Encoding, fold: Fold | None = None) -> None:
        self._path, self._identity = pod.datasource.path, identity_of(pod.datasource.path)
        made_of = (TableCache(directory, pod).digest(), *code_of("encoding"),
                   pod.model_dump_json().encode(), encoding.model_dump_json().encode(), str(fold).encode())  # fmt: skip
        digests = b"".join(hashlib.sha256(part).digest() for part in made_of)
        self._directory, self._name = directory, hashlib.sha256(digests).hexdigest()[:_DIGITS]

    def load(self, part: str) -> Encoded | None:
        """Return the rows of "train", "validation" or "test", or None if they are not there or cannot be read."""
        try:
            with self._file(part).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            dropped = int(arrays.pop("dropped"))
            return Encoded(**arrays, dropped=dropped)
        except FileNotFoundError:
            return None
        except Exception:  # a damaged file, whatever numpy makes of it: the rows are encoded again
            return None

    def save(self, part: str, rows: Encoded) -> None:
        """Write the rows, if the disk takes them and the table is still the same; remove those of others."""
        if identity_of(self._path) != self._identity:
            return
        arrays: dict[str, Any] = {f.name: getattr(rows, f.name) for f in fields(rows)}
        with suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(self._file(part), mode=0o600) as written:
                np.savez(written, **{name: array for name, array in arrays.items() if array is not None})
            for entry in os.scandir(self._directory):
                # With a dot: being written by another process.
                if entry.name.endswith(_SUFFIX) and not entry.name.startswith((self._name, ".")):
                    os.unlink(entry)

    def _file(self, part: str) -> Path:
        return self._directory / f"{self._name}-{part}{_SUFFIX}"
