"""A process that has collected all tests of attacks, and runs each in a fork of itself: with one check taken out there.

A function without its check takes the place of the function's code, wherever that is held. Nothing on disk changes.
"""

import gc
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from tests.adversary.checks import ROOT, Check

HERE = "tests/adversary"


@dataclass(frozen=True)
class Try:
    """Tests to run, without a check or, where all stay in place, with these ones' functions compiled anew."""

    tests: tuple[str, ...]
    without: Check | None = None
    anew: tuple[Check, ...] = ()


@dataclass
class Outcome:
    """How many tests passed or failed by an assertion, and what else went wrong."""

    passed: int = 0
    asserted: int = 0
    errors: list[str] = field(default_factory=list)


def outcomes(tries: Sequence[Try], directory: Path, jobs: int) -> list[Outcome]:
    """Carry tries out, ``jobs`` at a time; raises `RuntimeError` if the tests cannot be collected.

    It is called once in a process, which has not imported the code before.
    """
    files = {test.partition("::")[0] for each in tries for test in each.tests}
    forks, told = _Forks(tries, directory, jobs), io.StringIO()
    # In memory, as forks would share a file. Only the plugins that the tests need, for speed.
    options = ["-q", "--capture=sys", "-p", "no:cacheprovider", "-p", "pytest_timeout", f"--rootdir={ROOT}"]
    os.chdir(ROOT)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with redirect_stdout(told):
        pytest.main([*options, *sorted(f"{HERE}/{file}" for file in files)], plugins=[forks])
    if len(forks.outcomes) != len(tries):
        raise RuntimeError(f"the tests of attacks cannot be run: {told.getvalue()[-2000:]}")
    return forks.outcomes


class _Forks:
    """A plugin: carries tries out in place of running the tests that were collected."""

    def __init__(self, tries: Sequence[Try], directory: Path, jobs: int) -> None:
        self._tries, self._directory, self._jobs = tries, directory, jobs
        self.outcomes: list[Outcome] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return True
        for module in {check.module for each in self._tries for check in (*each.anew, each.without) if check}:
            import_module(module.removesuffix(".py").replace("/", "."))  # some are imported where they are needed
        gc.unfreeze()  # what tests/conftest.py has frozen is in no list
        functions = [thing for thing in gc.get_objects() if type(thing) is FunctionType]
        gc.freeze()  # no fork looks through what is there already
        running = 0
        for place, each in enumerate(self._tries):
            if running == self._jobs:
                os.wait()
                running -= 1
            if not os.fork():
                _in_fork(session, functions, each, self._directory / str(place))
            running += 1
        for _ in range(running):
            os.wait()
        for place in range(len(self._tries)):
            told = self._directory / str(place) / "outcome"
            self.outcomes.append(Outcome(**json.loads(told.read_text())) if told.exists() else Outcome(errors=["died"]))
        return True


def _in_fork(session: pytest.Session, functions: list[FunctionType], each: Try, directory: Path) -> None:
    """Carry one try out, leave its outcome in the directory, and end this process."""
    record = _Record()
    try:
        directory.mkdir()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(directory)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        for check in each.anew:
            _replace(functions, check, (ROOT / check.module).read_text())
        if each.without:
            _replace(functions, each.without, each.without.disabled())
        session.config.pluginmanager.register(record)
        wanted = {os.path.normpath(f"{HERE}/{test}") for test in each.tests}
        items = [item for item in session.items if {item.nodeid, item.nodeid.partition("[")[0]} & wanted]
        for item, after in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
    except BaseException as error:
        record.outcome.errors.append(repr(error)[:300])
    finally:
        (directory / "outcome").write_text(json.dumps(vars(record.outcome)))
        os._exit(0)


class _Record:
    """A plugin that notes how each test ends."""

    def __init__(self) -> None:
        self.outcome = Outcome()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if call.excinfo is None:
            self.outcome.passed += call.when == "call"
        elif call.when == "call" and _is_assertion(call.excinfo):
            self.outcome.asserted += 1
        else:
            self.outcome.errors.append(f"{item.name}: {call.excinfo.exconly()}"[:300])
        return report


def _is_assertion(failure: "pytest.ExceptionInfo[BaseException]") -> bool:
    """Say whether a test failed by what it asserts: not because it hung, which pytest-timeout ends as a failure too."""
    return failure.errisinstance((AssertionError, pytest.fail.Exception)) and "Timeout" not in failure.exconly()[:20]


def _replace(functions: list[FunctionType], check: Check, source: str) -> None:
    """Let the function of a check, and those around it, run as in ``source``; `LookupError` if they are not found."""
    path = str(ROOT / check.module)
    parts = check.function.split(".")
    names = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    new: dict[str, CodeType] = {}
    for code in _codes(compile(source, path, "exec")):
        name = code.co_qualname.replace("<locals>.", "")
        if name in names and name in new:
            raise LookupError(f"{check.module} has more than one {name}")
        new[name] = code
    live = [function for function in functions if function.__code__.co_filename == path]
    found = 0
    for function in live:
        name = function.__code__.co_qualname.replace("<locals>.", "")
        if name in names:
            function.__code__ = new[name]
            found += 1
    if not found:
        raise LookupError(f"{check.module} has no {check.function} that could be called")


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield every code object inside one, at any depth."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes(inner)
