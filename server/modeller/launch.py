"""Launching a run for the modeller: make its directory, start it, follow it to its end, and report how it ended."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from fl_app.config import RunConfig
from fl_app.errors import DataError, FlAppError, RunFailed, UsageError
from fl_app.federation.kinds import DeployedFederation, Federation, SimulatedFederation
from fl_app.host.disk import DiskFull
from fl_app.host.processes import LEFT_BEHIND
from fl_app.host.signals import interruptible
from fl_app.secagg.errors import ProtocolError
from fl_app.system.files import replace_file
from fl_app.tabular.network_source import VARIABLE, check_source, read_source
from fl_app.tabular.schema import Schema
from server.app.results import Results, Status
from server.app.run_directory import FLOWER_LOG, RunDirectory, request_for
from server.modeller.callbacks import Callback, CallbackFailed, Callbacks
from server.modeller.failure_cause import RunLog, how_it_ended

POLL = 0.2
MARGIN = 120.0
Follow = Callable[[Results], None]


class Launcher(Protocol):
    """Runs a ServerApp in other processes."""

    def start(self, run_dir: Path, environment: dict[str, str], num_pods: int) -> None:
        """Start the run and return at once."""

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit code, or raise TimeoutError."""

    def stop(self) -> None:
        """End the run with all of its processes."""


class FitFailed(RunFailed):
    """A run that ended without a model; ``approvals`` is the approval matrix if missing approvals were the reason."""

    def __init__(self, text: str, run: RunDirectory, approvals: Sequence[Sequence[str]] = ()) -> None:
        super().__init__(text)
        self.run, self.approvals = run, approvals


class Interrupted(KeyboardInterrupt):
    """A run that SIGINT or SIGTERM has stopped; the message says how to resume it."""


class UnfitData(FitFailed, DataError):
    """A run that ended because of what the pods publish: schemas that do not agree, or not with the modeller's."""


def launcher_for(federation: Federation) -> Launcher:
    """Return the launcher for runs over this federation."""
    if isinstance(federation, DeployedFederation):
        from server.deployed.deployed_run import DeployedRun

        return DeployedRun(federation)
    from server.modeller.simulation import Simulation

    return Simulation()


def fit(
    config: RunConfig,
    federation: Federation,
    *,
    runs: Path = Path("runs"),
    test_file: Path | None = None,
    schema: Schema | None = None,
    network: str | None = None,
    follow: Follow | None = None,
    callbacks: Sequence[Callback] = (),
) -> RunDirectory:
    """Train as ``config`` says and return the run's directory.

    Parameters
    ----------
    runs : Path
        Where the run's directory is made.
    test_file : Path or None
        The modeller's public test rows; None takes the federation's.
    schema : Schema or None
        The schema that the modeller expects; if the pods publish another, the run ends before it trains.
    network : str or None
        The source of a network of the modeller's own, whose digest ``config`` names.
    follow : callable
        Called a few times a second with the results so far.
    callbacks : sequence of Callback
        See `server.modeller.callbacks`; an exception that one raises stops the run and is raised here.

    Raises
    ------
    UsageError
        If a simulation has no pod of a name in ``config``; no run is made.
    FitFailed
        If the run ended without a model; its files remain. It is a `DataError` too (`UnfitData`) if the pods' schemas
        were the reason.
    """
    run = new_run(config, federation, runs=runs, test_file=test_file, schema=schema, network=network)
    with run.carried_out():
        carry_out(run, federation, deadline_of(config), follow, callbacks)
    return run


def new_run(
    config: RunConfig,
    federation: Federation,
    *,
    runs: Path,
    test_file: Path | None = None,
    schema: Schema | None = None,
    network: str | None = None,
) -> RunDirectory:
    """Make the directory of a run that nothing carries out yet; arguments and errors are those of `fit`."""
    check_pods(config.pods, federation)
    request = request_for(federation, test_file)
    if schema:
        request = request.changed(expected=schema.model_dump(mode="json"))
    if network is None and config.network:
        raise UsageError("the run has a network of its own, and its source was not given")
    run = RunDirectory.create(runs, config, request)
    if network is not None:
        replace_file(run.network_path, network.encode())
    return run


def check_network(run: RunDirectory) -> dict[str, str]:
    """Return the variables by which the processes of a run find its own network, if it has one.

    Raises
    ------
    UsageError
        If its file in the run's directory is missing, or is not the one that the settings name.
    """
    request = run.request()
    digest = request.settings.get("network")
    if not digest:
        return {}
    check_source(read_source(run.network_path), str(digest))
    return {VARIABLE: str(run.network_path)}


def check_pods(names: Sequence[str], federation: Federation) -> None:
    """Raise `UsageError` if a simulation has no pod of a name; of a deployment only those that answer are known."""
    if isinstance(federation, SimulatedFederation):
        there = federation.pod_identifiers
        if unknown := [name for name in names if name not in there]:
            raise UsageError(
                f"the federation '{federation.name}' has no pod {', '.join(map(repr, unknown))}; "
                f"its pods are {', '.join(there)}"
            )


def deadline_of(config: RunConfig) -> float:
    """Return the seconds that a run with these settings can take at most, by its own time limits and a margin."""
    timing, changes = config.timing, config.dropouts.membership_changes
    sessions = 2 * timing.hello + 2 * changes * timing.rejoin
    step = timing.step + 2 * timing.unmask  # two short exchanges may follow a step
    return sessions + step * (config.most_rounds + changes + 2) + MARGIN


def carry_out(
    run: RunDirectory,
    federation: Federation,
    deadline: float,
    follow: Follow | None = None,
    callbacks: Sequence[Callback] = (),
    temporary: Path | None = None,
) -> None:
    """Launch the run whose directory is ``run``, follow it to its end, and raise unless it was completed.

    Should this process be killed outright, the directory ``temporary`` is removed with all else.

    Raises
    ------
    FitFailed
        If it failed.
    Interrupted
        If this process received SIGINT or SIGTERM; no process of the run is left behind.
    Exception
        Whatever a callback raised; no process is left behind either.
    """
    observers = Callbacks(callbacks, run.path, run.results())
    run.forget_stop()
    try:
        try:
            _launch(run, federation, deadline, follow, observers, temporary)
        except CallbackFailed:
            raise
        except BaseException as error:
            try:
                observers.end(run.results())
            except CallbackFailed as failed:
                error.add_note(f"afterwards {failed}")
            raise
        observers.end(run.results())
    except CallbackFailed as failed:
        raise failed.raised from None
    finally:
        run.forget_stop()


def _launch(
    run: RunDirectory,
    federation: Federation,
    deadline: float,
    follow: Follow | None,
    observers: Callbacks,
    temporary: Path | None,
) -> None:
    launcher, log = launcher_for(federation), RunLog(run.path / FLOWER_LOG)
    num_pods, removed = 0, {LEFT_BEHIND: str(temporary)} if temporary else {}
    own = check_network(run)
    if isinstance(federation, SimulatedFederation):
        from server.modeller.ray_start import FIRST_LIMIT, SECOND_LIMIT

        num_pods, deadline = len(federation.pods), deadline + FIRST_LIMIT + SECOND_LIMIT  # Ray's start comes before all
    with interruptible():
        try:
            launcher.start(run.path, {**os.environ, "FL_APP_FEDERATION": federation.source, **removed, **own}, num_pods)
            observers.start(run.results())
            code = _follow(launcher, run, deadline, follow, observers)
        except CallbackFailed as failed:
            launcher.stop()  # first: until then, the ServerApp writes results too
            _record_end(run, "interrupted", str(failed), over=("running", "failed"))
            raise
        except KeyboardInterrupt:
            launcher.stop()
            _record_end(run, "interrupted", "stopped by the modeller", over=("running", "failed"))
            raise Interrupted(f"stopped; {_how_to_resume(run)}") from None
        except BaseException as error:
            launcher.stop()
            asks = isinstance(error, RunFailed) and not isinstance(error, FitFailed | DiskFull)
            cause = log.cause() if asks else ""
            text = _naming(log, f"{error}: {cause}", run) if cause and cause not in str(error) else str(error)
            _record_end(run, "failed", text)
            if isinstance(error, RunFailed):
                raise FitFailed(_with_advice(text, run), run) from error
            raise
        finally:
            launcher.stop()
    results = run.results()
    if code != 0 or results.status != "completed":
        text = _why_it_failed(run, federation, log, code)
        kind = UnfitData if results.data_error else FitFailed
        raise kind(_with_advice(text, run), run, results.approvals)


def _why_it_failed(run: RunDirectory, federation: Federation, log: RunLog, code: int) -> str:
    """Return why the run failed, and record it: the ServerApp's own error, or what the log tells if it left none."""
    results = run.results()
    if results.error:
        text = log.explain(results.error, federation)
        if text != results.error:
            text = _naming(log, text, run)
            run.write_results(results.changed(error=text))
    else:
        cause = "" if code > 128 else log.cause()  # killed, it has printed nothing of that
        text = _naming(log, f"the run's process failed: {cause or how_it_ended(code)}", run)
        _record_end(run, "failed", text)
    return text


def _naming(log: RunLog, text: str, run: RunDirectory) -> str:
    """Add where all that was printed is; the directory of a discovery is gone once it has ended."""
    return text if run.request().discovery or not log.path.exists() else f"{text} (see {log.path})"


def _with_advice(text: str, run: RunDirectory) -> str:
    return f"{text}; {_how_to_resume(run)}" if run.checkpoint_path.exists() else text


def _how_to_resume(run: RunDirectory) -> str:
    if not run.checkpoint_path.exists():
        return "no round was completed: start a new run"
    named = run.name if run.path.parent == Path("runs").resolve() else run.path
    return f"`fl-app fit --resume {named}` resumes it after its last completed round"


def _follow(launcher: Launcher, run: RunDirectory, deadline: float, follow: Follow | None, observers: Callbacks) -> int:
    until, code = time.monotonic() + deadline, None
    while code is None and time.monotonic() < until:
        with suppress(TimeoutError):
            code = launcher.wait(POLL)
        results = run.results()
        if follow:
            follow(results)
        observers.update(results)
    if code is None:
        raise FitFailed(f"the run did not end within {deadline:.0f} seconds and was stopped", run)
    return code


def _record_end(run: RunDirectory, status: Status, text: str, over: Sequence[Status] = ("running",)) -> None:
    """Record how the run ended, unless the ServerApp has recorded it; ``over`` are the statuses that are replaced."""
    with suppress(FlAppError, ProtocolError, OSError):  # the disk may be full, which is then what is told
        results = run.results()
        if results.status in (None, *over):
            ended = results.changed(run_id=run.name, rounds=results.rounds, status=status, error=text)
            run.write_results(ended)
