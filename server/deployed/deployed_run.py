"""A run on a SuperLink: submitted there, with its ServerApp here, in the modeller's directory.

A SuperLink that was started with ``--isolation process`` leaves it to others to run ServerApps. The modeller does it,
with a ``flower-superexec`` that lives as long as the run. Run as a module, this file is the child process that starts
this executor and watches over it, and that stops the run on the SuperLink if it is itself stopped.

To a SuperLink with an authority of its own the modeller authenticates by a token (`server.deployed.credentials`).
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from fl_app.errors import RunFailed
from fl_app.federation.kinds import DeployedFederation
from fl_app.host.bundle import write_app
from fl_app.host.probe import why_unreachable
from fl_app.host.processes import GuardedProcess, flower_environment, same_path
from fl_app.host.signals import interruptible
from server.app.run_directory import FLOWER_LOG, RUN_DIRECTORY_VARIABLE
from server.deployed.credentials import GATE_CODE, write_credentials
from server.deployed.executor import NOT_ADMITTED
from server.deployed.superlink_monitor import SuperLinkMonitor

_CONNECTION = "fl-app"
_TICK = 0.1
_COMMAND_SECONDS = 60.0
_STATUS_INTERVAL = 15.0
"""Seconds between two queries of the run's status while the executor here has not been given its ServerApp."""
_RUN_ELSEWHERE, _NO_EXECUTOR, _UNREACHABLE, _REFUSED = 81, 82, 83, NOT_ADMITTED
"""Exit codes of the child process, chosen apart from those of a ServerApp (`fl_app.errors`, 0 and 1) and of signals."""
_FAILURES: Mapping[int, str] = {
    _RUN_ELSEWHERE: "the ServerApp was run on another machine or by another process, which does not have the run's "
    "directory: the SuperLink must be started with --isolation process, and serves one modeller at a time",
    _NO_EXECUTOR: "flower-superexec, which runs the ServerApp, ended",
    _UNREACHABLE: "the SuperLink no longer answers",
    _REFUSED: "the SuperLink no longer admits this modeller: ask its operator whether the key was revoked, and check "
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
        self._monitor = SuperLinkMonitor(federation.superlink)

    def start(self, run_dir: Path, environment: Mapping[str, str], num_pods: int) -> None:
        """Submit the run and start the executor of its ServerApp; takes about two seconds.

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
        if problem := why_unreachable(
            self._federation.superlink,
            insecure=self._federation.insecure,
            root_certificates=self._federation.root_certificates,
        ):
            raise RunFailed(problem)
        scratch = Path(tempfile.mkdtemp(prefix="fl-app-"))
        home = scratch / "flwr"
        given = {
            **environment,
            "PYTHONPATH": same_path(environment),
            "FLWR_HOME": str(home),
            RUN_DIRECTORY_VARIABLE: str(run_dir.resolve()),
        }
        child_environment = flower_environment(given)
        try:
            _write_connection(home, self._federation)
            app = self._app or write_app(scratch)
            try:
                run_id = _flwr(child_environment, "run", str(app), _CONNECTION)["run-id"]
            except RunFailed as error:
                raise RunFailed(
                    f"the SuperLink at {self._federation.superlink} did not accept the run: {error}"
                ) from None
            child = [sys.executable, "-P", "-m", "server.deployed.deployed_run", run_id, str(scratch)]
            self._process = GuardedProcess(
                [*child, *_executor(self._federation)],
                log=run_dir / FLOWER_LOG,
                environment=child_environment,
                scratch=scratch,
            )
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit code once the run has ended and no process of it is left here: 0 if the ServerApp returned.

        Raises
        ------
        TimeoutError
            If that takes longer than ``seconds``; the run goes on.
        RunFailed
            If the ServerApp was not run here, with the reason, or the SuperLink can no longer be reached.
        """
        if self._process is None:
            raise RunFailed("the run has not been started")
        try:
            code = self._process.wait(seconds)
        except TimeoutError:
            self._monitor.check()
            raise
        if code in _FAILURES:
            raise RunFailed(_FAILURES[code])
        return code

    def stop(self) -> None:
        """End the run, on the SuperLink too unless it has ended there, and all of its processes here."""
        if self._process is not None:
            self._process.stop()


def check_admission(federation: DeployedFederation) -> None:
    """Ask the SuperLink for its list of runs; raises `RunFailed` if it does not answer this modeller."""
    with tempfile.TemporaryDirectory(prefix="fl-app-") as scratch:
        home = Path(scratch, "flwr")
        _write_connection(home, federation)
        _flwr(flower_environment({"FLWR_HOME": str(home)}), "list", _CONNECTION)


def _write_connection(home: Path, federation: DeployedFederation) -> None:
    """Write the configuration in which Flower's own commands look up the SuperLink."""
    connection: dict[str, str | bool] = {"address": federation.superlink}
    if federation.insecure:
        connection["insecure"] = True
    elif federation.root_certificates:
        connection["root-certificates"] = str(federation.root_certificates)
    home.mkdir()
    text = tomli_w.dumps({"superlink": {"default": _CONNECTION, _CONNECTION: connection}})
    (home / "config.toml").write_text(text, "utf-8")


def _executor(federation: DeployedFederation) -> list[str]:
    """Return the command that runs the ServerApps which the SuperLink hands over.

    Flower's own executor over TLS would need a secret shared by all executors; without TLS it needs none.
    """
    if federation.insecure:
        return ["flower-superexec", "--runtime-api-address", federation.superlink, "--insecure"]
    certificates = [str(federation.root_certificates)] if federation.root_certificates else []
    return [sys.executable, "-P", "-m", "server.deployed.executor", federation.superlink, *certificates]


def _flwr(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """Return the JSON reply of a command of Flower's; raises `RunFailed` with its message if it failed.

    Whether it succeeded stands in the reply only: with ``--format json``, Flower's commands always exit with 0.
    """
    write_credentials(Path(environment["FLWR_HOME"]), _CONNECTION)
    command = [shutil.which("flwr", path=environment["PATH"]) or "flwr", *arguments, "--format", "json"]
    try:
        completed = subprocess.run(  # noqa: S603 - the arguments are ours, and no shell is involved
            command, env=dict(environment), capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
        reply: dict[str, Any] = json.loads(completed.stdout)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"the SuperLink did not answer `flwr {arguments[0]}` in {_COMMAND_SECONDS:.0f} s") from None
    except ValueError:
        raise RunFailed(f"`flwr {arguments[0]}` failed: {(completed.stderr or completed.stdout).strip()}") from None
    if not reply.get("success"):
        # Only the last paragraph is about the error; those before it say what the command was about to do.
        message = " ".join(str(reply.get("error-message")).strip().rpartition("\n\n")[2].split())
        if (
            mark := f"[code: {GATE_CODE}]"
        ) in message:  # the gate's own text, which needs nothing of Flower's around it
            raise RunFailed(message.rpartition(mark)[2].strip())
        raise RunFailed(f"`flwr {arguments[0]}` failed: {message}")
    return reply


def _child(run_id: str, scratch: Path, executor: list[str]) -> int:
    """Run the executor until the ServerApp of ``run_id`` has ended; return its exit code, or one of `_FAILURES`."""
    path = os.pathsep.join([str(_write_serverapp(run_id, scratch)), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1"}
    with interruptible():
        try:
            code = _watch(run_id, scratch, subprocess.Popen(executor, env=environment))  # noqa: S603 - see `_flwr`
            if code not in _FAILURES:
                return code
        except KeyboardInterrupt:  # the guard has asked this process to end
            code = 128 + signal.SIGTERM
        with suppress(RunFailed):
            _flwr(os.environ, "stop", run_id, _CONNECTION)
        return code


def _watch(run_id: str, scratch: Path, executor: subprocess.Popen[bytes]) -> int:
    """Wait for the end of the ServerApp, of its executor, or of the hope that the SuperLink will hand it over."""
    exit_code_file = scratch / "exit_code"
    next_query, has_begun = time.monotonic() + _STATUS_INTERVAL, False
    while (executor_code := executor.poll()) is None:
        if exit_code_file.exists():
            return int(exit_code_file.read_text())
        # While a `flwr-serverapp` is at work here it may be this run's: only otherwise is the status of any use.
        if time.monotonic() > next_query and not any(scratch.glob("claim.*")):
            try:
                had_begun, has_begun = has_begun, _status(run_id) != "pending"
            except RunFailed as error:
                print(error, flush=True)
                return _UNREACHABLE
            # Once is not enough: the run may have been handed to this executor a moment before the query.
            if had_begun and has_begun:
                return _RUN_ELSEWHERE
            next_query = time.monotonic() + _STATUS_INTERVAL
        time.sleep(_TICK)
    return _REFUSED if executor_code == _REFUSED else _NO_EXECUTOR


def _status(run_id: str) -> str:
    """Return the run's status on the SuperLink, such as "pending", "running" or "finished:failed"."""
    return str(_flwr(os.environ, "list", _CONNECTION, "--run-id", run_id)["runs"][0]["status"])


def _write_serverapp(run_id: str, scratch: Path) -> Path:
    """Write the ``flwr-serverapp`` of this run and return its directory, which precedes Flower's on the PATH.

    A shell script around `serverapp.py`, because it also does what Python code could not if it crashed: it keeps the
    output, which the executor discards, and records the exit code. Only a ServerApp that has claimed the run leaves
    one; ``mv`` makes the file appear complete.
    """
    serverapp, log = Path(__file__).with_name("serverapp.py"), Path(os.environ[RUN_DIRECTORY_VARIABLE], FLOWER_LOG)
    script = scratch / "bin" / "flwr-serverapp"
    script.parent.mkdir()
    run_it = shlex.join([sys.executable, "-P", str(serverapp), run_id])
    lines = [
        "#!/bin/sh",
        f'scratch={shlex.quote(str(scratch))}; claim=$scratch/claim.$$; : >"$claim"',
        f'{run_it} "$claim" "$@" >>{shlex.quote(str(log))} 2>&1',
        "code=$?",
        'if test -s "$claim"; then echo $code >"$claim"; mv "$claim" "$scratch/exit_code"; else rm "$claim"; fi',
        "exit $code",
    ]
    script.write_text("\n".join(lines) + "\n", "utf-8")
    script.chmod(0o755)
    return script.parent


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
