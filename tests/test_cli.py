import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fl_app.cli import COMMANDS, group, main

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "flwr", "pandas", "numpy", "pydantic", "rich", "server", "client", "strategies"}


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something by itself."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield path
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_of_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    for words in commands(command, (name,)):
        code, out, _ = run(capsys, *words, "--help")
        assert code == 0
        example = re.search(r"Examples?:\s+(fl-app .+)", " ".join(out.split()))
        assert example, f"fl-app {' '.join(words)} --help has no example"
        assert shlex.split(example[1])[1 : 1 + len(words)] == list(words)


def loaded_by(*arguments: str) -> set[str]:
    """The top-level packages that a process has loaded once it has answered."""
    program = (
        "import sys\nfrom fl_app.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "--help" in done.stdout
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_help_imports_nothing_heavy() -> None:
    assert not HEAVY & loaded_by("--help")


@pytest.mark.parametrize("name", ["pods", "runs", "export", "predict", "report", "doctor"])
def test_the_help_of_a_command_waits_for_neither_torch_nor_flower(name: str) -> None:
    assert not {"torch", "flwr", "pandas"} & loaded_by(name, "--help")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demoo"], "No such command 'demoo'"),
        (["--nothing"], "No such option"),
        (["demo", "--rounds", "many"], "'many' is not a valid integer"),
        (["demo", "--architecture", "x"], "is not one of"),
        (["export", "latest", "--format", "h5"], "is not one of 'safetensors', 'pt', 'onnx', 'pt2'"),
        (["predict", "latest"], "Missing argument 'TABLE'"),
        (["predict", "latest", "no.csv"], "'no.csv' does not exist"),
        (["runs", "show", "nothing"], "no run directory"),
        (["report", "nothing"], "no run directory"),
    ],
)
def test_a_wrong_argument_is_one_line_and_code_2(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("fl-app: ")
    assert err.count("\n") == 1
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_without_arguments_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys)
    assert code == 2
    assert "Commands:" in err


def test_it_names_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert re.search(r"\d+\.\d+", out)
