"""Plain ``flwr run .`` in a checkout, in a shell that has no network but its own loopback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes.parties import Party
from tests.support.ports import free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]

# Brings the loopback interface of a new network namespace up, and becomes the command.
OFFLINE = """
import fcntl, os, socket, struct, sys
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(probe, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def offline() -> list[str]:
    """Return what to put before a command so that it has no network; nothing where the system does not allow it."""
    prefix = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", OFFLINE]
    try:
        works = subprocess.run([*prefix, "true"], capture_output=True, timeout=20).returncode == 0
    except OSError:
        works = False
    return prefix if works else ["env", "https_proxy=http://127.0.0.1:9", "http_proxy=http://127.0.0.1:9"]


@pytest.mark.simulation
def test_flwr_run_completes_without_a_network(tmp_path: Path) -> None:
    user = Party(tmp_path / "user")
    checkout = tmp_path / "fl-app"
    ignored = shutil.ignore_patterns("__pycache__", "*.csv.gz")
    for package in ("fl_app", "client", "strategies", "server"):
        shutil.copytree(ROOT / package, checkout / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    user.run("fl-app", "demo", "--prepare")
    settings = {"FLWR_HOME": str(tmp_path / "flwr"), "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port())}
    command = ["flwr", "run", ".", "--run-config", "rounds=1 local-steps=20", "--stream"]
    # The SuperLink that Flower leaves running must see the same network as later commands, so one shell does all.
    script = f"{' '.join(repr(part) for part in command)}; flwr list --format json > {tmp_path / 'list.json'}"
    try:
        done = subprocess.run(
            [*offline(), "sh", "-c", script],
            cwd=checkout,
            env={**user.environment, **settings},
            capture_output=True,
            text=True,
            timeout=400,
            stdin=subprocess.DEVNULL,
        )
        listed = json.loads((tmp_path / "list.json").read_text())
        assert listed["runs"][0]["status"] == "finished:completed", done.stdout + done.stderr
    finally:
        stop_processes_of(checkout)
    results = json.loads((checkout / "runs" / "latest" / "results.json").read_text())
    assert results["status"] == "completed"
    assert results["test"]["auc"] > 0.8
    assert (checkout / "runs" / "latest" / "model.safetensors").exists()


def stop_processes_of(directory: Path) -> None:
    """End the SuperLink that ``flwr run`` leaves behind, and what it started, by their working directory."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _works_in(pid, directory)]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGTERM if deadline - time.monotonic() > 20 else signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.5)
    raise AssertionError(f"processes are left in {directory}")


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")) == directory and pid != os.getpid()
    except OSError:
        return False
