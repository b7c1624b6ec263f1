"""What of a federation goes into a run's directory: the modeller's own settings, which no pod is sent."""

from pathlib import Path
from typing import Any

from fl_app.federation import Federation

MEMBERSHIP_CHANGES = 3
"""How often a run goes on after pods were lost; their owners may allow less."""


def modeller_settings(federation: Federation, test_file: Path | None = None) -> dict[str, Any]:
    """Return the federation's name and where it is written, and the public test file with how to read it."""
    path = test_file or federation.test_file
    return {
        "federation": federation.name,
        "source": federation.source,
        "test_file": str(path.resolve()) if path else None,
        "test_read_options": dict(federation.test_read_options),
    }
