"""What `fl-app doctor` says of Flower's processes on this machine."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from server.doctor.installation import _left_behind, _superlinks
from tests.support.ports import free_port

SLEEP = "import time; print('up', flush=True); time.sleep(60)"


@contextmanager
def process(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SLEEP, *arguments]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        try:
            yield child
        finally:
            child.kill()


def test_a_superlink_is_known_by_its_command_and_port_with_its_directory(tmp_path: Path) -> None:
    port = free_port()
    with process(tmp_path, "flower-superlink", str(port)) as superlink, process(tmp_path, "other", str(port)):
        assert list(_superlinks(port)) == [(superlink.pid, tmp_path)]
        assert list(_superlinks(port + 1)) == []
    assert list(_superlinks(port)) == []


def test_a_worker_is_left_behind_once_its_parent_has_gone(tmp_path: Path) -> None:
    worker = tmp_path / "flwr-clientapp"
    worker.write_text("#!/bin/sh\nsleep 60 & wait\n")
    worker.chmod(0o700)
    # The parent stays for a moment, and then goes without waiting for its child.
    parent = textwrap.dedent(f"""
        import subprocess, sys
        child = subprocess.Popen([{str(worker)!r}], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as popen:
        assert popen.stdout is not None
        assert popen.stdin is not None
        pid = popen.stdout.readline().strip()
        try:
            assert pid not in _left_behind().text.split()
            popen.stdin.close()
            popen.wait(20)
            adopted_by_init = psutil.Process(int(pid)).ppid() == 1  # a container may have another reaper
            assert (pid in _left_behind().text.split()) == adopted_by_init
        finally:
            os.killpg(popen.pid, 9)
