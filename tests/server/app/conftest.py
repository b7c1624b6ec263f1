from pathlib import Path

import pytest

from tests.support.small_federation import in_this_process


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory with a home of its own, where runs take place in this process."""
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    in_this_process(monkeypatch)
    return tmp_path
