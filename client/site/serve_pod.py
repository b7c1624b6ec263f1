"""Serving a pod: Flower's SuperNode as a child process that answers for one pod until it is stopped."""

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import tomli_w

from client.app.ledger import Ledger
from client.site.app_guard import write_guard
from client.site.approved_apps import Apps
from fl_app.errors import RunFailed, UsageError
from fl_app.federation.kinds import DeployedFederation, find_federation
from fl_app.host.party_keys import node_key, pod_card
from fl_app.host.probe import why_no_certificates, why_unreachable
from fl_app.host.processes import GuardedProcess, flower_environment
from fl_app.host.signals import until_interrupted
from fl_app.pod.definition import Pod
from fl_app.pod.pod_file import dump_pod, load_pod
from fl_app.system.files import held, replace_file
from fl_app.system.home import LEDGER_FILE, fl_app_home, pod_home

CONNECT_SECONDS = 30.0
LOG = "supernode.log"
LOCK = ".serving"
_TICK = 0.1
_POLL_SECONDS = "0.2"
"""Seconds between the SuperNode executor's polls for a message; at 0.05 an idle pod takes 9 % of a processor, not 4."""
_ONLINE = "SuperNode ID:"
_LAST_LINES = 5
_REJECTED = ("key is not registered", "SuperNode terminated gracefully")
"""In the log of a SuperNode whose key is rejected: on connecting the gate's words; later, only its end."""
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def start(
    pod: Pod | Path,
    *,
    superlink: str | None = None,
    insecure: bool = False,
    root_certificates: Path | None = None,
    federation: str | None = None,
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
        ``host:port`` of the SuperLink; None takes all three from ``federation``.
    insecure, root_certificates
        Whether the connection is not encrypted; or else the certificates (PEM) to check the SuperLink's by, where
        None means the system's. Over TLS the pod's node shows its own key (`fl_app.host.party_keys.node_key`).
    federation
        The join file, or whatever `find_federation` takes; None: the nearest one, from the working directory.
    home
        Where keys and ledgers are kept; None means `fl_app_home`. The SuperNode's files go into the pod's part of it.
    port
        On which the SuperNode serves its own ClientApps on this machine; None takes a free one.
    connect_seconds
        Seconds to wait for the connection to the SuperLink.

    Raises
    ------
    UsageError
        If the pod's file or the certificates are wrong, or no SuperLink is named.
    RunFailed
        If the SuperLink cannot be reached, or the SuperNode ends by itself.
    """
    if superlink is None:
        chosen = find_federation(federation, Path.cwd())
        if not isinstance(chosen, DeployedFederation):
            raise UsageError(
                f"the federation '{chosen.name}' is a simulation: give the operator's join file with --federation, "
                "or name the SuperLink to connect to"
            )
        superlink, insecure, root_certificates = chosen.superlink, chosen.insecure, chosen.root_certificates
    if not insecure and (why := why_no_certificates(root_certificates)):
        raise UsageError(why)
    home = (home or fl_app_home()).absolute()
    name = pod.name if isinstance(pod, Pod) else load_pod(pod).name
    pod_card(name, home)  # which makes the keys, where there are none
    directory = pod_home(name, home) / "flower"
    directory.mkdir(exist_ok=True)
    if isinstance(pod, Pod):
        file = directory / "pod.yaml"
        replace_file(file, dump_pod(pod).encode())
    else:
        file = pod.absolute()
    node_config = directory / "node.toml"  # a file, since Flower's own notation has no way to write a quote in a path
    node_config.write_text(tomli_w.dumps({"pod": str(file), "home": str(home)}), "utf-8")
    command = ["flower-supernode", "--superlink", superlink, "--node-config", str(node_config)]
    command += ["--host", "127.0.0.1", "--port", str(port or _free_port())]
    if insecure:
        command.append("--insecure")
    else:
        command += ["--auth-supernode-private-key", str(node_key(name, home))]
        if root_certificates:
            command += ["--root-certificates", str(root_certificates.absolute())]
    log = directory / LOG
    environment = flower_environment({"FLWR_HOME": str(directory), "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": _POLL_SECONDS})
    guarded = write_guard(name, pod_home(name, home), file)
    if not Apps(pod_home(name, home)).names():
        warning = f"pod {name} has approved no version of the app, and refuses all: `fl-app pod approve-app {name}`"
        print(warning, file=sys.stderr, flush=True)
    environment["PATH"] = os.pathsep.join([str(guarded), environment["PATH"]])
    why_not = partial(_why_not, name, superlink, insecure, root_certificates, log)
    ledger = Ledger(pod_home(name, home) / LEDGER_FILE)
    with until_interrupted(), _serving(name, directory):
        log.unlink(missing_ok=True)
        node = GuardedProcess(command, log=log, environment=environment)
        try:
            _wait_for_connection(node, log, connect_seconds, why_not)
            print(f"pod {name} is online at {superlink}", flush=True)
            code = node.wait()
            if _was_rejected(log):
                raise RunFailed(_not_registered(name, superlink))
            raise RunFailed(f"pod {name}: Flower's SuperNode ended with exit code {code}:\n{_last_lines(log)}")
        finally:
            node.stop()
            if _was_rejected(log):
                ledger.enter_refusal("", "connection", 0, f"{superlink} turned this pod's key away")


def serves(name: str, home: Path | None = None) -> bool:
    """Say whether pod ``name`` is online: a process serves it, whose SuperNode has been taken by a SuperLink."""
    directory = pod_home(name, home) / "flower"
    try:
        with held(directory / LOCK):
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        log = directory / LOG
        return log.exists() and _ONLINE in log.read_text("utf-8", "replace")


@contextmanager
def _serving(name: str, directory: Path) -> Iterator[None]:
    """Hold the pod; two SuperNodes of one pod would share its ledger and each other's sessions."""
    with ExitStack() as stack:
        try:
            stack.enter_context(held(directory / LOCK))
        except BlockingIOError:
            raise UsageError(f"pod {name} is being served by another process already") from None
        yield


def _wait_for_connection(node: GuardedProcess, log: Path, seconds: float, why_not: Callable[[float], str]) -> None:
    started = time.monotonic()
    while _ONLINE not in log.read_text("utf-8", "replace"):
        waited = time.monotonic() - started
        if node.poll() is not None or waited > seconds:
            raise RunFailed(why_not(waited))
        time.sleep(_TICK)


def _why_not(
    name: str, superlink: str, insecure: bool, root_certificates: Path | None, log: Path, waited: float
) -> str:
    """Return why the SuperNode of pod ``name`` has not connected within ``waited`` seconds."""
    if _was_rejected(log):
        return _not_registered(name, superlink)
    if why := why_unreachable(superlink, insecure=insecure, root_certificates=root_certificates):
        return f"{why} (waited {waited:.0f} seconds)"
    return (
        f"{superlink} answers, but not as a SuperLink that takes this pod; waited {waited:.0f} seconds. Check that "
        f"both sides use TLS, or both do not, and the certificates. The last lines of Flower's log:\n{_last_lines(log)}"
    )


def _was_rejected(log: Path) -> bool:
    """Say whether the SuperLink has rejected the node's key, on connecting or, after a revocation, later."""
    return any(sign in log.read_text("utf-8", "replace") for sign in _REJECTED)


def _not_registered(name: str, superlink: str) -> str:
    return (
        f"this pod's key is not registered at {superlink}, or not any more: give its operator the card {name}.card "
        f"(`fl-app pod keygen {name} -o {name}.card`); if it was revoked, rotate it first (`fl-app pod rotate {name}`)"
    )


def _last_lines(log: Path) -> str:
    """Return the last lines that are neither empty, nor of no consequence, nor coloured."""
    lines = [line.strip() for line in _COLOUR.sub("", log.read_text("utf-8", "replace")).splitlines()]
    relevant = [line for line in lines if line and not line.startswith(("INFO", "For more information"))]
    return "\n".join(f"  {line}" for line in relevant[-_LAST_LINES:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
