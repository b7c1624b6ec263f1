"""Noticing that a SuperLink stays away: Flower's own processes would wait for it for ever."""

import time

from fl_app.errors import RunFailed
from fl_app.host.probe import why_unreachable

PATIENCE = 60.0
"""Seconds that a SuperLink may be away. One that is back with its database before then goes on with its runs."""


class Watch:
    """Looks every few seconds whether anybody answers at a SuperLink's address.

    Parameters
    ----------
    superlink : str
        ``host:port``.
    patience, every : float
        Seconds that it may be away, and between two looks.
    """

    def __init__(self, superlink: str, patience: float = PATIENCE, every: float = 5.0) -> None:
        self._superlink, self._patience, self._every = superlink, patience, every
        self._seen = self._looked = time.monotonic()

    def look(self) -> None:
        """Raise `RunFailed` if nobody has answered for too long."""
        now = time.monotonic()
        if now - self._looked < self._every:
            return
        # Whether a connection is made is enough here: encrypted or not, none is made to a process that is gone.
        why = why_unreachable(self._superlink, insecure=True, root_certificates=None, seconds=3.0)
        self._looked = time.monotonic()
        if why is None:
            self._seen = self._looked
        elif self._looked - self._seen > self._patience:
            raise RunFailed(f"the SuperLink at {self._superlink} has been away for {self._patience:.0f} seconds")
