"""How far a run is: the step under way, the pods awaited, bytes so far, time left."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from server.app.results import AggregationResult, Results, StepProgress
from server.display.words import STEPS, TRIPS, duration, listed, traffic

_RECENT = 3
"""Rounds whose duration the estimate for the next ones is based on."""


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
        Time for which the step has been under way.
    sent, received : int
        Bytes to the pods and from them so far.
    left : float or None
        Estimated seconds to the end; None before the first round is completed, and after the last.
    at_most : bool
        Whether the run may end earlier.
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
        """The pods awaited, in words; empty if there are none."""
        return f"waiting for {listed(self.waiting)}" if self.waiting else ""

    @property
    def figures(self) -> str:
        """Time and bytes, in words."""
        parts = [duration(self.seconds)]
        if self.sent or self.received:
            parts.append(traffic(self.sent, self.received))
        if self.left is not None:
            parts.append(f"{'at most' if self.at_most else 'about'} {duration(self.left)} left")
        return " · ".join(parts)


class Clock:
    """Derives a `Status` from a run's results; called again and again, it measures how long each step takes.

    Parameters
    ----------
    now : callable
        Returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._step: tuple[str, int] | None = None
        self._since = now()

    def status(self, results: Results) -> Status:
        """Return the status; of results without a step, that of a run that is starting."""
        step = results.step or StepProgress()
        if (step.name, step.round) != self._step:
            self._step, self._since = (step.name, step.round), self._now()
        seconds = self._now() - self._since
        aggregation = results.secure_aggregation or AggregationResult()
        return Status(
            _what(step),
            done=len(results.rounds),
            of=step.of,
            waiting=step.waiting,
            seconds=seconds,
            sent=aggregation.bytes_out,
            received=aggregation.bytes_in,
            left=_left(results, step, aggregation, seconds),
            at_most=results.early_stopping is not None,
        )


def _what(step: StepProgress) -> str:
    if not step.name:
        return "starting"
    number = f" {step.round} of {step.of}" if step.name == "train" else ""
    trip = f" ({TRIPS[step.trip]})" if step.trip in TRIPS else ""
    return f"{STEPS.get(step.name, step.name)}{number}{trip}"


def _left(results: Results, step: StepProgress, aggregation: AggregationResult, seconds: float) -> float | None:
    if step.name != "train" or not results.rounds:
        return None
    recent = [entry.seconds for entry in results.rounds[-_RECENT:]]
    each = sum(recent) / len(recent)
    # The final evaluation is a step without training, as the statistics were.
    statistics = aggregation.steps.get("statistics")
    final = statistics.seconds[-1] if statistics and statistics.seconds else 0.0
    return max(each - seconds, 0.0) + each * (step.of - len(results.rounds) - 1) + final
