"""A SuperLink and its nodes as real processes on loopback, all of which end with the block that needs them."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.children import child_environment
from benchmarks.plain import TESTBED
from benchmarks.testbed import Testbed
from fl_app.errors import RunFailed
from fl_app.federation.kinds import Federation, read_federation
from fl_app.host.processes import GuardedProcess

_STARTUP_SECONDS = 90.0
_POLL_SECONDS = 0.1
_PLAIN_PYPROJECT = """\
[project]
name = "plain-fedavg"
version = "0.1.0"
description = "Flower's own federated averaging, to compare with."
license = "Apache-2.0"
dependencies = []

[[tool.uv.dependency-metadata]]
name = "plain-fedavg"
version = "0.1.0"
requires-dist = []

[tool.flwr.app]
publisher = "fl-app"
fab-include = ["plain_fedavg.py"]

[tool.flwr.app.components]
serverapp = "plain_fedavg:server_app"
clientapp = "plain_fedavg:client_app"
"""


@contextmanager
def superlink(testbed: Testbed, *, plain: bool) -> Iterator[Federation]:
    """Start a SuperLink with a node for each pod, and yield the federation at it.

    ``plain``: SuperLink and nodes are Flower's, without TLS. Else they are as this product's users
    start them: provisioned, with TLS, registered keys and the gate.
    """
    port = _free_port()
    address = f"127.0.0.1:{port}"
    logs = Path(tempfile.mkdtemp(prefix="logs-", dir=testbed.directory))
    with ExitStack() as stack:

        def start(name: str, *command: str) -> Path:
            log = logs / f"{name}.log"
            environment = child_environment(
                FLWR_HOME=str(logs / f"{name}.flwr"),
                FL_APP_HOME=str(testbed.home),
                **{TESTBED: str(testbed.directory)},
            )
            process = GuardedProcess(command, log=log, environment=environment)
            stack.callback(process.stop)
            return log

        if plain:
            start("superlink", "flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port),
                  "--isolation", "process")  # fmt: skip
        else:
            shared = _provision(testbed, address, logs)
            start("superlink", "fl-app", "superlink", "run", str(shared.parent))
            stack.enter_context(_home(testbed.home))
        _wait("the SuperLink", lambda: _answers(port))
        ready = "SuperNode ID:" if plain else "is online"
        nodes = []
        for place, pod in enumerate(testbed.pods):
            if plain:
                own = ("--host", "127.0.0.1", "--port", str(_free_port()), "--node-config", f"partition-id={place}")
                command = ["flower-supernode", "--insecure", "--superlink", address, *own]
            else:
                command = ["fl-app", "pod", "run", str(testbed.pod_file(pod)), "--federation", str(shared)]
            nodes.append(start(pod, *command))
        for log in nodes:
            _wait(f"{log.stem} ({log})", lambda log=log: ready in log.read_text("utf-8", "replace"))  # type: ignore[misc]
        yield testbed.federation(address) if plain else read_federation(shared)


def write_plain_app(parent: Path) -> Path:
    """Write Flower's plain app as a directory that can be submitted; its code is `benchmarks.plain`."""
    app = parent / "plain-fedavg"
    app.mkdir(exist_ok=True)
    (app / "pyproject.toml").write_text(_PLAIN_PYPROJECT)
    # Flower looks for the two attributes in the file's own text: an import of them would not be accepted.
    lines = ["from benchmarks import plain", "", "client_app = plain.client_app", "server_app = plain.server_app", ""]
    (app / "plain_fedavg.py").write_text("\n".join(lines))
    return app


def _provision(testbed: Testbed, address: str, place: Path) -> Path:
    """Register the pods, and this user as a modeller, with a new SuperLink; return its join file."""
    cards = []
    for pod in testbed.pods:
        cards.append(str(place / f"{pod}.card"))
        _run(testbed, "pod", "keygen", pod, "-o", cards[-1])
        _run(testbed, "pod", "approve-app", pod, "--yes")
    _run(testbed, "provision", address, "--directory", str(place / "superlink"), *cards)
    return place / "superlink" / "federation.toml"


def _run(testbed: Testbed, *command: str) -> None:
    environment = child_environment(FL_APP_HOME=str(testbed.home))
    program = shutil.which("fl-app", path=environment["PATH"]) or "fl-app"
    done = subprocess.run(  # noqa: S603 - its parts are ours
        [program, *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RunFailed(f"fl-app {' '.join(command[:2])} failed: {done.stderr.strip()}")


@contextmanager
def _home(home: Path) -> Iterator[None]:
    """Have this process find the keys in ``home``, the modeller's among them."""
    before = os.environ.get("FL_APP_HOME")
    os.environ["FL_APP_HOME"] = str(home)
    try:
        yield
    finally:
        if before is None:
            del os.environ["FL_APP_HOME"]
        else:
            os.environ["FL_APP_HOME"] = before


def _wait(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise RunFailed(f"{what} was not ready within {_STARTUP_SECONDS:.0f} seconds")
        time.sleep(_POLL_SECONDS)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
