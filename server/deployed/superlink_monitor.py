"""Noticing that a SuperLink is gone: Flower's own processes would wait for it for ever."""

import time

from fl_app.errors import RunFailed
from fl_app.host.probe import why_unreachable

PATIENCE = 60.0
"""Seconds that a SuperLink may be unreachable. If it restarts with its database before then, its runs go on."""


class SuperLinkMonitor:
    """Checks every few seconds whether anything answers at a SuperLink's address.

    Parameters
    ----------
    superlink : str
        ``host:port``.
    patience, interval : float
        Seconds that it may be unreachable, and between two checks.
    """

    def __init__(self, superlink: str, patience: float = PATIENCE, interval: float = 5.0) -> None:
        self._superlink, self._patience, self._interval = superlink, patience, interval
        self._last_answer = self._last_check = time.monotonic()

    def check(self) -> None:
        """Raise `RunFailed` if nothing has answered for too long."""
        if time.monotonic() - self._last_check < self._interval:
            return
        # Whether a connection is made is enough here: encrypted or not, none is made to a process that is gone.
        problem = why_unreachable(self._superlink, insecure=True, root_certificates=None, seconds=3.0)
        self._last_check = time.monotonic()
        if problem is None:
            self._last_answer = self._last_check
        elif self._last_check - self._last_answer > self._patience:
            raise RunFailed(f"the SuperLink at {self._superlink} has been unreachable for {self._patience:.0f} seconds")
