"""The SuperLink as a child process that lives no longer than the process that serves it."""

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
from server.superlink.directory import DATABASE, SuperLinkDirectory

LOG = "superlink.log"
START_SECONDS = 60.0
_TICK = 0.1
_SHOWN_LINES = 5


@contextmanager
def serving(directory: SuperLinkDirectory) -> Iterator[Callable[[], int]]:
    """Serve the SuperLink of ``directory`` while the block runs; yields a function that waits until it ends.

    It listens on the loopback interface if its address is there, and on all interfaces otherwise.

    Raises
    ------
    UsageError
        If its certificate has expired, it is already being served, or its port is in use.
    RunFailed
        If it does not start, with the last lines of its log.
    """
    if directory.days_left() < 0:
        raise UsageError(
            f"the SuperLink's certificate has expired: `fl-app superlink renew {directory.path}` makes a new one"
        )
    if answers(directory):
        raise UsageError(f"the SuperLink of {directory.path} is already being served, on port {directory.port}")
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
                raise RunFailed(f"the SuperLink did not start; the end of {log}:\n{_last_lines(log, before)}")
            time.sleep(_TICK)
        yield process.wait
    finally:
        process.stop()


def answers(directory: SuperLinkDirectory, seconds: float = 5.0) -> bool:
    """Return whether the SuperLink of ``directory`` serves on this machine, with a certificate of its authority."""
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
        *("--database", str(directory.path / DATABASE)),
    ]


def _check_port(directory: SuperLinkDirectory) -> None:
    """Raise `UsageError` if the SuperLink cannot listen at its address: Flower would report that late and unclearly."""
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
        raise UsageError(f"cannot listen at {host}:{directory.port}: {error.strerror}") from None


def _bound_to(directory: SuperLinkDirectory) -> str:
    host = directory.address.rpartition(":")[0]
    if is_loopback(directory.address):
        return "127.0.0.1" if host == "localhost" else host.strip("[]")
    return "::" if host.startswith("[") else "0.0.0.0"  # noqa: S104 - other machines have to reach it


def _last_lines(log: Path, since: int) -> str:
    with log.open("rb") as file:
        file.seek(since)
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(f"  {line.strip()}" for line in [line for line in lines if line.strip()][-_SHOWN_LINES:])
