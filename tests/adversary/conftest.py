from pathlib import Path

import pytest

from tests.adversary.server import Server


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A dishonest server with three pods that have joined its session."""
    server = Server(tmp_path, 3)
    server.join()
    return server
