"""The turns of tests: who waits, and what a process that ends leaves."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.house.source import ROOT
from tests.support.slots import slot

HOLDER = "import sys; from tests.support.slots import slot\nwith slot('t', 2): print('has it', flush=True); input()"


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_a_third_waits_until_one_of_two_has_ended() -> None:
    command = [sys.executable, "-c", HOLDER]
    with (
        slot("t", 2) as mine,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == b"has it\n"
        got: list[int] = []

        def third() -> None:
            with slot("t", 2) as number:
                got.append(number)

        thread = threading.Thread(target=third)
        thread.start()
        thread.join(1)
        assert got == []
        other.kill()
        thread.join(30)
        assert got == [1 - mine]
