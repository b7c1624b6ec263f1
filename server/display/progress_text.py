"""How far a run is, in words: the step under way, who is waited for, bytes so far, time left."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.filesize import decimal

_STEPS = {
    "hello": "waiting for the pods",
    "statistics": "summing statistics",
    "train": "training round",
    "evaluate": "final evaluation",
}
_TRIPS = {
    "roster": "exchanging shares",
    "consistency": "agreeing on who is left",
    "unmask": "unmasking",
}
_SHOWN_PODS = 4
_RECENT = 3
"""Rounds by whose time the next ones are estimated."""


@dataclass(frozen=True)
class Status:
    """A moment of a run.

    Attributes
    ----------
    what : str
        The step under way, such as "training round 3 of 10".
    done, of : int
        Rounds completed, and in all; 0 of 0 before that is known.
    waiting : tuple of str
        Pods that have yet to answer.
    seconds : float
        For how long the step has been under way.
    sent, received : int
        Bytes to the pods and from them so far.
    left : float or None
        Seconds to the end, from what rounds have taken; None while that is unknown.
    at_most : bool
        Whether it may end earlier.
    """

    what: str
    done: int = 0
    of: int = 0
    waiting: tuple[str, ...] = ()
    seconds: float = 0.0
    sent: int = 0
    received: int = 0
    left: float | None = None
    at_most: bool = False

    @property
    def awaited(self) -> str:
        """Who is waited for, in words; empty if nobody is."""
        return f"waiting for {listed(self.waiting)}" if self.waiting else ""

    @property
    def figures(self) -> str:
        """Time and bytes, in words."""
        said = [duration(self.seconds)]
        if self.sent or self.received:
            said.append(traffic(self.sent, self.received))
        if self.left is not None:
            said.append(f"{'at most' if self.at_most else 'about'} {duration(self.left)} left")
        return " · ".join(said)


class Clock:
    """Makes a `Status` of a run's results at each look; it knows since when the step has been under way.

    Parameters
    ----------
    now : callable
        Returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._step: tuple[Any, ...] = ()
        self._since = now()

    def status(self, results: Mapping[str, Any]) -> Status:
        """Return how far the run is whose results.json says this; an empty mapping: it has not begun."""
        step = results.get("step") or {}
        key = (step.get("name"), step.get("round"))
        if key != self._step:
            self._step, self._since = key, self._now()
        seconds = self._now() - self._since
        sent, received = bytes_of(results)
        return Status(
            _what(step),
            done=len(results.get("rounds", ())),
            of=step.get("of", 0),
            waiting=tuple(step.get("waiting", ())),
            seconds=seconds,
            sent=sent,
            received=received,
            left=_left(results, step, seconds),
            at_most="early_stopping" in results,
        )


def bytes_of(results: Mapping[str, Any]) -> tuple[int, int]:
    """Return the payload bytes sent to the pods and received from them so far."""
    costs = (results.get("secure_aggregation") or {}).get("steps", {}).values()
    return sum(cost["bytes_out"] for cost in costs), sum(cost["bytes_in"] for cost in costs)


def listed(pods: Sequence[str]) -> str:
    """Return names, of many only some."""
    more = len(pods) - _SHOWN_PODS
    return ", ".join(pods[:_SHOWN_PODS]) + (f" and {more} more" if more > 0 else "")


def traffic(sent: int, received: int) -> str:
    """Return "3.2 MB sent, 3.1 MB received"."""
    return f"{decimal(sent)} sent, {decimal(received)} received"


def duration(seconds: float) -> str:
    """Return a length of time in words, no finer than it is known."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _what(step: Mapping[str, Any]) -> str:
    if not step:
        return "starting"
    number = f" {step['round']} of {step['of']}" if step["name"] == "train" else ""
    trip = f" ({_TRIPS[step['trip']]})" if step.get("trip") in _TRIPS else ""
    return f"{_STEPS.get(step['name'], step['name'])}{number}{trip}"


def _left(results: Mapping[str, Any], step: Mapping[str, Any], seconds: float) -> float | None:
    rounds = results.get("rounds") or ()
    if step.get("name") != "train" or not rounds:
        return None
    recent = [entry["seconds"] for entry in rounds[-_RECENT:]]
    each = sum(recent) / len(recent)
    # The final evaluation is a trip without training, as the statistics were.
    cost = (results.get("secure_aggregation") or {}).get("steps", {}).get("statistics", {})
    final = cost["seconds"][-1] if cost.get("seconds") else 0.0
    left: float = max(each - seconds, 0.0) + each * (step["of"] - len(rounds) - 1) + final
    return left
