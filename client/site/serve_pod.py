"""Serving a pod: its node (`client.site.node`) as a child process that answers until it is stopped."""

import re
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from client.app.ledger import Ledger
from client.site.app_guard import UNPACKED
from client.site.approved_apps import Apps
from client.site.node import ONLINE, TURNED_AWAY, Settings
from client.site.serving import LOG, serving
from fl_app.errors import RunFailed, UsageError
from fl_app.federation.kinds import DeployedFederation, find_federation
from fl_app.host.party_keys import node_key, pod_card
from fl_app.host.probe import why_no_certificates, why_unreachable
from fl_app.host.processes import GuardedProcess, flower_environment, same_path
from fl_app.host.signals import until_interrupted
from fl_app.pod.definition import Pod
from fl_app.pod.pod_file import dump_pod, load_pod
from fl_app.system.files import replace_file
from fl_app.system.home import LEDGER_FILE, fl_app_home, pod_home
from fl_app.system.printable import one_line

CONNECT_SECONDS = 30.0
_TICK = 0.1
_LAST_LINES = 5
_REJECTED = "key is not registered"
"""What the gate says to a node that connects with a key it does not know."""
_COLOUR = re.compile("\x1b\\[[0-9;]*m")


def start(
    pod: Pod | Path,
    *,
    superlink: str | None = None,
    insecure: bool = False,
    root_certificates: Path | None = None,
    federation: str | None = None,
    home: Path | None = None,
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
        Where keys and ledgers are kept; None means `fl_app_home`. The node's files go into the pod's part of it.
    connect_seconds
        Seconds to wait for the connection to the SuperLink.

    Raises
    ------
    UsageError
        If the pod's file or the certificates are wrong, or no SuperLink is named.
    RunFailed
        If the SuperLink cannot be reached or turns the pod's key away, or the node ends by itself.
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
    settings = directory / "node.json"
    Settings(
        superlink=superlink,
        insecure=insecure,
        root_certificates=str(root_certificates.absolute()) if root_certificates else None,
        key=None if insecure else str(node_key(name, home)),
        name=name,
        home=str(home),
        directory=str(pod_home(name, home)),
        file=str(file),
    ).write(settings)
    log = directory / LOG
    environment = flower_environment({"FLWR_HOME": str(directory), "PYTHONPATH": same_path({})})
    if not Apps(pod_home(name, home)).names():
        warning = f"pod {name} has approved no version of the app, and refuses all: `fl-app pod approve-app {name}`"
        print(warning, file=sys.stderr, flush=True)
    why_not = partial(_why_not, name, superlink, insecure, root_certificates, log)
    ledger = Ledger(pod_home(name, home) / LEDGER_FILE)
    with until_interrupted(), serving(name, directory):
        log.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "client.site.node", str(settings)]
        node = GuardedProcess(command, log=log, environment=environment)
        try:
            _wait_for_connection(node, log, connect_seconds, why_not)
            print(f"pod {name} is online at {superlink}", flush=True)
            code = node.wait()
            if code == TURNED_AWAY:
                raise RunFailed(_not_registered(name, superlink))
            raise RunFailed(f"pod {name}: its node ended with exit code {code}:\n{_last_lines(log)}")
        finally:
            ended = node.stop()
            shutil.rmtree(directory / UNPACKED, ignore_errors=True)  # which a node that is killed leaves
            if ended == TURNED_AWAY or _was_rejected(log):
                ledger.enter_refusal("", "connection", 0, f"{superlink} turned this pod's key away")


def _wait_for_connection(node: GuardedProcess, log: Path, seconds: float, why_not: Callable[[float], str]) -> None:
    started = time.monotonic()
    while ONLINE not in log.read_text("utf-8", "replace"):
        waited = time.monotonic() - started
        if node.poll() is not None or waited > seconds:
            raise RunFailed(why_not(waited))
        time.sleep(_TICK)


def _why_not(
    name: str, superlink: str, insecure: bool, root_certificates: Path | None, log: Path, waited: float
) -> str:
    """Return why the node of pod ``name`` has not connected within ``waited`` seconds."""
    if _was_rejected(log):
        return _not_registered(name, superlink)
    if why := why_unreachable(superlink, insecure=insecure, root_certificates=root_certificates):
        return f"{why} (waited {waited:.0f} seconds)"
    return (
        f"{superlink} answers, but not as a SuperLink that takes this pod; waited {waited:.0f} seconds. Check that "
        f"both sides use TLS, or both do not, and the certificates. The last lines of Flower's log:\n{_last_lines(log)}"
    )


def _was_rejected(log: Path) -> bool:
    """Say whether the SuperLink has rejected the node's key on connecting."""
    return _REJECTED in log.read_text("utf-8", "replace")


def _not_registered(name: str, superlink: str) -> str:
    return (
        f"this pod's key is not registered at {superlink}, or not any more: give its operator the card {name}.card "
        f"(`fl-app pod keygen {name} -o {name}.card`); if it was revoked, rotate it first (`fl-app pod rotate {name}`)"
    )


def _last_lines(log: Path) -> str:
    """Return the last lines that are neither empty, nor of no consequence, nor coloured."""
    lines = [one_line(line.strip()) for line in _COLOUR.sub("", log.read_text("utf-8", "replace")).splitlines()]
    relevant = [line for line in lines if line and not line.startswith(("INFO", "For more information"))]
    return "\n".join(f"  {line}" for line in relevant[-_LAST_LINES:])
