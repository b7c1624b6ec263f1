"""Pods that vanish, over TLS: a killed one is missed, a suspended one is missed and comes back by itself."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fl_app.host.party_keys import node_key, pod_card
from server.superlink.directory import SuperLinkDirectory
from server.superlink.serve import LOG, serving
from tests.processes.parties import left_behind, wait_for
from tests.support.ports import free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

# A pod's node, and nothing of the pod: it asks for messages as Flower's client does.
NODE = """
import sys
from pathlib import Path
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.supernode.fleet_http_connection import http_request_response

address, authority, key = sys.argv[1:]
private = load_ssh_private_key(Path(key).read_bytes(), None)
keys = private, private.public_key()
with http_request_response(address, False, Path(authority).read_bytes(), keys) as (_, receive, *_others):
    while True:
        receive()
        print("asked", flush=True)
"""


@contextmanager
def node(directory: SuperLinkDirectory, name: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    key = home / "node.key"
    key.write_bytes(node_key(name, home).read_bytes())
    command = [sys.executable, "-c", NODE, directory.address, str(directory.authority), str(key)]
    with (home / "out").open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0"}, stdout=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_pods_that_vanish(tmp_path: Path) -> None:
    directory = SuperLinkDirectory.provision(tmp_path / "superlink", f"127.0.0.1:{free_port()}")
    homes = {name: tmp_path / name for name in ("north", "south")}
    directory.registry.add([pod_card(name, home) for name, home in homes.items()])

    def is_online(name: str) -> bool:
        with closing(sqlite3.connect(f"file:{directory.path / 'state.db'}?mode=ro", uri=True)) as state:
            (row,) = state.execute("SELECT status FROM node WHERE name = ?", [name])
            return bool(row[0] == "online")

    def held(name: str) -> bool:
        """Say whether the pod has asked for messages: one that has only registered is known to Flower alone."""
        return is_online(name) and "asked" in (homes[name] / "out").read_text()

    with serving(directory), node(directory, "south", homes["south"]) as south:
        with node(directory, "north", homes["north"]):
            for name in homes:
                wait_for(f"pod {name}", 60, lambda name=name: held(name))
        # Flower alone would change nothing until somebody asks for the nodes, and then only after a minute.
        wait_for("the killed pod is missed", 30, lambda: not is_online("north"))
        assert is_online("south")
        with node(directory, "north", homes["north"]) as again:
            wait_for("it is back", 60, lambda: is_online("north"))
            south.send_signal(signal.SIGSTOP)
            wait_for("the suspended pod is missed", 60, lambda: not is_online("south"))
            south.send_signal(signal.SIGCONT)
            wait_for("it goes on", 60, lambda: is_online("south"))
            assert south.poll() is again.poll() is None
    assert "graceful shutdown exceeded" not in (directory.path / LOG).read_text()
    assert left_behind(tmp_path) == []
