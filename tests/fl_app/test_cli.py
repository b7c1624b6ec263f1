"""The command line from outside: help for every word, with an example that is right, and nothing loaded for it."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from fl_app.cli import COMMANDS, group, main

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "flwr", "ray", "pandas", "pyarrow", "sklearn", "matplotlib"}
ROOMS = {"server", "client", "strategies"}
# `fit`, `demo` and `tune` describe their settings by the objects that hold them.
BY_OBJECTS = {("fit",), ("demo",), ("tune",)}


def words_of(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and every group of commands, from the whole down."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from words_of(child, (*path, name))


EVERY = list(words_of(group))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_the_walk_finds_nouns_and_verbs() -> None:
    assert {(name,) for name in COMMANDS} < set(EVERY)
    assert {("pod", "approve-app"), ("superlink", "renew"), ("runs", "compare")} < set(EVERY)


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_help_says_what_it_does_and_has_an_example(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(capsys, *words, "--help")
    assert (code, err) == (0, "")
    usage, description = out.split("\n\n")[:2]
    assert usage.startswith(f"Usage: {' '.join(('fl-app', *words))} ")
    assert len(description.split()) > 3
    example = re.search(r"Example: (fl-app .+)", " ".join(out.split()))
    assert example
    assert shlex.split(example[1])[1 : 1 + len(words)] == list(words)
    parsed = parse(shlex.split(example[1])[1:], tmp_path, monkeypatch)
    assert parsed is not group
    assert not isinstance(parsed, click.Group) or parsed.invoke_without_command


def parse(arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch) -> click.Command:
    """Let click read a command line, where the files exist that it names, and return the command that is meant."""
    monkeypatch.chdir(place)
    for argument in arguments:
        if Path(argument).suffix and not argument.startswith("-"):
            (place / argument).write_text("")
    (place / "superlink").mkdir()
    output = [place / arguments[at + 1] for at, argument in enumerate(arguments[:-1]) if argument == "-o"]
    for path in output:
        path.unlink()
    if ">" in arguments:  # the rest is the shell's
        arguments = arguments[: arguments.index(">")]
    context = group.make_context("fl-app", arguments)
    while isinstance(context.command, click.Group):
        command = context.command
        if not (left := [*context._protected_args, *context.args]):
            break
        _, child, rest = command.resolve_command(context, left)
        assert child is not None
        context = child.make_context(child.name, rest, parent=context)
    return context.command


# Runs command lines one after another in one process, and tells after each which packages it has loaded.
ONE_BY_ONE = """
import contextlib, io, json, sys
from fl_app.cli import main
for arguments in json.load(sys.stdin):
    before = set(sys.modules)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main(arguments)
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    print(json.dumps([arguments, sorted(loaded), said.getvalue()]))
"""


def loaded_by(command_lines: list[list[str]], place: Path) -> list[tuple[list[str], set[str], str]]:
    """Each command line with the top-level packages that it was the first to load, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE],
        cwd=place,
        env={"HOME": str(place), "PYTHONPATH": str(ROOT)},
        input=json.dumps(command_lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = map(json.loads, done.stdout.splitlines())
    return [(arguments, set(loaded), said) for arguments, loaded, said in found]


def test_the_list_of_commands_loads_none_of_them(tmp_path: Path) -> None:
    ((_, loaded, said),) = loaded_by([["--help"]], tmp_path)
    assert "Commands:" in said
    assert not (HEAVY | ROOMS | {"numpy", "pydantic", "rich", "yaml", "cryptography"}) & loaded


def test_no_help_waits_for_heavy_packages(tmp_path: Path) -> None:
    asked = [[*words, "--help"] for words in EVERY if words not in BY_OBJECTS]
    found = loaded_by(asked, tmp_path)
    assert len(found) == len(EVERY) - len(BY_OBJECTS)
    for arguments, loaded, said in found:
        assert "Example:" in said, arguments
        assert not (HEAVY | {"numpy", "pydantic", "rich", "cryptography"}) & loaded, arguments


@pytest.mark.parametrize("words", sorted(BY_OBJECTS), ids=" ".join)
def test_the_help_of_a_run_waits_for_nothing_heavy_either(words: tuple[str, ...], tmp_path: Path) -> None:
    ((_, loaded, said),) = loaded_by([[*words, "--help"]], tmp_path)
    assert "Example:" in said
    assert not HEAVY & loaded


def test_commands_that_only_look_load_only_what_they_look_with(tmp_path: Path) -> None:
    made = tmp_path / "runs/one"
    made.mkdir(parents=True)
    (made / "config.json").write_text('{"run": {"pods": ["a", "b"], "rounds": 1}}')
    (made / "results.json").write_text('{"status": "failed", "error": "no cohort", "rounds": []}')
    looks = {
        ("runs", "list"): "failed",
        ("runs", "--json"): '"no cohort"',
        ("runs", "show", "one"): "no cohort",
        ("runs", "remove", "two", "--yes"): "no run directory",
        ("pod", "known"): "no pod is known",
        ("pod", "keygen", "hospital-a"): "fingerprint",
        ("pod", "log", "hospital-a"): "no ledger",
        ("pod", "pause", "hospital-a"): "is paused",
        ("pod", "status", "hospital-a"): "not online",
        ("modeller", "card"): "no modeller has a key",
        ("superlink", "status", "runs"): "not a SuperLink's directory",
        ("doctor",): "ok     torch",
        ("export", "nothing"): "no run directory",
        ("report", "nothing"): "no run directory",
    }
    for arguments, loaded, said in loaded_by([list(look) for look in looks], tmp_path):
        assert looks[tuple(arguments)] in said
        assert not HEAVY & loaded, arguments


def test_without_arguments_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys)
    assert code == 2
    assert "Commands:" in err


def test_it_names_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert re.search(r"\d+\.\d+", out)


def test_the_help_documents_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    from fl_app import errors
    from server.commands.fit import Stopped

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FlAppError)]
    documented = run(capsys, "--help")[1].partition("Exit codes:")[2].partition("Example:")[0]
    for code in {0, *(kind.exit_code for kind in (*kinds, Stopped))}:
        assert re.search(rf"\b{code} ", documented), code


def test_a_reader_that_goes_away_is_no_mistake(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from fl_app.cli import main; main()", "runs", "list"]
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert "Traceback" not in said
