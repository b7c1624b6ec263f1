"""Run tests in the copy that is the current directory, and print what became of them as JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest


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


def main() -> None:
    """Run the tests named on the command line."""
    import client
    import fl_app
    import tests

    for package in (client, fl_app, tests):
        if not Path(str(package.__file__)).is_relative_to(Path.cwd()):
            raise SystemExit(f"{package.__name__} was imported from elsewhere")
    record = Record()
    code = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[record])
    print("\n" + json.dumps({"code": int(code), **vars(record)}))


if __name__ == "__main__":
    main()
