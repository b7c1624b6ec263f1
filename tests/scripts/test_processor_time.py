"""`pytest -p tests.support.processor_time` counts what a test and all its processes take."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT
from tests.support.processor_time import _GROUPS

TEST = """
import subprocess, sys, time

BUSY = "import time; end = time.process_time() + 1.5\\nwhile time.process_time() < end: pass"

def test_waits():
    time.sleep(1)

def test_has_a_child_at_work():
    subprocess.run([sys.executable, "-c", BUSY])
"""


@pytest.mark.skipif(not os.access(_GROUPS, os.W_OK), reason="no control groups: the rest is the system's own count")
def test_a_childs_time_is_its_tests(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.processor_time", "-c", os.devnull]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [*command, "test_it.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout
    found = {
        name: float(seconds) for seconds, name in re.findall(r"^ *([\d.]+) +[\d.]+  \S+::(\w+)$", done.stdout, re.M)
    }
    assert found.keys() == {"test_has_a_child_at_work"}  # less than half a second is not listed
    assert 1.5 <= found["test_has_a_child_at_work"] < 20
