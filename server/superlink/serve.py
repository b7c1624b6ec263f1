"""Serving: the SuperLink as a child process that lives as long as the one that calls `serve`."""

import errno
import http.client
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fl_app.errors import RunFailed, UsageError
from fl_app.federation.address import is_loopback
from fl_app.host.processes import GuardedProcess, flower_environment, same_path
from server.superlink.directory import SuperLinkDirectory

LOG = "superlink.log"
START_SECONDS = 60.0
_TICK = 0.1
_LAST_LINES = 5


@contextmanager
def serving(directory: SuperLinkDirectory) -> Iterator[Callable[[], int]]:
    """Serve the SuperLink of ``directory`` while the block runs, which gets a function that waits for its end.

    It is bound to this machine only if its address is, and to all its networks otherwise.

    Raises
    ------
    UsageError
        If its certificate has expired, it is being served already, or its port is not free.
    RunFailed
        If it does not come up, with what it said last.
    """
    if directory.days_left() < 0:
        raise UsageError(
            f"the SuperLink's certificate has expired: `fl-app superlink renew {directory.path}` makes a new one"
        )
    if answers(directory):
        raise UsageError(f"the SuperLink of {directory.path} is being served already, on port {directory.port}")
    _check_port(directory)
    log = directory.path / LOG
    before = log.stat().st_size if log.exists() else 0
    process = GuardedProcess(
        [sys.executable, "-P", "-m", "server.superlink.start", str(directory.path), *_arguments(directory)],
        log=log,
        environment=flower_environment({"FLWR_HOME": str(directory.path / "flower"), "PYTHONPATH": same_path({})}),
        directory=directory.path,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(directory):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RunFailed(f"the SuperLink did not start; {log} says why:\n{_said_last(log, before)}")
            time.sleep(_TICK)
        yield process.wait
    finally:
        process.stop()


def answers(directory: SuperLinkDirectory, seconds: float = 5.0) -> bool:
    """Say whether the SuperLink of ``directory`` serves on this machine, with a certificate of its authority."""
    context = ssl.create_default_context(cafile=str(directory.authority))
    host = _bound_to(directory) if is_loopback(directory.address) else "localhost"
    connection = http.client.HTTPSConnection(host, directory.port, context=context, timeout=seconds)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _arguments(directory: SuperLinkDirectory) -> list[str]:
    host = _bound_to(directory)
    return [
        *("--host", host, "--port", str(directory.port), "--isolation", "process", "--enable-supernode-auth"),
        *("--ssl-ca-certfile", str(directory.authority)),
        *("--ssl-certfile", str(directory.certificate), "--ssl-keyfile", str(directory.key)),
        *("--database", str(directory.path / "state.db")),
    ]


def _check_port(directory: SuperLinkDirectory) -> None:
    """Raise `UsageError` if the SuperLink cannot listen where it is to: Flower would take long to say so."""
    host = _bound_to(directory)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, directory.port), family=family):
            pass
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {directory.port} is in use: end the process that listens there (`ss -ltnp` shows it), or "
                f"provision a SuperLink at another port"
            ) from None
        raise UsageError(f"{host}:{directory.port} cannot be listened at: {error.strerror}") from None


def _bound_to(directory: SuperLinkDirectory) -> str:
    host = directory.address.rpartition(":")[0]
    if is_loopback(directory.address):
        return "127.0.0.1" if host == "localhost" else host.strip("[]")
    return "::" if host.startswith("[") else "0.0.0.0"  # noqa: S104 - it is there to be reached


def _said_last(log: Path, since: int) -> str:
    with log.open("rb") as file:
        file.seek(since)
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(f"  {line.strip()}" for line in [line for line in lines if line.strip()][-_LAST_LINES:])
