"""The four packages as syntax trees: their modules, and which of them each one imports."""

import ast
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("fl_app", "client", "strategies", "server")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES: Mapping[str, Path] = {module_name(path): path for path in FILES}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imported(tree: ast.AST, path: Path, *, while_typing: bool = True) -> Iterator[str]:
    """Every module that a file imports, at its top or later, under its full name."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in _nodes(tree, while_typing):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _nodes(tree: ast.AST, while_typing: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not while_typing:
            continue
        yield node
        yield from _nodes(node, while_typing)


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules of these packages that ``module`` imports when it runs: the file that defines a name, not the package
    around it."""
    path = MODULES[module]
    named = set(imported(ast.parse(path.read_text("utf-8")), path, while_typing=False)) & MODULES.keys()
    # `from a import b` names both a and a.b: where b is a module, a itself is only on the way.
    return frozenset(name for name in named if not any(other.startswith(f"{name}.") for other in named)) - {module}


def closure(roots: Collection[str], but: Collection[tuple[str, str]] = ()) -> set[str]:
    """``roots`` and all modules that they need; ``but`` are imports, as pairs of modules, that are not followed."""
    reached, waiting = set[str](), list(roots)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += [other for other in imports_of(module) if (module, other) not in but]
            if parent := module.rpartition(".")[0]:
                waiting.append(parent)
    return reached


def cycles(but: Collection[tuple[str, str]] = ()) -> list[list[str]]:
    """Every set of modules of which each one imports, over others perhaps, each other one."""
    reach = {
        module: {other for first in imports_of(module) if (module, first) not in but for other in _reached(first, but)}
        for module in MODULES
    }
    rings = {frozenset({a, *(b for b in reach[a] if a in reach[b])}) for a in MODULES if a in reach[a]}
    return sorted(sorted(ring) for ring in rings)


def _reached(start: str, but: Collection[tuple[str, str]]) -> set[str]:
    reached, waiting = set[str](), [start]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += [other for other in imports_of(module) if (module, other) not in but]
    return reached
