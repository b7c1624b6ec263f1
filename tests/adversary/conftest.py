from pathlib import Path

import pytest

from tests.adversary.server import Server
from tests.support.one_day import on_one_day


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A dishonest server with three pods that have joined its session."""
    on_one_day(monkeypatch)
    server = Server(tmp_path, 3)
    server.join()
    return server
