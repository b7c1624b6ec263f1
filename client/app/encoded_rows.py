"""A cache of encoded rows on the pod's own disk: in a deployment each message is answered by a new process.

A file's name is a digest of everything its content depends on: the table's bytes, how it is read, the encoding and the
code that encodes. So a stale file is never read, and files with another digest are removed.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np

from fl_app.pod.definition import Pod
from fl_app.system.files import replace_file
from fl_app.tabular import cell_text
from fl_app.tabular.encoding import Encoded, Encoding

_DIGITS = 32


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
    """

    def __init__(self, directory: Path, pod: Pod, encoding: Encoding) -> None:
        made_of = (_table_digest(pod.datasource.path, pod.datasource.path.stat().st_mtime_ns), *_code(),
                   pod.model_dump_json().encode(), encoding.model_dump_json().encode())  # fmt: skip
        digests = b"".join(hashlib.sha256(part).digest() for part in made_of)
        self._directory, self._name = directory, hashlib.sha256(digests).hexdigest()[:_DIGITS]

    def load(self, part: str) -> Encoded | None:
        """Return the rows of "train", "validation" or "test", or None if they are not there or cannot be read."""
        try:
            with np.load(BytesIO(self._file(part).read_bytes()), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            dropped = int(arrays.pop("dropped"))
            return Encoded(**arrays, dropped=dropped)
        except FileNotFoundError:
            return None
        except Exception:  # a damaged file, whatever numpy makes of it: the rows are encoded again
            return None

    def save(self, part: str, rows: Encoded) -> None:
        """Write the rows, if the disk takes them, and remove those of other tables or encodings."""
        written = BytesIO()
        arrays = {f.name: getattr(rows, f.name) for f in fields(rows)}
        np.savez(written, **{name: array for name, array in arrays.items() if array is not None})
        with suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._file(part), written.getvalue(), mode=0o600)
            for entry in os.scandir(self._directory):
                if not entry.name.startswith((self._name, ".")):  # with a dot: being written by another process
                    os.unlink(entry)

    def _file(self, part: str) -> Path:
        return self._directory / f"{self._name}-{part}.npz"


@lru_cache(maxsize=16)
def _table_digest(path: Path, modified: int) -> bytes:
    """Return the digest of a table's bytes; taken again only if the file has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _code() -> Iterator[bytes]:
    tabular = Path(str(cell_text.__file__)).parent  # Arrow is imported where a table is read, and not to find its cache
    for name in ("table_file", "csv_file", "cells", "dictionaries", "cell_text", "encoding"):
        yield (tabular / f"{name}.py").read_bytes()
