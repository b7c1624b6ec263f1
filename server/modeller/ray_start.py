"""Starting Ray for a simulation, with the patience that a busy machine needs.

Ray gives each of its two servers 30 seconds to start, which no setting changes. Two wait loops of Ray 2.x are therefore
replaced while it starts; if a later Ray no longer passes through them its own limits hold again, and
test_ray_takes_longer_to_start_than_it_would_wait_itself fails.

Of Ray's servers four serve clusters, browsers and packages to be installed alone: the autoscaler's monitor, the
dashboard, of which a part runs even without the dashboard, and two agents beside the raylet. No setting leaves them
out, so they are replaced as well: starting them takes as much of the processor as two pods of a short run do.

Ray is not started at all where a simulation's workers can be forks (`server.modeller.worker_nursery`).
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from fl_app.errors import RunFailed

NEEDED = sys.platform != "linux"
"""Where a process with libraries loaded cannot be forked safely."""
FIRST_LIMIT, SECOND_LIMIT = 60.0, 240.0
"""Seconds that each of Ray's servers is given at the first attempt, and at the second."""
_OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory for messages between the processes of Ray; what does not fit goes to its scratch files."""
_POLL = 0.2
_RAYLET = "raylet"
_NO_AGENT = "sleep infinity"
"""A raylet ends with its agents, so something must run in their place."""
_NOT_IN_USE = -1
_NOBODYS_PORT = 1
"""Where an agent would be asked, had a run's workers environments of their own: only root could listen there."""
_SLOW_IMPORTS = {"rfc3987_syntax": "Ray checks no IRI, and importing this takes a second in each of its processes"}
"""What Ray would import for jsonschema if it is installed, as it is with JupyterLab."""


class RayNotStarted(RunFailed):
    """Ray's servers did not come up; the text says which, and why where that is known."""


def start_ray(scratch: Path, num_cpus: int, limits: tuple[float, ...] = (FIRST_LIMIT, SECOND_LIMIT)) -> None:
    """Start Ray in this process, if need be a second time with a longer limit.

    Parameters
    ----------
    scratch
        Directory for all of Ray's files. Ray's workers import first of all from the directory in which it was
        started, so it is started in this one.
    num_cpus
        Most workers at a time.
    limits
        Seconds for each of its servers to start, for each attempt.

    Raises
    ------
    RayNotStarted
        If the raylet has ended, or has not started within the last limit.
    Exception
        Whatever Ray raises if anything else fails, such as its other server.
    """
    import ray

    directory = os.getcwd()
    os.chdir(scratch)
    for limit in limits:
        try:
            with _patience(scratch, limit), _needed_servers_only():
                ray.init(
                    num_cpus=num_cpus,
                    object_store_memory=_OBJECT_STORE,
                    include_dashboard=False,
                    logging_level=logging.WARNING,
                    _temp_dir=str(scratch),
                )
            break
        except Exception as error:
            _end_children()
            if limit == limits[-1]:
                raise
            print(f"Ray did not start, and is started again: {error}", flush=True)
    os.chdir(directory)


@contextmanager
def _patience(scratch: Path, limit: float) -> Iterator[None]:
    """Have Ray wait up to ``limit`` seconds for each of its servers, while the server's process lives."""
    from ray._private import node, services

    internals: Any = (node, services)
    node_module, services_module = internals
    get_node, wait_for_port = services_module.get_node, node_module.wait_for_persisted_port

    def patient_get_node(*arguments: Any) -> Any:
        """The raylet's entry at the other server, from the moment that there is one."""
        return _retried(lambda: get_node(*arguments), scratch, limit)

    def patient_wait_for_port(*arguments: Any, timeout_ms: int = int(limit * 1000)) -> Any:
        return wait_for_port(*arguments, timeout_ms=timeout_ms)

    services_module.get_node, node_module.wait_for_persisted_port = patient_get_node, patient_wait_for_port
    try:
        yield
    finally:
        services_module.get_node, node_module.wait_for_persisted_port = get_node, wait_for_port


@contextmanager
def _needed_servers_only() -> Iterator[None]:
    """Have Ray start neither the monitor of its autoscaler, nor what is left of its dashboard, nor agents."""
    from ray._private import node, services

    internals: Any = (node.Node, services)
    head, services_module = internals
    start_monitor, start_api_server = head.start_monitor, services_module.start_api_server
    start_process = services_module.start_ray_process

    def start_without_agents(command: list[str], *arguments: Any, **more: Any) -> Any:
        return start_process(without_agents(command), *arguments, **more)

    head.start_monitor = lambda self: None
    services_module.start_api_server = lambda *arguments, **more: (None, None)  # as where it could not be started
    services_module.start_ray_process = start_without_agents
    try:
        yield
    finally:
        head.start_monitor, services_module.start_api_server = start_monitor, start_api_server
        services_module.start_ray_process = start_process


def without_agents(command: list[str]) -> list[str]:
    """Return the command of one of Ray's servers without agents, and say in their place where they listen."""
    from ray import _raylet

    options = dict(word.removeprefix("--").partition("=")[::2] for word in command)
    if "runtime_env_agent_command" not in options:
        return command
    ray: Any = _raylet
    for name, port in (
        (ray.METRICS_AGENT_PORT_NAME, _NOT_IN_USE),
        (ray.METRICS_EXPORT_PORT_NAME, _NOT_IN_USE),
        (ray.DASHBOARD_AGENT_LISTEN_PORT_NAME, _NOBODYS_PORT),
        (ray.RUNTIME_ENV_AGENT_PORT_NAME, _NOBODYS_PORT),
    ):
        ray.persist_port(options["session_dir"], options["node_id"], name, port)
    replaced = {f"--{agent}_agent_command": _NO_AGENT for agent in ("dashboard", "runtime_env")}
    return [f"{name}={replaced[name]}" if (name := word.partition("=")[0]) in replaced else word for word in command]


def without_slow_imports(scratch: Path) -> str:
    """Return a directory in ``scratch`` that leaves out slow imports of Ray's, if it leads the PYTHONPATH."""
    place = scratch / "left-out"
    place.mkdir()
    for module, why in _SLOW_IMPORTS.items():
        (place / f"{module}.py").write_text(f"raise ImportError({why!r})\n")
    return str(place)


def _retried(ask: Callable[[], Any], scratch: Path, limit: float) -> Any:
    """Ask until there is an answer; raises `RayNotStarted`, which Ray does not catch, when there will be none."""
    until = time.monotonic() + limit
    while True:
        try:
            return ask()
        except RuntimeError as error:
            if not _raylet_runs():
                raise RayNotStarted(f"Ray's raylet ended while it started: {_last_words(scratch)}") from error
            if time.monotonic() > until:
                raise RayNotStarted(f"Ray timed out during startup, after {limit:.0f} seconds") from error
            time.sleep(_POLL)


def _last_words(scratch: Path) -> str:
    """Return the last line that a raylet has written."""
    for log in ("raylet.err", "raylet.out"):
        for path in sorted(scratch.glob(f"session_*/logs/{log}"), reverse=True):
            if lines := path.read_text("utf-8", "replace").strip().splitlines():
                return lines[-1]
    return "it printed nothing"


def _raylet_runs() -> bool:
    """Say whether the raylet, or a script in its place, is among this process's descendants."""
    commands = map(_command, psutil.Process().children(recursive=True))
    return any(_RAYLET in Path(word).name for command in commands for word in command[:2])


def _command(process: psutil.Process) -> list[str]:
    try:
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.Error:
        return []


def _end_children() -> None:
    """End what an attempt has left behind, which on a busy machine would be in the way of the next."""
    left = psutil.Process().children(recursive=True)
    for child in left:
        try:
            child.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(left, timeout=10)
