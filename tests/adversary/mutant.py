"""A process that has everything imported but the code itself, and runs tests on one copy of that after another.

Each line of standard input is a JSON list: the directory of a copy, and the tests to run there. The process forks, the
child imports the copy and runs them, and one line of JSON on standard output says what became of them.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this file's own directory

import flwr.clientapp
import flwr.serverapp.strategy  # noqa: F401
import hypothesis  # noqa: F401
import pydantic.root_model  # noqa: F401
import pytest
from cryptography.hazmat.primitives import hpke  # noqa: F401


class Record:
    """Collects outcomes: passed, failed by an assertion, or failed by something else."""

    def __init__(self) -> None:
        self.passed = self.asserted = 0
        self.errors: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if call.excinfo is None:
            self.passed += call.when == "call"
        elif call.when == "call" and call.excinfo.errisinstance((AssertionError, pytest.fail.Exception)):
            self.asserted += 1
        else:
            self.errors.append(f"{item.name}: {call.excinfo.exconly()}"[:300])
        return report


def run(directory: str, tests: list[str]) -> dict[str, Any]:
    """Run tests of the copy in ``directory``; in a process that has imported nothing of the code before."""
    os.chdir(directory)
    sys.path.insert(0, directory)
    # What is compiled here is found by the next: the code by its hash, for a check is taken out of a file within the
    # second in which it was written; pytest's own copies of the tests by their time, for no attack changes a test.
    sys.dont_write_bytecode = False
    import client
    import fl_app
    import tests as copied

    if any(not Path(str(package.__file__)).is_relative_to(directory) for package in (client, fl_app, copied)):
        return {"passed": 0, "asserted": 0, "errors": ["the code was imported from elsewhere"]}
    record = Record()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = ["-p", "no:cacheprovider", "-p", "pytest_timeout"]
    pytest.main(["-q", f"--basetemp={directory}/.tests", *plugins, *tests], plugins=[record])
    return vars(record)


def main() -> None:
    """Serve until standard input ends."""
    gc.freeze()  # no child looks through what is imported here
    for line in sys.stdin:
        directory, tests = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            try:
                outcome = run(directory, tests)
            except BaseException as error:
                outcome = {"passed": 0, "asserted": 0, "errors": [repr(error)[:300]]}
            os.write(writer, json.dumps(outcome).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read().decode()
        os.waitpid(child, 0)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
