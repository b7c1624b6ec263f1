"""What each test takes of the processors, it and all processes it starts: ``pytest -p tests.support.processor_time``.

Unlike the time on the clock, that hardly depends on what else runs. With control groups (Linux, as root) it is exact;
without them it leaves out processes that nobody waited for.
"""

import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

_GROUPS = Path("/sys/fs/cgroup/cpuacct")
_OWN = "processor time"
"""The name in a report's ``user_properties``, which the workers of xdist send to the process that reports."""
_spent: dict[str, tuple[float, float]] = {}


class _Meter:
    """Counts what this process and its descendants use."""

    def __init__(self) -> None:
        self._group: Path | None = _GROUPS / f"fl-app-tests-{os.getpid()}"
        try:
            self._group.mkdir()
            (self._group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            self._group = None

    def seconds(self) -> float:
        if self._group:
            return int((self._group / "cpuacct.usage").read_text()) / 1e9
        return sum(os.times()[:4])


_meter: _Meter | None = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    global _meter
    _meter = _meter or _Meter()
    item.user_properties.append((_OWN, (_meter.seconds(), time.monotonic())))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    ((before, began),) = [value for name, value in item.user_properties if name == _OWN]
    if report.when == "teardown" and _meter:
        report.user_properties = [(_OWN, (_meter.seconds() - before, time.monotonic() - began))]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties:
        if name == _OWN and report.when == "teardown":
            _spent[report.nodeid] = value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List tests by the seconds of a processor that they took, then files."""
    terminalreporter.section("processor seconds, seconds on the clock")
    for line in _lines():
        terminalreporter.write_line(line)


def _lines() -> Iterator[str]:
    files: dict[str, list[float]] = {}
    for test, (seconds, clock) in _spent.items():
        file = files.setdefault(test.partition("::")[0], [0.0, 0.0])
        file[0] += seconds
        file[1] += clock
    for table in (_spent, files):
        for name, (seconds, clock) in sorted(table.items(), key=lambda entry: -entry[1][0])[:120]:
            if seconds >= 0.5:
                yield f"{seconds:8.1f} {clock:8.1f}  {name}"
    yield f"{sum(seconds for seconds, _ in _spent.values()):8.1f}           together"
