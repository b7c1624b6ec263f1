"""Commands print through `fl_app.host.echo` and `PlainConsole`, to which no text is more than text."""

import ast
from pathlib import Path

import pytest

from tests.house.source import FILES, module_name

PRINTS = {"echo", "secho", "print", "write", "style"}
OWN = {"fl_app.host.echo": {"echo"}}
"""Where click itself is called."""
COMMANDS = [path for path in FILES if ".commands" in module_name(path) or module_name(path).startswith("fl_app.host")]
COMMANDS += [path for path in FILES if module_name(path) in ("fl_app.cli", "fl_app")]


def prints(source: str) -> set[str]:
    """The calls in a file that write to the terminal as they are given: click's, print, and those of sys's streams."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = {call.id for call in calls if isinstance(call, ast.Name) and call.id == "print"}
    methods = [call for call in calls if isinstance(call, ast.Attribute)]
    found |= {
        call.attr for call in methods if call.attr in PRINTS and ast.unparse(call.value) in ("click", "sys.stdout")
    }
    return found | {"Console" for call in calls if ast.unparse(call) in ("Console", "rich.console.Console")}


@pytest.mark.parametrize("path", COMMANDS, ids=module_name)
def test_no_command_prints_by_itself(path: Path) -> None:
    assert prints(path.read_text("utf-8")) <= OWN.get(module_name(path), set())


@pytest.mark.parametrize(
    "source", ["click.echo(x)", "print(x)", "sys.stdout.write(x)", "click.secho(x)", "Console().print(x)"]
)
def test_printing_is_found(source: str) -> None:
    assert prints(source)
