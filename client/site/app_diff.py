"""What changed from one app bundle to the next, for the owner who is to approve it.

A bundle that was refused came from anybody: what is shown of it is bounded, and no character of it reaches the
terminal that could do more there than stand for itself.
"""

import difflib
import io
import itertools
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from fl_app.errors import UsageError
from fl_app.system.printable import printable

MAX_FILE = 4 << 20
MAX_TOTAL = 64 << 20
MAX_FILES = 5000
_MANIFEST = ".info/CONTENT"  # Flower's list of the other files and their hashes
_CONTEXT = 2
_CODE = frozenset({".py", ".pyi", ".pth", ".toml", ".cfg"})
_RUN = re.compile(r"\s{40,}")
_ALIKE = 4
"""Lines alike that are shown one by one; more of them only push what follows out of sight."""


@dataclass(frozen=True)
class FileChange:
    """One file that is not the same: how many lines came and went, and the unified diff, one text a line."""

    name: str
    kind: str
    added: int
    removed: int
    lines: tuple[str, ...]


def files_of(content: bytes) -> dict[str, bytes]:
    """Return the files in a bundle.

    Raises
    ------
    UsageError
        If it is no bundle, is too large once unpacked, or names a file twice or in a way that hides where it goes.
    """
    files: dict[str, bytes] = {}
    total = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MAX_FILES:
                raise UsageError(f"not an app's bundle: it has {len(members)} files")
            for member in members:
                name = member.filename
                plain = not name.startswith("/") and ".." not in name.split("/") and "\\" not in name
                if not plain or str(PurePosixPath(name)) != name or name in files:
                    raise UsageError(f"not an app's bundle: the file name {name!r} is repeated or not a plain one")
                with archive.open(member) as file:
                    data = file.read(MAX_FILE + 1)
                total += len(data)
                if len(data) > MAX_FILE or total > MAX_TOTAL:
                    raise UsageError(f"not an app's bundle: {name!r} is larger than source code is")
                files[name] = data
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UsageError("not an app's bundle: it cannot be read as a zip archive") from error
    if "pyproject.toml" not in files:
        raise UsageError("not an app's bundle: it has no pyproject.toml")
    return files


def difference(old: bytes | None, new: bytes) -> list[FileChange]:
    """Return what changed from bundle ``old`` (None: from nothing) to bundle ``new``, by name; [] for the same files.

    Raises
    ------
    UsageError
        As `files_of`.
    """
    before: Mapping[str, bytes] = files_of(old) if old is not None else {}
    after = files_of(new)
    names = sorted((before.keys() | after.keys()) - {_MANIFEST})
    return [_change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def visible(text: str) -> str:
    """Return ``text`` with every character that would not simply be shown written as its escape."""
    return printable(text, keep="\t")


def _change(name: str, before: bytes | None, after: bytes | None) -> FileChange:
    kind = "new" if before is None else "gone" if after is None else "changed"
    code = PurePosixPath(name).suffix in _CODE
    old, new = _lines(before, code=code), _lines(after, code=code)
    if old is None or new is None:
        sizes = " to ".join(f"{len(data)} bytes" for data in (before, after) if data is not None)
        return FileChange(visible(name), kind, 0, 0, (f"not text: {sizes}",))
    changed = list(difflib.unified_diff(old, new, "approved", "new", lineterm="", n=_CONTEXT))[2:]
    added, removed = (sum(line.startswith(sign) for line in changed) for sign in "+-")
    return FileChange(visible(name), kind, added, removed, tuple(_without_padding(map(visible, changed))))


def _without_padding(lines: Iterable[str]) -> Iterator[str]:
    """Give lines such that what is in them cannot be moved out of sight by spaces, nor what follows by like lines."""
    for line, alike in itertools.groupby(lines):
        shown = _RUN.sub(lambda run: f" [{len(run[0]):,} spaces] ", line)
        times = len(list(alike))
        yield from itertools.repeat(shown, min(times, _ALIKE))
        if times > _ALIKE:
            yield f"[the line above {times - _ALIKE:,} times more]"


def _lines(data: bytes | None, *, code: bool) -> list[str] | None:
    """Return the lines of a text, split where Python splits them; None for what is no text.

    Of code, bytes that are not UTF-8 are shown as escapes: Python runs a file in another encoding if the file names it.
    """
    try:
        text = (data or b"").decode(errors="backslashreplace" if code else "strict")
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, f"{last} (no line end)"] if last else lines
