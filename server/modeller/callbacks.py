"""Callbacks: a modeller's own code that watches a run and may ask it to stop.

::

    class GoodEnough(Callback):
        def on_round(self, run, metrics):
            if metrics["auc"] > 0.92:
                run.stop("good enough")

    model.fit(pods, callbacks=[GoodEnough()])
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fl_app.errors import UsageError
from fl_app.system.files import replace_file
from server.app.results import Metrics, Results, RoundResult
from server.app.run_directory import STOP_FILE


class Run:
    """A run in progress, as its callbacks see it.

    Attributes
    ----------
    directory : Path
        The run directory.
    results : mapping
        The current content of its results.json.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.results: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """The run's id."""
        return self.directory.name

    def stop(self, why: str = "") -> None:
        """Ask the run to stop after the current round. It still makes its final evaluation and writes a model.

        Parameters
        ----------
        why
            The reason, for results.json.
        """
        replace_file(self.directory / STOP_FILE, (why or "a callback asked for it").encode())

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.results.get('status', 'starting')}>"


class Callback:
    """Watches a run from the process that started it. Override the methods you need.

    The run is polled every 0.2 seconds, so a step that is shorter may be missed; no round is. An exception in a method
    stops the run, which can be resumed from its last completed round, and is raised to the caller of `fit`.
    """

    def on_run_start(self, run: Run) -> None:
        """Called when the run has been launched or resumed."""

    def on_step(self, run: Run, step: Mapping[str, Any]) -> None:
        """Called when a step has begun: its "name", its "round", "of" how many, and the pods it is "waiting" for."""

    def on_round(self, run: Run, metrics: dict[str, float]) -> None:
        """Called with the metrics of a completed round, as `PyTorchTabularClassifier.fit` returns them.

        They are known after the next step, in which pods evaluate the model before they train it further. Of a run with
        privacy only the last round is evaluated; the others have their metrics on the public test file alone.
        """

    def on_run_end(self, run: Run) -> None:
        """Called when the run has ended: ``run.results["status"]`` is "completed", "failed" or "interrupted"."""


class CallbackFailed(Exception):
    """A callback raised the exception ``raised``."""

    def __init__(self, callback: Callback, raised: Exception) -> None:
        super().__init__(f"the callback {type(callback).__name__} raised {type(raised).__name__}: {raised}")
        self.raised = raised


class Callbacks:
    """Calls the callbacks of a run, once for each event, as its results grow.

    Parameters
    ----------
    callbacks : sequence of Callback
        They are called in this order.
    directory : Path
        The run directory.
    before : Results
        The results before this launch. In a resumed run, rounds whose metrics they hold are not reported again.

    Every method raises `CallbackFailed` if a callback raises an exception.
    """

    def __init__(self, callbacks: Sequence[Callback], directory: Path, before: Results) -> None:
        self._callbacks, self._run = tuple(callbacks), Run(directory)
        self._after = max((entry.round for entry in before.known), default=0)
        self._step: tuple[str, int] | None = None
        self._started = False

    def start(self, results: Results) -> None:
        """Report that the run was launched."""
        self._run.results, self._started = results.document(), True
        for callback in self._callbacks:
            with _attributed_to(callback):
                callback.on_run_start(self._run)

    def update(self, results: Results) -> None:
        """Report what is new in the results."""
        self._run.results = results.document()
        for entry in results.known:
            if entry.round > self._after:
                self._after = entry.round
                for callback in self._callbacks:
                    with _attributed_to(callback):
                        callback.on_round(self._run, figures(entry))
        step = results.step
        if step and (step.name, step.round) != self._step:
            self._step = (step.name, step.round)
            for callback in self._callbacks:
                with _attributed_to(callback):
                    callback.on_step(self._run, step.document())

    def end(self, results: Results) -> None:
        """Report what is still new, and that the run has ended. Nothing is reported if it was never launched."""
        if not self._started:
            return
        self.update(results)
        for callback in self._callbacks:
            with _attributed_to(callback):
                callback.on_run_end(self._run)


@contextmanager
def _attributed_to(callback: Callback) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise CallbackFailed(callback, error) from error


def check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raise `UsageError` unless each of them is a `Callback`."""
    for callback in callbacks:
        given: object = callback  # a notebook may pass anything
        if not isinstance(given, Callback):
            hint = "; give an instance, not the class" if isinstance(given, type) else ""
            raise UsageError(f"callbacks: {given!r:.60} is no Callback{hint}")


def _flat(metrics: Metrics) -> dict[str, Any]:
    return {**metrics.document(), **{f"own_{name}": value for name, value in metrics.own.items()}}


def figures(entry: RoundResult) -> dict[str, float]:
    """Return the numbers in one round's results; undefined ones are NaN.

    Those of the test file begin with ``test_``, those that a network's own file computes with ``own_``.
    """
    test = _flat(entry.test) if entry.test else {}
    flat = {**_flat(entry), **{f"test_{name}": value for name, value in test.items()}}
    return {
        name: math.nan if value is None else value
        for name, value in flat.items()
        if value is None or isinstance(value, int | float)
    }
