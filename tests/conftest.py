"""Settings and fixtures that all tests share."""

import gc
import os
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.memory import place_in_memory
from tests.support.slots import slot

# pytest's own variable for where every tmp_path lies, which the workers of xdist are told too.
if place := place_in_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(place))

# No deadline, for machines of any speed; in CI the same examples each time, elsewhere new ones.
settings.register_profile("fl-app", deadline=None, max_examples=60, derandomize="CI" in os.environ)
settings.load_profile("fl-app")


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone thousands of tests and all that they import."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the test's time-out begins
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let two simulations start at a time: on a busy machine Ray, which some start, gives its helpers up."""
    with slot("simulation", 2) if item.get_closest_marker("simulation") else nullcontext():
        return (yield)


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of keys and a working directory that are the test's own."""
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
