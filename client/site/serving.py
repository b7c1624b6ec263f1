"""Whether a pod is being served: the lock that whoever serves it holds, and what its node's log says."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from client.site.node import ONLINE
from fl_app.errors import UsageError
from fl_app.system.files import held
from fl_app.system.home import pod_home

LOG = "node.log"
LOCK = ".serving"
_PATIENCE, _TICK = 1.0, 0.02


def serves(name: str, home: Path | None = None) -> bool:
    """Say whether pod ``name`` is online: a process serves it, whose node has been taken by a SuperLink."""
    return is_served(name, home) and has_connected(pod_home(name, home) / "flower" / LOG)


def is_served(name: str, home: Path | None = None) -> bool:
    """Say whether a process serves pod ``name``. To find out is to hold the pod's lock for a moment."""
    try:
        with held(pod_home(name, home) / "flower" / LOCK):
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def has_connected(log: Path) -> bool:
    """Say whether the node that writes this log was taken by a SuperLink."""
    return log.exists() and ONLINE in log.read_text("utf-8", "replace")


@contextmanager
def serving(name: str, directory: Path) -> Iterator[None]:
    """Hold the pod; two nodes of one pod would share its ledger and each other's sessions.

    Whoever asks `is_served` holds it too, for a moment: this waits a little before it says that another serves the pod.

    Raises
    ------
    UsageError
        If another process serves it.
    """
    until = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(directory / LOCK))
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UsageError(f"pod {name} is being served by another process already") from None
            time.sleep(_TICK)
        yield
