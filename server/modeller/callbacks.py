"""What a modeller's own code may do while a run goes on: look at it, and ask it to end.

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
from server.app.results import Results, RoundResult
from server.app.run_directory import STOP_FILE


class Run:
    """A run under way, as its callbacks see it.

    Attributes
    ----------
    directory : Path
        Its files.
    results : mapping
        The content of its results.json now.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.results: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """The run's id."""
        return self.directory.name

    def stop(self, why: str = "") -> None:
        """Ask the run to end after the round under way: with its final evaluation, and with a model.

        Parameters
        ----------
        why
            The reason, for results.json.
        """
        replace_file(self.directory / STOP_FILE, (why or "a callback asked for it").encode())

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.results.get('status', 'starting')}>"


class Callback:
    """Looks at a run from the process that started it; override what you need.

    The methods are called between two looks at the run, some 0.2 seconds apart; of steps that are shorter some may be
    missed, of rounds none is. An exception stops the run, which can be resumed from its last completed round, and is
    raised by whoever started it.
    """

    def on_run_start(self, run: Run) -> None:
        """See a run that has just been launched, anew or to go on with it."""

    def on_step(self, run: Run, step: Mapping[str, Any]) -> None:
        """See a step that has begun: its "name", its "round", "of" how many, the pods it is "waiting" for."""

    def on_round(self, run: Run, metrics: dict[str, float]) -> None:
        """See the metrics of a completed round, as `PyTorchTabularClassifier.fit` returns them.

        They are known once the next step is done: the model is evaluated where it is trained on.
        """

    def on_run_end(self, run: Run) -> None:
        """See how the run ended: ``run.results["status"]`` is "completed", "failed" or "interrupted"."""


class CallbackFailed(Exception):
    """A callback raised something: ``raised`` is what."""

    def __init__(self, callback: Callback, raised: Exception) -> None:
        super().__init__(f"the callback {type(callback).__name__} raised {type(raised).__name__}: {raised}")
        self.raised = raised


class Callbacks:
    """Tells callbacks of a run, each thing once, from one look at its results to the next.

    Parameters
    ----------
    callbacks : sequence of Callback
        Whom to tell, in this order.
    directory : Path
        The run's.
    before : Results
        The results of a run that is resumed, as they were; of rounds whose metrics they hold nothing is told again.

    Every method raises `CallbackFailed` for what a callback raises.
    """

    def __init__(self, callbacks: Sequence[Callback], directory: Path, before: Results) -> None:
        self._callbacks, self._run = tuple(callbacks), Run(directory)
        self._after = max((entry.round for entry in before.evaluated), default=0)
        self._step: tuple[str, int] | None = None
        self._started = False

    def start(self, results: Results) -> None:
        """Tell that the run was launched."""
        self._run.results, self._started = results.document(), True
        for callback in self._callbacks:
            with _attributed_to(callback):
                callback.on_run_start(self._run)

    def __call__(self, results: Results) -> None:
        """Tell what is new in the results."""
        self._run.results = results.document()
        for entry in results.evaluated:
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
        """Tell what is still new, and that the run is over; of one that was never launched, nothing."""
        if not self._started:
            return
        self(results)
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
        given: object = callback  # whatever a notebook passes
        if not isinstance(given, Callback):
            hint = "; give an object of it, not the class" if isinstance(given, type) else ""
            raise UsageError(f"callbacks: {given!r:.60} is no Callback{hint}")


def figures(entry: RoundResult) -> dict[str, float]:
    """Return the numbers in one round's results, those of the test file as ``test_...``; what is undefined is NaN."""
    test = entry.test.document() if entry.test else {}
    flat = {**entry.document(), **{f"test_{name}": value for name, value in test.items()}}
    return {
        name: math.nan if value is None else value
        for name, value in flat.items()
        if value is None or isinstance(value, int | float)
    }
