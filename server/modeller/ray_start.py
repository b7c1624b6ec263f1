"""Starting Ray for a simulation, with the patience that a busy machine needs.

Ray gives each of its two servers 30 seconds to start, which no setting changes. Two wait loops of Ray 2.x are therefore
replaced while it starts; if a later Ray no longer passes through them its own limits hold again
(tests/server/modeller/test_ray_start.py then fails).
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

FIRST_LIMIT, SECOND_LIMIT = 60.0, 240.0
"""Seconds that each of Ray's servers is given at the first attempt, and at the second."""
_OBJECT_STORE = 256 * 2**20
"""Bytes of shared memory for messages between the processes of Ray; what does not fit goes to its scratch files."""
_POLL = 0.2
_RAYLET = "raylet"


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
    Exception
        Whatever Ray raises when it has not started within the last limit, or one of its servers has ended.
    """
    import ray

    directory = os.getcwd()
    os.chdir(scratch)
    for limit in limits:
        try:
            with _patience(limit):
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
            print(f"Ray did not start within {limit:.0f} seconds, and is started again: {error}", flush=True)
    os.chdir(directory)


@contextmanager
def _patience(limit: float) -> Iterator[None]:
    """Have Ray wait up to ``limit`` seconds for each of its servers, while the server's process lives."""
    from ray._private import node, services

    internals: Any = (node, services)
    node_module, services_module = internals
    get_node, wait_for_port = services_module.get_node, node_module.wait_for_persisted_port

    def patient_get_node(*arguments: Any) -> Any:
        """The raylet's entry at the other server, from the moment that there is one."""
        return _retried(lambda: get_node(*arguments), limit)

    def patient_wait_for_port(*arguments: Any, timeout_ms: int = int(limit * 1000)) -> Any:
        return wait_for_port(*arguments, timeout_ms=timeout_ms)

    services_module.get_node, node_module.wait_for_persisted_port = patient_get_node, patient_wait_for_port
    try:
        yield
    finally:
        services_module.get_node, node_module.wait_for_persisted_port = get_node, wait_for_port


def _retried(ask: Callable[[], Any], limit: float) -> Any:
    until = time.monotonic() + limit
    while True:
        try:
            return ask()
        except RuntimeError:
            if time.monotonic() > until or not _raylet_runs():
                raise
            time.sleep(_POLL)


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
    """End what an attempt has left behind: on a busy machine it would be in the way of the next."""
    left = psutil.Process().children(recursive=True)
    for child in left:
        try:
            child.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(left, timeout=10)
