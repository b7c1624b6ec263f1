"""A run's figures in MLflow or TensorBoard, during the run or after it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from fl_app.errors import UsageError
from server.app.results import Metrics, Results, RoundResult
from server.display.words import METRICS, NUMERIC_METRICS

EXPERIMENT = "fl-app"
RUN_TAG = "fl_app.run"


class Sink(Protocol):
    """A store of numbers by name and round."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Log one number."""

    def close(self, status: str) -> None:
        """Finish; ``status`` is how the run ended."""


class Tracking:
    """Passes a run's results on to sinks, each round once.

    Called with the results so far, as ``follow`` of `server.modeller.launch.fit`; `close` passes the final figures on.

    Parameters
    ----------
    *sinks : Sink
        Receivers of the figures.
    """

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks
        self._rounds = 0

    def __call__(self, results: Results) -> None:
        """Pass on what is new."""
        for entry in results.known[self._rounds :]:
            self._pass_on(_of_round(entry), entry.round)
            self._rounds += 1

    def close(self, results: Results) -> None:
        """Pass on the rest and the final figures, and finish."""
        self(results)
        last = results.rounds[-1].round if results.rounds else 0
        self._pass_on(_named("test", results.final), last)
        for sink in self._sinks:
            sink.close(results.status or "failed")

    def _pass_on(self, figures: Iterator[tuple[str, float]], step: int) -> None:
        for name, value in figures:
            for sink in self._sinks:
                sink.scalar(name, value, step)


class TensorBoard:
    """Event files, in one directory for each run.

    Raises
    ------
    UsageError
        If the extra ``tensorboard`` is not installed, or the directory holds the run already or cannot be written.
    """

    def __init__(self, directory: Path, run: str) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise UsageError("TensorBoard is not installed: pip install 'fl-app[tensorboard]'") from error
        path = directory / run
        if path.exists():
            raise UsageError(f"{path} already exists: the run has been logged there; remove it to log the run again")
        try:
            self._writer = Writer(str(path))
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error

    def scalar(self, name: str, value: float, step: int) -> None:
        """Log one number."""
        self._writer.add_scalar(name, value, step)

    def close(self, status: str) -> None:
        """Write what is left."""
        self._writer.close()


class Mlflow:
    """A run on an MLflow tracking server, in the experiment ``fl-app``.

    Parameters
    ----------
    uri : str
        The server's address, or any other tracking URI; "" for MLflow's own default.
    run : str
        The run's name.
    settings : mapping
        Its settings, logged as parameters.

    Raises
    ------
    UsageError
        If the extra ``mlflow`` is not installed, the server does not answer, or it holds the run already.
    """

    def __init__(self, uri: str, run: str, settings: Mapping[str, Any]) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise UsageError("MLflow is not installed: pip install 'fl-app[mlflow]'") from error
        try:
            self._client = MlflowClient(tracking_uri=uri or None)
            existing = self._client.get_experiment_by_name(EXPERIMENT)
            experiment = existing.experiment_id if existing else self._client.create_experiment(EXPERIMENT)
            if self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run}'"):
                raise UsageError(f"MLflow has run {run} already; delete it there to log it again")
            made = self._client.create_run(experiment, tags={RUN_TAG: run}, run_name=run)
            self._id = made.info.run_id
            for name, value in settings.items():
                text = value if isinstance(value, str) else json.dumps(value)
                self._client.log_param(self._id, name, text)
        except MlflowException as error:
            raise UsageError(f"MLflow at {uri or 'its default'}: {' '.join(str(error).split())[:200]}") from error

    def scalar(self, name: str, value: float, step: int) -> None:
        """Log one number."""
        self._client.log_metric(self._id, name, value, step=step)

    def close(self, status: str) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._id, "FINISHED" if status == "completed" else "FAILED")


def _of_round(entry: RoundResult) -> Iterator[tuple[str, float]]:
    yield from _named("validation", entry)
    yield from _named("public_test_file", entry.test)
    if entry.train_loss is not None:
        yield "training/loss", entry.train_loss
    yield "training/clipped", float(entry.clipped)
    yield "training/seconds", entry.seconds


def _named(part: str, metrics: Metrics | None) -> Iterator[tuple[str, float]]:
    for name in dict.fromkeys((*METRICS, *NUMERIC_METRICS)):
        value: float | None = getattr(metrics, name, None)
        if value is not None:
            yield f"{part}/{name}", value
