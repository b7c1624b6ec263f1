"""Comparing what results.json says of metrics, whose intervals lie one level deeper."""

from collections.abc import Mapping
from typing import Any

import pytest


def close(metrics: Mapping[str, Any], **tolerance: float) -> dict[str, Any]:
    """Return metrics so that those with numbers within a tolerance are equal; as for `pytest.approx`."""
    return {
        name: close(value, **tolerance) if isinstance(value, Mapping) else pytest.approx(value, **tolerance)
        for name, value in metrics.items()
    }
