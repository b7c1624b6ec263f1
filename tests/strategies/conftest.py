from pathlib import Path

import pytest

from tests.strategies.linear_pods import LinearPods


@pytest.fixture
def pods(tmp_path: Path) -> LinearPods:
    """Pods that train a linear model, behind an in-process grid."""
    return LinearPods(tmp_path)
