"""Files that several processes use, and disks that take no more."""

import errno
import sqlite3
from pathlib import Path

import pytest

from fl_app.system.files import has_no_space


def test_a_full_disk_is_found_behind_what_it_led_to() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    later, told = RuntimeError("could not be recorded"), RuntimeError("could not be told")
    later.__cause__, told.__context__ = full, later
    assert has_no_space(told)
    assert not has_no_space(OSError(errno.EACCES, "Permission denied"))
    assert not has_no_space(None)


def test_a_database_that_cannot_grow_is_a_full_disk(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "ledger.db")
    database.execute("PRAGMA max_page_count = 2")
    database.execute("CREATE TABLE entries (detail)")
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("INSERT INTO entries VALUES (?)", ("x" * 100_000,))
    database.close()
    assert has_no_space(caught.value)
    assert not has_no_space(sqlite3.OperationalError("no such table"))
