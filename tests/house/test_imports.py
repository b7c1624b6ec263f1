"""The import boundary is the trust boundary: arrows run one way, and what travels imports nothing that stays."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import fl_app
from fl_app.cli import COMMANDS
from tests.house.source import FILES, MODULES, PACKAGES, ROOT, closure, cycles, imported, module_name, within

TRAVELS = (
    *("fl_app", "fl_app.config", "fl_app.errors", "fl_app.run_plan", "fl_app.validation", "fl_app.demo"),
    *("fl_app.federation", "fl_app.flower", "fl_app.identity", "fl_app.pod", "fl_app.privacy", "fl_app.replica"),
    *("fl_app.secagg", "fl_app.system", "fl_app.tabular", "strategies", "client", "client.app", "server", "server.app"),
)
"""Packages and modules, without the packages in them, that are part of the bundle."""
MAY_IMPORT = {
    "fl_app": {"fl_app"},
    "client": {"client", "fl_app"},
    "strategies": {"strategies", "fl_app"},
    "server": {"server", "strategies", "fl_app"},
}
MUST_NOT_IMPORT = {
    "fl_app.secagg": ("flwr", "torch", "pandas", "fl_app.tabular", "fl_app.flower"),
    "fl_app.tabular": ("flwr", "fl_app.secagg", "fl_app.flower"),
    "fl_app.privacy": ("flwr", "torch", "pandas", "fl_app.flower"),
}
UPWARD = {("fl_app.pod.definition", "client.site.serve_pod")}
"""`Pod.start`: a definition that can be run."""
IMPORT_BY_NAME = {"importlib", "__import__", "imp", "pkgutil"}
LAZY = {"fl_app", "fl_app.cli", "client.site.flower_names"}
"""The front doors, whose names are imported when they are first used, and the probe of Flower's names, all strings."""


def travels(module: str) -> bool:
    return module in TRAVELS or module.rpartition(".")[0] in set(TRAVELS) - {"fl_app", "client", "server"}


def breaches(source: str, path: Path) -> list[str]:
    """What in the file ``path`` with text ``source`` breaks the rules of the house."""
    tree, here = ast.parse(source), module_name(path)
    while_typing = here != "fl_app"  # its lazy names
    modules = set(imported(tree, path, while_typing=while_typing))
    upward = {other for module, other in UPWARD if module == here}
    said = [
        f"{here} imports {module}"
        for module in modules
        if module.partition(".")[0] in PACKAGES
        and not any(within(module, other) for other in upward)
        and (
            module.partition(".")[0] not in MAY_IMPORT[here.partition(".")[0]]
            or (travels(here) and module in MODULES and not travels(module) and "." in module)
        )
    ]
    for package, banned in MUST_NOT_IMPORT.items():
        if within(here, package):
            said += [f"{here} imports {module}" for module in modules for name in banned if within(module, name)]
    if here not in LAZY:
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        # importlib.metadata reads what is installed and imports nothing.
        used = names | {module.partition(".")[0] for module in modules if not within(module, "importlib.metadata")}
        said += [f"{here} uses {name}" for name in used & IMPORT_BY_NAME]
    return said


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_arrows_run_one_way(path: Path) -> None:
    assert breaches(path.read_text("utf-8"), path) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("fl_app/cli.py", "import client.app.ledger"),
        ("fl_app/cli.py", "def f():\n    from server.app import main"),
        ("fl_app/tabular/network.py", "from ...client.app import ledger"),
        ("client/app/main.py", "from server.app.main import app"),
        ("server/app/main.py", "from client.app import ledger"),
        ("strategies/secure.py", "import server"),
        ("fl_app/secagg/field.py", "import torch.nn"),
        ("fl_app/secagg/__init__.py", "from .. import tabular"),
        ("fl_app/secagg/field.py", "from fl_app import tabular"),
        ("fl_app/tabular/network.py", "from flwr.app import Context"),
        ("fl_app/tabular/network.py", "from fl_app.secagg import field"),
        ("fl_app/errors.py", "from importlib import import_module"),
        ("client/site/serve_pod.py", "import importlib.util"),
        ("server/app/main.py", "import importlib.metadata\nimportlib.import_module('client.app.ledger')"),
        ("client/site/serve_pod.py", "x = __import__('server')"),
        ("client/app/owner.py", "from client.site.checks import examine"),
        ("client/app/owner.py", "def f():\n    from client.site import checks"),
        ("fl_app/pod/definition.py", "from fl_app.host.processes import GuardedProcess"),
        ("fl_app/pod/datasource.py", "from client.site.serve_pod import start"),
        ("server/app/recorder.py", "from server.display.progress import Progress"),
        ("strategies/steps.py", "from fl_app.host import bundle"),
    ],
)
def test_the_test_sees_a_breach(file: str, source: str) -> None:
    assert len(breaches(source, ROOT / file)) >= 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("server/app/main.py", "from strategies import secure\nimport fl_app.pod.definition, flwr, torch"),
        ("server/modeller/launch.py", "from server.app.run_directory import RunDirectory"),
        ("client/app/main.py", "from fl_app.secagg import pod_session\nfrom . import ledger"),
        ("fl_app/cli.py", "import importlib"),
        ("fl_app/pod/definition.py", "from client.site.serve_pod import start"),
        ("server/app/main.py", "from importlib.metadata import version"),
        ("fl_app/secagg/__init__.py", "from .field import Q\nimport numpy"),
    ],
)
def test_the_test_lets_the_right_imports_pass(file: str, source: str) -> None:
    assert breaches(source, ROOT / file) == []


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert cycles(UPWARD) == []


def test_a_ring_would_be_seen() -> None:
    assert any("client.site.serve_pod" in ring and "fl_app.pod.definition" in ring for ring in cycles())


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fl_app", {"flwr", "torch", "pandas", "pydantic"}),
        ("fl_app.secagg", {"flwr", "torch", "pandas"}),
        ("fl_app.federation.kinds", {"flwr", "torch", "pandas", "client", "server", "strategies"}),
        ("fl_app.host.party_keys", {"flwr", "torch", "pandas", "client", "server", "strategies"}),
        ("client", {"flwr", "torch", "pandas"}),
    ],
)
def test_light_modules_load_nothing_heavy(module: str, absent: set[str]) -> None:
    loaded = loaded_by(f"import {module}")
    assert "fl_app" in loaded or module == "client"
    assert not loaded & absent


def loaded_by(statement: str) -> set[str]:
    """The packages that a new interpreter has loaded after ``statement``; of this product's, every module."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    names = done.stdout.split()
    return {name.partition(".")[0] for name in names} | {name for name in names if name.partition(".")[0] in PACKAGES}


def test_every_lazy_name_is_imported_from_where_it_is_defined() -> None:
    tree = ast.parse((ROOT / "fl_app" / "__init__.py").read_text("utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {name: module for module, names in fl_app._MODULES.items() for name in names}
    assert lazy == typed
    assert sorted(lazy) == sorted(fl_app.__all__)
    for name, module in lazy.items():
        assert getattr(fl_app, name) is getattr(import_module(module), name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str) -> None:
    tree = ast.parse(MODULES[COMMANDS[name].module].read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_what_travels_is_what_the_two_apps_import() -> None:
    needed = closure(["client.app.main", "server.app.main"], UPWARD)
    assert {module for module in MODULES if travels(module)} == needed
