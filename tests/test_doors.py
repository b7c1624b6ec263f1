"""The import boundary is the trust boundary: arrows run one way, and upward only through the doors."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_app import doors

ROOT = Path(__file__).parents[1]
ROOMS = ("fl_app", "client", "strategies", "server")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MAY_IMPORT = {
    "fl_app": {"fl_app"},
    "client": {"client", "fl_app"},
    "strategies": {"strategies", "fl_app"},
    "server": {"server", "strategies", "fl_app"},
}
MUST_NOT_IMPORT = {
    "fl_app.secagg": ("flwr", "torch", "pandas", "fl_app.tabular", "fl_app.wire"),
    "fl_app.tabular": ("flwr", "fl_app.secagg", "fl_app.wire"),
}
IMPORT_BY_NAME = {"importlib", "__import__", "imp", "pkgutil"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imported(tree: ast.Module, path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or later, under its full name."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def breaches(source: str, path: Path) -> list[str]:
    """What in the file ``path`` with text ``source`` breaks the rules of the house."""
    tree, here = ast.parse(source), module_name(path)
    modules = set(imported(tree, path))
    found = [
        f"{here} imports {module}"
        for module in modules
        if module.partition(".")[0] in ROOMS and module.partition(".")[0] not in MAY_IMPORT[here.partition(".")[0]]
    ]
    for package, banned in MUST_NOT_IMPORT.items():
        if within(here, package):
            found += [f"{here} imports {module}" for module in modules for name in banned if within(module, name)]
    if here != "fl_app.doors":
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        # importlib.metadata reads what is installed and imports nothing.
        used = names | {module.partition(".")[0] for module in modules if not within(module, "importlib.metadata")}
        found += [f"{here} uses {name}" for name in used & IMPORT_BY_NAME]
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_arrows_run_one_way(path: Path) -> None:
    assert breaches(path.read_text("utf-8"), path) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("fl_app/cli.py", "import client.ledger"),
        ("fl_app/cli.py", "def f():\n    from server import app"),
        ("fl_app/tabular/model.py", "from ...client import ledger"),
        ("client/app.py", "from server.app import app"),
        ("server/app.py", "from client import ledger"),
        ("strategies/secure.py", "import server"),
        ("fl_app/secagg/field.py", "import torch.nn"),
        ("fl_app/secagg/__init__.py", "from .. import tabular"),
        ("fl_app/secagg/field.py", "from fl_app import tabular"),
        ("fl_app/tabular/model.py", "from flwr.app import Context"),
        ("fl_app/tabular/model.py", "from fl_app.secagg import field"),
        ("fl_app/cli.py", "from importlib import import_module"),
        ("client/run.py", "import importlib.util"),
        ("server/app.py", "import importlib.metadata\nimportlib.import_module('client.ledger')"),
        ("client/run.py", "x = __import__('server')"),
    ],
)
def test_the_test_sees_a_breach(file: str, source: str) -> None:
    assert len(breaches(source, ROOT / file)) >= 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("server/app.py", "from strategies import secure\nimport fl_app.pods, flwr, torch"),
        ("client/app.py", "from fl_app.secagg import session\nfrom . import ledger"),
        ("fl_app/doors.py", "import importlib"),
        ("server/app.py", "from importlib.metadata import version"),
        ("fl_app/secagg/__init__.py", "from .field import Q\nimport numpy"),
    ],
)
def test_the_test_lets_the_right_imports_pass(file: str, source: str) -> None:
    assert breaches(source, ROOT / file) == []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fl_app", {"flwr", "torch", "pandas", "pydantic"}),
        ("fl_app.secagg", {"flwr", "torch", "pandas"}),
        ("fl_app.federation", {"flwr", "torch", "pandas", "client", "server", "strategies"}),
        ("fl_app.keys", {"flwr", "torch", "pandas", "client", "server", "strategies"}),
    ],
)
def test_light_modules_load_nothing_heavy(module: str, absent: set[str]) -> None:
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.split())
    assert "fl_app" in loaded
    assert not loaded & absent


@pytest.mark.parametrize("name", doors.DOORS)
def test_every_door_leads_to_a_room_above_and_to_something_in_it(name: str) -> None:
    module, _, attribute = doors.DOORS[name].partition(":")
    assert module.partition(".")[0] in {"client", "server", "strategies", "fl_app"}
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text("utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    named = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}  # type: ignore[attr-defined]
    assert attribute in defined | named


def test_a_door_opens_on_what_it_names() -> None:
    import client.run

    assert doors.open_door("pod.start") is client.run.start


def test_there_is_no_other_door() -> None:
    with pytest.raises(KeyError):
        doors.open_door("client.run:start")
    with pytest.raises(TypeError):
        doors.DOORS["pod.start"] = "x:y"  # type: ignore[index]
