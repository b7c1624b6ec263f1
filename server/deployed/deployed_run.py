"""A run in deployment: submitted to a SuperLink, with its ServerApp here, in the modeller's directory.

A SuperLink that is started with ``--isolation process`` leaves it to others to carry out ServerApps. The modeller does
it, with a ``flower-superexec`` that lives as long as the run. Run as a module, this file is the child process that
looks after it, and that stops the run on the SuperLink if it is itself stopped.

To a SuperLink with an authority of its own the modeller's key shows who he is (`server.deployed.credentials`).
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
from server.deployed import credentials
from server.deployed.credentials import GATE_CODE
from server.deployed.executor import NOT_ADMITTED
from server.deployed.superlink_monitor import Watch

_CONNECTION = "fl-app"
_TICK = 0.1
_COMMAND_SECONDS = 60.0
_PATIENCE = 15.0
"""Seconds between two questions to the SuperLink while it has not handed the ServerApp over."""
_TAKEN, _NO_EXECUTOR, _LOST, _TURNED_AWAY = 81, 82, 83, NOT_ADMITTED
_REASONS = {
    _TAKEN: "the SuperLink had the ServerApp carried out elsewhere, where it does not find the run's directory: the "
    "SuperLink must be started with --isolation process, and serves one modeller at a time",
    _NO_EXECUTOR: f"flower-superexec ended; {FLOWER_LOG} in the run's directory says why",
    _LOST: "the SuperLink does not answer any more",
    _TURNED_AWAY: "the SuperLink does not admit this modeller any more: ask its operator whether the key was revoked, "
    "and check the clocks",
}


class DeployedRun:
    """One run on a SuperLink, with the ServerApp in the current directory.

    Parameters
    ----------
    federation
        Where the SuperLink is, and how to reach it.
    app
        Directory of another Flower app to submit instead of this one.
    """

    def __init__(self, federation: DeployedFederation, app: Path | None = None) -> None:
        self._federation = federation
        self._app = app
        self._process: GuardedProcess | None = None
        self._watch = Watch(federation.superlink)

    def start(self, run_dir: Path, environment: Mapping[str, str], num_pods: int) -> None:
        """Submit the run, and have its ServerApp carried out; this takes some two seconds.

        Parameters
        ----------
        run_dir
            An existing directory, which the ServerApp finds as FL_APP_RUN_DIR; its ``flower.log`` gets all output.
        environment
            Variables for the ServerApp beside those of this process. The pods do not see them.
        num_pods
            Not needed here: which pods take part is for the ServerApp to find out.

        Raises
        ------
        RunFailed
            If the SuperLink cannot be reached or does not accept the run.
        """
        if self._process is not None:
            raise RuntimeError("this run has been started before")
        if why := why_unreachable(
            self._federation.superlink,
            insecure=self._federation.insecure,
            root_certificates=self._federation.root_certificates,
        ):
            raise RunFailed(why)
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
                raise RunFailed(f"the SuperLink at {self._federation.superlink} took no run: {error}") from None
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
        """Return the exit code once the run has ended and nothing of it is left here: 0 if the ServerApp returned.

        Raises
        ------
        TimeoutError
            If that takes longer than ``seconds``; the run goes on.
        RunFailed
            If the ServerApp was not carried out here, with the reason, or the SuperLink stays away.
        """
        if self._process is None:
            raise RunFailed("the run has not been started")
        try:
            code = self._process.wait(seconds)
        except TimeoutError:
            self._watch.look()
            raise
        if code in _REASONS:
            raise RunFailed(_REASONS[code])
        return code

    def stop(self) -> None:
        """End the run, on the SuperLink too if it has not ended, with everything that belongs to it here."""
        if self._process is not None:
            self._process.stop()


def list_runs(federation: DeployedFederation) -> list[dict[str, Any]]:
    """Return what the SuperLink says of its runs; raises `RunFailed` if it does not answer this modeller."""
    with tempfile.TemporaryDirectory(prefix="fl-app-") as scratch:
        home = Path(scratch, "flwr")
        _write_connection(home, federation)
        runs: list[dict[str, Any]] = _flwr(flower_environment({"FLWR_HOME": str(home)}), "list", _CONNECTION)["runs"]
        return runs


def _write_connection(home: Path, federation: DeployedFederation) -> None:
    """Write the configuration with which Flower's own commands find the SuperLink."""
    connection: dict[str, str | bool] = {"address": federation.superlink}
    if federation.insecure:
        connection["insecure"] = True
    elif federation.root_certificates:
        connection["root-certificates"] = str(federation.root_certificates)
    home.mkdir()
    text = tomli_w.dumps({"superlink": {"default": _CONNECTION, _CONNECTION: connection}})
    (home / "config.toml").write_text(text, "utf-8")


def _executor(federation: DeployedFederation) -> list[str]:
    """Return the command that carries out what the SuperLink hands over."""
    if federation.insecure:
        return ["flower-superexec", "--runtime-api-address", federation.superlink, "--insecure"]
    certificates = [str(federation.root_certificates)] if federation.root_certificates else []
    return [sys.executable, "-P", "-m", "server.deployed.executor", federation.superlink, *certificates]


def _flwr(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """Return what a command of Flower's answers; it exits with 0 even where it failed."""
    credentials.write(Path(environment["FLWR_HOME"]), _CONNECTION)
    command = [shutil.which("flwr", path=environment["PATH"]) or "flwr", *arguments, "--format", "json"]
    try:
        done = subprocess.run(  # noqa: S603 - its parts are ours, and there is no shell
            command, env=dict(environment), capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"the SuperLink did not answer `flwr {arguments[0]}` in {_COMMAND_SECONDS:.0f} s") from None
    except ValueError:
        raise RunFailed(f"`flwr {arguments[0]}` failed: {(done.stderr or done.stdout).strip()}") from None
    if not answer.get("success"):
        # The last paragraph says what is wrong; before it stands what the command was about to do.
        said = str(answer.get("error-message")).strip().rpartition("\n\n")[2]
        if (mark := f"[code: {GATE_CODE}]") in said:
            raise RunFailed(said.rpartition(mark)[2].strip())
        raise RunFailed(f"`flwr {arguments[0]}` failed: {said}")
    return answer


def _child(run_id: str, scratch: Path, executor: list[str]) -> int:
    """Have the ServerApp of ``run_id`` carried out; return its exit code, or the code of a reason."""
    path = os.pathsep.join([str(_write_serverapp(run_id, scratch)), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1"}
    with interruptible():
        try:
            code = _carry_out(run_id, scratch, subprocess.Popen(executor, env=environment))  # noqa: S603 - see above
            if code not in _REASONS:
                return code
        except KeyboardInterrupt:  # the guard has asked this process to end
            code = 128 + signal.SIGTERM
        with suppress(RunFailed):
            _flwr(os.environ, "stop", run_id, _CONNECTION)
        return code


def _carry_out(run_id: str, scratch: Path, executor: subprocess.Popen[bytes]) -> int:
    ended = scratch / "ended"
    ask_at, strange = time.monotonic() + _PATIENCE, False
    while (stopped := executor.poll()) is None:
        if ended.exists():
            return int(ended.read_text())
        if time.monotonic() > ask_at and not any(scratch.glob("own.*")):
            try:
                begun = _status(run_id) != "pending"
                if begun and strange:  # twice, since one may ask just when it has been handed over to us
                    return _TAKEN
                strange = begun
            except RunFailed as error:
                print(error, flush=True)
                return _LOST
            ask_at = time.monotonic() + _PATIENCE
        time.sleep(_TICK)
    return _TURNED_AWAY if stopped == _TURNED_AWAY else _NO_EXECUTOR


def _status(run_id: str) -> str:
    """Return what the SuperLink says of the run, such as "pending", "running" or "finished:failed"."""
    return str(_flwr(os.environ, "list", _CONNECTION, "--run-id", run_id)["runs"][0]["status"])


def _write_serverapp(run_id: str, scratch: Path) -> Path:
    """Write the ``flwr-serverapp`` of this run and return its directory, which goes before Flower's on the PATH.

    It also keeps the output, which the executor drops, and tells how its run has ended.
    """
    serverapp, log = Path(__file__).with_name("serverapp.py"), Path(os.environ[RUN_DIRECTORY_VARIABLE], FLOWER_LOG)
    script = scratch / "bin" / "flwr-serverapp"
    script.parent.mkdir()
    lines = [
        "#!/bin/sh",
        f'scratch={shlex.quote(str(scratch))}; own=$scratch/own.$$; : >"$own"',
        f'{shlex.join([sys.executable, "-P", str(serverapp), run_id])} "$own" "$@" >>{shlex.quote(str(log))} 2>&1',
        'code=$?; if test -s "$own"; then echo $code >"$own"; mv "$own" "$scratch/ended"; else rm "$own"; fi',
        "exit $code",
    ]
    script.write_text("\n".join(lines) + "\n", "utf-8")
    script.chmod(0o755)
    return script.parent


if __name__ == "__main__":
    sys.exit(_child(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
