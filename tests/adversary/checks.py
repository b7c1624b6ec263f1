"""Where a check stands in the source, and the same source without it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CALL = re.compile(r"_?(verify|check|find)(_|$)")


@dataclass(frozen=True)
class Check:
    """One check: the raise or the call that stops an attack.

    Attributes
    ----------
    module : str
        Its file.
    function : str
        The function it stands in, with its class.
    statement : str
        Words of the statement, which occur in no other statement of the function.
    instead : str
        "": taking the check out means leaving the statement out. Otherwise ``statement`` is an expression on which
        the protection rests, and this is what stands in its place.
    """

    module: str
    function: str
    statement: str
    instead: str = ""

    def disabled(self) -> str:
        """Return the module's source without this check; raises `LookupError` unless it is found exactly once."""
        tree = ast.parse((ROOT / self.module).read_text())
        body = next((node for name, node in _functions(tree) if name == self.function), None)
        if body is None:
            raise LookupError(f"{self.module} has no {self.function}")
        without = _Without(self)
        without.visit(body)
        if without.found != 1:
            raise LookupError(f"{self.module} {self.function} has {without.found} x {self.statement!r}")
        return ast.unparse(ast.fix_missing_locations(tree))


class _Without(ast.NodeTransformer):
    """Takes one check out of a function, and counts how often it was found."""

    def __init__(self, check: Check) -> None:
        self.check, self.found = check, 0
        self._wanted = ast.unparse(ast.parse(check.statement, mode="eval")) if check.instead else check.statement

    def visit(self, node: ast.AST) -> ast.AST:
        if self.check.instead:
            if isinstance(node, ast.expr) and ast.unparse(node) == self._wanted:
                self.found += 1
                return ast.parse(self.check.instead, mode="eval").body
        elif isinstance(node, ast.Raise | ast.Expr | ast.Assign) and self._wanted in ast.unparse(node):
            self.found += 1
            return ast.Pass()
        return self.generic_visit(node)


def guards(module: str) -> Iterator[tuple[str, str]]:
    """Yield (function, statement) for every raise of a module, and for every call that only checks."""
    for name, function in _functions(ast.parse((ROOT / module).read_text())):
        for node in _own_statements(function):
            if isinstance(node, ast.Raise):
                yield name, ast.unparse(node)
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func).rpartition(".")[2]
                if _CALL.match(called):
                    yield name, ast.unparse(node)


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{node.name}"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node
            yield from _functions(node, f"{name}.")
        else:
            yield from _functions(node, prefix)


def _own_statements(function: ast.AST) -> Iterator[ast.AST]:
    """Walk a function, but not the functions inside it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node
            yield from _own_statements(node)
