"""Asking the pods what they publish, when somebody presses the button, and what they answered the last time.

It is a run that consists of a hello, which every pod enters in its ledger; so no page asks by itself. What came of it
is kept in memory, with its time.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from fl_app.errors import FlAppError, UsageError
from fl_app.federation.kinds import Federation
from server.app.results import Results
from server.modeller.schema_discovery import Published, ask_pods

Follow = Callable[[Results], None]
_TIMEOUT = 30.0
"""Seconds that the pods have to answer."""


@dataclass(frozen=True)
class Asking:
    """A question under way: since when, and whose answers are awaited, as far as that is known."""

    since: float
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """What is known of the pods.

    Attributes
    ----------
    asking
        The question under way.
    published, time
        The last answers, and when they came in; None before the first.
    failure, failed
        Why the last question got none, and when; "" if it got some.
    """

    asking: Asking | None = None
    published: Published | None = None
    time: float | None = None
    failure: str = ""
    failed: float | None = None


class Look:
    """One federation's pods, asked in a thread.

    Parameters
    ----------
    federation
        Whose pods are asked.
    ask
        Asks them: it is called with the federation and with what takes the results so far.
    now
        Returns the time in seconds since the epoch.
    """

    def __init__(
        self,
        federation: Federation,
        ask: Callable[[Federation, Follow], Published] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._federation, self._ask, self._now = federation, ask or _ask, now
        self._lock = threading.Lock()
        self._state = State()

    @property
    def state(self) -> State:
        """What is known at present."""
        return self._state

    def start(self) -> threading.Thread:
        """Ask in a thread, and return it; raises `UsageError` if a question is under way."""
        with self._lock:
            self._begin()
        thread = threading.Thread(target=self._carry_out, daemon=True, name="asking the pods")
        thread.start()
        return thread

    def _begin(self) -> None:
        if self._state.asking:
            raise UsageError("the pods are being asked already")
        before = self._state
        self._state = State(Asking(self._now()), before.published, before.time, before.failure, before.failed)

    def _carry_out(self) -> None:
        before = self._state
        try:
            published = self._ask(self._federation, self._follow)
        except (FlAppError, OSError) as error:
            failure = error.full_text if isinstance(error, FlAppError) else str(error)
            self._state = State(None, before.published, before.time, failure, self._now())
        except BaseException as error:
            self._state = State(None, before.published, before.time, f"{type(error).__name__}: {error}", self._now())
            raise
        else:
            self._state = State(None, published, self._now())

    def _follow(self, results: Results) -> None:
        state = self._state
        if state.asking and results.step:
            asking = Asking(state.asking.since, results.step.waiting)
            self._state = State(asking, state.published, state.time, state.failure, state.failed)


def _ask(federation: Federation, follow: Follow) -> Published:
    return ask_pods((), federation, _TIMEOUT, follow=follow)
