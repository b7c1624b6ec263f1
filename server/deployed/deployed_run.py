"""A run on a SuperLink: submitted there, with its ServerApp here, in the modeller's directory.

A SuperLink that was started with ``--isolation process`` leaves it to others to run ServerApps. The modeller does it,
in a process that lives as long as the run (`server.deployed.serverapp`): it is started first, and imports what it
needs while the run is being submitted.

To a SuperLink with an authority of its own the modeller authenticates by a token (`server.deployed.credentials`).
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fl_app.errors import RunFailed
from fl_app.federation.kinds import DeployedFederation
from fl_app.host.bundle import build
from fl_app.host.disk import DiskFull, full_disks
from fl_app.host.probe import why_unreachable
from fl_app.host.processes import GuardedProcess, flower_environment, same_path
from server.app.run_directory import FLOWER_LOG, RUN_DIRECTORY_VARIABLE, RunDirectory
from server.deployed.serverapp import DISK_FULL, INSECURE, REFUSED, RUN_ELSEWHERE, UNREACHABLE
from server.deployed.superlink_client import SuperLinkClient
from server.deployed.superlink_monitor import SuperLinkMonitor

_STOP_SECONDS = 5.0
_FAILURES: Mapping[int, str] = {
    RUN_ELSEWHERE: "the ServerApp was run on another machine or by another process, which does not have the run's "
    "directory: the SuperLink must be started with --isolation process, and serves one modeller at a time",
    UNREACHABLE: "the SuperLink no longer answers",
    REFUSED: "the SuperLink no longer admits this modeller: ask its operator whether the key was revoked, and check "
    "the clocks",
}


class DeployedRun:
    """One run on a SuperLink, with the ServerApp in the current directory.

    Parameters
    ----------
    federation
        The SuperLink's address, and how to connect to it.
    app
        Directory of another Flower app to submit instead of this one.
    """

    def __init__(self, federation: DeployedFederation, app: Path | None = None) -> None:
        self._federation = federation
        self._app = app
        self._process: GuardedProcess | None = None
        self._run_dir: Path | None = None
        self._run: int | None = None
        self._monitor = SuperLinkMonitor(federation.superlink)

    def start(self, run_dir: Path, environment: Mapping[str, str], num_pods: int) -> None:
        """Start the process of the run's ServerApp, and submit the run meanwhile; takes about a second.

        Parameters
        ----------
        run_dir
            An existing directory, passed to the ServerApp as FL_APP_RUN_DIR; all output goes to its ``flower.log``.
        environment
            Variables for the ServerApp, in addition to those of this process. The pods do not see them.
        num_pods
            Not used: the ServerApp itself finds out which pods are connected.

        Raises
        ------
        RunFailed
            If the SuperLink cannot be reached or does not accept the run.
        """
        if self._process is not None:
            raise RuntimeError("this run has been started before")
        self._run_dir = run_dir
        given = {
            **environment,
            "PYTHONPATH": same_path(environment),
            RUN_DIRECTORY_VARIABLE: str(run_dir.resolve()),
        }
        handover, told = os.pipe()
        with os.fdopen(told, "wb", buffering=0) as pipe:  # a buffer would be written once more when it is closed
            try:
                self._process = GuardedProcess(
                    _serverapp(self._federation, self._app, handover),
                    log=run_dir / FLOWER_LOG,
                    environment=flower_environment(given),
                    descriptors=(handover,),
                )
            finally:
                os.close(handover)
            try:
                self._run = self._submit()
                with suppress(BrokenPipeError):  # a process that has ended already is noticed by `wait`
                    pipe.write(f"{self._run}\n".encode())
            except BaseException:
                self.stop()
                raise

    def _submit(self) -> int:
        """Start the run on the SuperLink, and return its id."""
        if problem := why_unreachable(
            self._federation.superlink,
            insecure=self._federation.insecure,
            root_certificates=self._federation.root_certificates,
        ):
            raise RunFailed(problem)
        bundle = build(self._network()) if self._app is None else _bundle_of(self._app)
        try:
            return client_for(self._federation).start_run(bundle)
        except RunFailed as error:
            raise RunFailed(f"the SuperLink at {self._federation.superlink} did not accept the run: {error}") from None

    def _network(self) -> bytes | None:
        """Return the source of a network of the modeller's own, which the run's directory has then."""
        path = RunDirectory(self._run_dir).network_path if self._run_dir else None
        return path.read_bytes() if path and path.is_file() else None

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit code once the run has ended and no process of it is left here: 0 if the ServerApp returned.

        Raises
        ------
        TimeoutError
            If that takes longer than ``seconds``; the run goes on.
        RunFailed
            If the ServerApp was not run here, with the reason, or the SuperLink can no longer be reached.
        """
        if self._process is None or self._run_dir is None:
            raise RunFailed("the run has not been started")
        try:
            code = self._process.wait(seconds)
        except TimeoutError:
            self._monitor.check()
            raise
        if code:
            self._stop_there()
        if code == DISK_FULL:
            raise DiskFull(full_disks(self._run_dir, Path(tempfile.gettempdir())))
        if code in _FAILURES:
            raise RunFailed(_FAILURES[code])
        return code

    def stop(self) -> None:
        """End the run, on the SuperLink too unless it has ended there, and all of its processes here."""
        if self._process is not None and self._process.poll() is None and self._process.stop():
            self._stop_there()

    def _stop_there(self) -> None:
        """Stop the run on the SuperLink, should the process that was to do it have been killed."""
        run, self._run = self._run, None
        if run is not None:
            with suppress(RunFailed):  # as a rule it has ended there
                client_for(self._federation, _STOP_SECONDS).stop_run(run)


def client_for(federation: DeployedFederation, seconds: float = 30.0) -> SuperLinkClient:
    """Return a client for requests to a federation's SuperLink, each of ``seconds`` at most."""
    return SuperLinkClient(
        federation.superlink,
        insecure=federation.insecure,
        root_certificates=federation.root_certificates,
        seconds=seconds,
    )


def check_admission(federation: DeployedFederation) -> None:
    """Ask the SuperLink for its list of runs; raises `RunFailed` if it does not answer this modeller."""
    client_for(federation).check_admission()


def _serverapp(federation: DeployedFederation, app: Path | None, handover: int) -> list[str]:
    """Return the command of the process that carries the ServerApp out once it is told which run is its own."""
    connection = INSECURE if federation.insecure else str(federation.root_certificates or "")
    module = [sys.executable, "-P", "-m", "server.deployed.serverapp"]
    return [*module, str(handover), federation.superlink, connection, str(app.resolve()) if app else ""]


def _bundle_of(app: Path) -> bytes:
    from flwr.cli.build import build_fab_from_disk

    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of a package that Flower uses
        return build_fab_from_disk(app)
