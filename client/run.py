"""Serving a pod: Flower's SuperNode as a child process that answers for one pod until it is stopped."""

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from fl_app.errors import RunFailed, UsageError
from fl_app.federation import DeployedFederation, find_federation
from fl_app.files import replace_file
from fl_app.home import fl_app_home, pod_home
from fl_app.keys import keygen
from fl_app.pods import Pod, dump_pod, load_pod
from fl_app.processes import GuardedProcess, flower_environment

CONNECT_SECONDS = 30.0
_TICK = 0.1
_ONLINE = "SuperNode ID:"
_LAST_LINES = 5
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def start(
    pod: Pod | Path,
    *,
    superlink: str | None = None,
    insecure: bool = False,
    root_certificates: Path | None = None,
    home: Path | None = None,
    port: int | None = None,
    connect_seconds: float = CONNECT_SECONDS,
) -> None:
    """Serve ``pod`` until this process is interrupted (SIGINT) or asked to end (SIGTERM).

    Parameters
    ----------
    pod
        The pod, or the file in which it is written. Its identity key is made if it has none.
    superlink
        ``host:port`` of the SuperLink; None takes all three from the federation that is found from here.
    insecure, root_certificates
        Whether the connection is not encrypted; or else the certificates (PEM) to check the SuperLink's by, where
        None means the system's.
    home
        Where keys and ledgers are kept; None means `fl_app_home`. The SuperNode's files go into the pod's part of it.
    port
        On which the SuperNode serves its own ClientApps on this machine; None takes a free one.
    connect_seconds
        How long the SuperLink is waited for.

    Raises
    ------
    UsageError
        If the pod's file is wrong, or no SuperLink is named.
    RunFailed
        If the SuperLink cannot be reached, or the SuperNode ends by itself.
    """
    if superlink is None:
        federation = find_federation(None, Path.cwd())
        if not isinstance(federation, DeployedFederation):
            raise UsageError(f"the federation '{federation.name}' is a simulation: name the SuperLink to connect to")
        superlink, insecure = federation.superlink, federation.insecure
        root_certificates = federation.root_certificates
    home = (home or fl_app_home()).absolute()
    name = pod.name if isinstance(pod, Pod) else load_pod(pod).name
    keygen(name, home)
    directory = pod_home(name, home) / "flower"
    directory.mkdir(exist_ok=True)
    if isinstance(pod, Pod):
        file = directory / "pod.yaml"
        replace_file(file, dump_pod(pod).encode())
    else:
        file = pod.absolute()
    node_config = directory / "node.toml"  # a file, since Flower's own notation has no way to write a quote in a path
    node_config.write_text(
        "".join(f"{key} = {_toml(path)}\n" for key, path in (("pod", file), ("home", home))), "utf-8"
    )
    command = ["flower-supernode", "--superlink", superlink, "--node-config", str(node_config)]
    command += ["--host", "127.0.0.1", "--port", str(port or _free_port())]
    if insecure:
        command.append("--insecure")
    elif root_certificates:
        command += ["--root-certificates", str(root_certificates.absolute())]
    log = directory / "supernode.log"
    log.unlink(missing_ok=True)
    quick = {"FLWR_HOME": str(directory), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05"}
    with _until_interrupted():
        node = GuardedProcess(command, log=log, environment=flower_environment(quick))
        try:
            _wait_for_connection(node, log, superlink, connect_seconds)
            print(f"pod {name} is online at {superlink}", flush=True)
            code = node.wait()
            raise RunFailed(f"pod {name}: Flower's SuperNode ended with exit code {code}:\n{_last_lines(log)}")
        finally:
            node.stop()


def _wait_for_connection(node: GuardedProcess, log: Path, superlink: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _ONLINE not in log.read_text("utf-8", "replace"):
        if node.poll() is not None:
            raise RunFailed(f"no connection to the SuperLink at {superlink}:\n{_last_lines(log)}")
        if time.monotonic() > deadline:
            raise RunFailed(_why_not(superlink, seconds, log))
        time.sleep(_TICK)


def _why_not(superlink: str, seconds: float, log: Path) -> str:
    host, _, port = superlink.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        return (
            f"no SuperLink answers at {superlink} ({error.strerror or error}); waited {seconds:.0f} seconds. "
            "Check the address, and that the SuperLink is running"
        )
    return (
        f"{superlink} answers, but not as a SuperLink that takes this pod; waited {seconds:.0f} seconds. Check that "
        f"both sides use TLS, or both do not, and the certificates. What Flower said last:\n{_last_lines(log)}"
    )


def _last_lines(log: Path) -> str:
    """Return the last lines that are neither empty, nor of no consequence, nor coloured."""
    lines = [line.strip() for line in _COLOUR.sub("", log.read_text("utf-8", "replace")).splitlines()]
    told = [line for line in lines if line and not line.startswith(("INFO", "For more information"))]
    return "\n".join(f"  {line}" for line in told[-_LAST_LINES:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _toml(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


class _Interrupted(BaseException):
    """This process was asked to end."""


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Leave the block quietly at the first SIGINT or SIGTERM; further ones wait until it has been left.

    Outside the main thread, where Python lets no one handle signals, the block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        for number in before:
            signal.signal(number, lambda *_: None)
        raise _Interrupted

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, interrupt)
        yield
    except _Interrupted:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
