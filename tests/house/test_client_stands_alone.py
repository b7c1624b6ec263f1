"""The pod's half of secure aggregation can be used by an app that has nothing to do with tables."""

import subprocess
import sys
from pathlib import Path

from tests.house.source import ROOT

PROGRAM = """
import sys
from flwr.clientapp import ClientApp
before = set(sys.modules)
from client import MaskedApp, Owner, owner_of
masked = MaskedApp(ClientApp(), owner=lambda context: None)
masked.train()(lambda message, context: message)
Owner.__dataclass_fields__
print(*(set(sys.modules) - before))
"""
TABULAR = ("fl_app.tabular", "fl_app.config", "fl_app.federation", "client.app.main", "client.app.pod_table")
HEAVY = {"torch", "pandas", "sklearn", "pyarrow"}


def loaded(program: str, directory: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(done.stdout.split())


def of_the_table(modules: set[str]) -> set[str]:
    return {
        module
        for module in modules
        if module.partition(".")[0] in HEAVY or any(f"{module}.".startswith(f"{name}.") for name in TABULAR)
    }


def test_a_masked_app_needs_nothing_of_the_table(tmp_path: Path) -> None:
    modules = loaded(PROGRAM, tmp_path)
    assert "client.app.masked_app" in modules
    assert of_the_table(modules) == set()


def test_the_tables_own_app_would_be_seen(tmp_path: Path) -> None:
    assert of_the_table(loaded(PROGRAM + "import client.app.main\nprint(*sys.modules)", tmp_path)) >= {"fl_app.config"}
