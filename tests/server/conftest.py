from pathlib import Path

import pytest

from fl_app.federation.kinds import SimulatedFederation
from tests.support.small_federation import isolate, small_federation


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedFederation:
    """Two small pods in a directory of their own, whose runs are carried out in this process."""
    isolate(monkeypatch, tmp_path)
    return small_federation(tmp_path)
