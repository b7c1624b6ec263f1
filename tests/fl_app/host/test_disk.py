"""A full disk is named by the place at which it is mounted."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from fl_app.host.disk import full_disks, mount_point

Usage = namedtuple("Usage", "total used free")


def test_the_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path in (tmp_path / "full", tmp_path / "free", Path("/")))
    free = {tmp_path / "full": 0, tmp_path / "free": 1 << 30}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, free[path]))
    run, scratch = tmp_path / "full" / "runs" / "one", tmp_path / "free" / "scratch"
    assert mount_point(run) == tmp_path / "full"
    told = f"the disk is full: make room on {tmp_path / 'full'}, which holds {run}"
    assert full_disks(run, scratch) == full_disks(run, run) == told


def test_a_quota_is_on_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 0, 1 << 30))
    assert full_disks(tmp_path).endswith(f"make room in {tmp_path}")
