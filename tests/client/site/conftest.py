"""A pod of the tests' small app, and the process that waits with the app: one for each file of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.site.warm_app import WarmApp
from tests.support.small_app import POD


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of pod north; two directories above is its file, north.yaml."""
    root = tmp_path_factory.mktemp("pod")
    directory = root / "pods" / "north"
    directory.mkdir(parents=True)
    (root / "north.yaml").write_text(POD)
    return directory


@pytest.fixture(scope="module")
def warm(home: Path) -> Iterator[WarmApp]:
    app = WarmApp(home)
    yield app
    app.close()
