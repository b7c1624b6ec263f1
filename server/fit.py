"""Carrying out a run for the modeller: make its directory, launch it, follow it, say how it ended."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from fl_app.config import RunConfig
from fl_app.errors import DataError, FlAppError, RunFailed
from fl_app.federation import DeployedFederation, Federation
from fl_app.secagg.errors import ProtocolError
from fl_app.tabular.schema import Schema
from server.run_directory import RunDirectory
from server.settings import modeller_settings
from server.simulation import LOG, Simulation

POLL = 0.2
MARGIN = 120.0
Follow = Callable[[dict[str, Any]], None]


class Launcher(Protocol):
    """Something that carries a run out in other processes."""

    def start(self, run_dir: Path, environment: dict[str, str], num_pods: int) -> None:
        """Start the run and return at once."""

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit code, or raise TimeoutError."""

    def stop(self) -> None:
        """End it with everything that belongs to it."""


class FitFailed(RunFailed):
    """A run that ended without a model; ``approvals`` is the approval matrix where that is why."""

    def __init__(self, text: str, run: RunDirectory, approvals: list[list[str]] | None = None) -> None:
        super().__init__(text)
        self.run, self.approvals = run, approvals


class UnfitData(FitFailed, DataError):
    """A run that ended because of what the pods publish: schemas that do not agree, or not with the modeller's."""


def launcher_for(federation: Federation) -> Launcher:
    """Return what carries runs of this federation out."""
    if isinstance(federation, DeployedFederation):
        from server.deployment import DeployedRun

        return DeployedRun(federation)
    return Simulation()


def fit(
    config: RunConfig,
    federation: Federation,
    *,
    runs: Path = Path("runs"),
    test_file: Path | None = None,
    schema: Schema | None = None,
    follow: Follow | None = None,
) -> RunDirectory:
    """Train as ``config`` says and return the run's directory.

    Parameters
    ----------
    runs : Path
        Where the run's directory is made.
    test_file : Path or None
        The modeller's public test rows; None takes the federation's.
    schema : Schema or None
        What the modeller takes the pods to publish; the run ends before it trains if they do not.
    follow : callable
        Called a few times a second with the results so far.

    Raises
    ------
    FitFailed
        If the run ended without a model; what it had saved stays in its directory. A `DataError` too (`UnfitData`)
        where the pods' schemas are why.
    """
    settings = modeller_settings(federation, test_file)
    if schema:
        settings["schema"] = schema.model_dump(mode="json")
    run = RunDirectory.create(runs, config, **settings)
    deadline = config.hello_timeout * 2 + config.step_timeout * (config.rounds + 2) + MARGIN
    carry_out(run, federation, deadline, follow)
    return run


def carry_out(run: RunDirectory, federation: Federation, deadline: float, follow: Follow | None = None) -> None:
    """Launch the run whose directory is ``run``, follow it to its end, and raise `FitFailed` if it failed."""
    launcher = launcher_for(federation)
    num_pods = 0 if isinstance(federation, DeployedFederation) else len(federation.pods)
    try:
        launcher.start(run.path, {**os.environ, "FL_APP_FEDERATION": federation.source}, num_pods)
        code = _follow(launcher, run, deadline, follow)
    except BaseException as error:
        _note_end(run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", str(error))
        raise
    finally:
        launcher.stop()
    results = run.results()
    if code != 0 or results.get("status") != "completed":
        text = results.get("error") or f"the run ended with exit code {code}; {run.path / LOG} says why"
        _note_end(run, "failed", text)
        raise (UnfitData if results.get("data_error") else FitFailed)(text, run, results.get("approvals"))


def _follow(launcher: Launcher, run: RunDirectory, deadline: float, follow: Follow | None) -> int:
    waited = 0.0
    while waited < deadline:
        try:
            code = launcher.wait(POLL)
        except TimeoutError:
            waited += POLL
            if follow:
                follow(run.results())
            continue
        if follow:
            follow(run.results())
        return code
    raise FitFailed(f"the run did not end within {deadline:.0f} seconds and was stopped", run)


def _note_end(run: RunDirectory, status: str, text: str) -> None:
    """Write how the run ended where the ServerApp could not."""
    with suppress(FlAppError, ProtocolError):
        results = run.results()
        if results.get("status") in (None, "running"):
            run.write_results({"run_id": run.name, "rounds": [], **results, "status": status, "error": text})
