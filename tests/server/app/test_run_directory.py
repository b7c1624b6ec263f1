"""Where runs are kept: a directory each, with a name of its own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fl_app.errors import UsageError
from server.app import run_directory
from server.app.run_directory import RunDirectory, make_dated

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)


def test_a_name_that_is_taken_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["aaaa", "aaaa", "bbbb", "aaaa", "bbbb", "cccc"])
    monkeypatch.setattr("server.app.run_directory.secrets.token_hex", lambda _: next(drawn))
    made = [make_dated(tmp_path / "runs", NOW).name for _ in range(3)]
    assert made == [f"20260504-030201-{end}" for end in ("aaaa", "bbbb", "cccc")]


def test_where_all_names_are_taken_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = []
    monkeypatch.setattr("server.app.run_directory.secrets.token_hex", lambda _: draws.append(1) or "aaaa")
    make_dated(tmp_path, NOW)
    with pytest.raises(FileExistsError):
        make_dated(tmp_path, NOW)
    assert len(draws) == 1 + run_directory._DRAWS
    monkeypatch.setattr("server.app.run_directory.datetime", type("Clock", (), {"now": staticmethod(lambda _: NOW)}))
    with pytest.raises(UsageError, match="no run directory can be made here: 20 names of this second are taken"):
        RunDirectory.create(tmp_path, None)
