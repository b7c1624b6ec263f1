"""Runs that fail outside the ServerApp's own checks: the modeller is told the cause, not merely that there was one."""

import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fl_app.config import RunConfig
from fl_app.federation.kinds import DeployedFederation, Federation, SimulatedFederation
from fl_app.host.probe import why_unreachable
from fl_app.host.processes import GuardedProcess, flower_environment
from fl_app.tabular.settings import DataStructure
from server.app.run_directory import FLOWER_LOG, RunDirectory, request_for
from server.deployed.deployed_run import DeployedRun, client_for
from server.modeller.launch import FitFailed, Launcher, carry_out, deadline_of
from server.modeller.simulation import Simulation
from tests.support.ports import free_port
from tests.support.small_federation import PODS, small_federation

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
BROKEN_SERVER = "import nowhere_to_be_found\napp = nowhere_to_be_found.app\n"


@pytest.fixture
def simulated(own_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedFederation:
    """Two small pods whose runs are real simulations; modules in ``tmp_path`` are found by them."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return small_federation(tmp_path)


def settings(rounds: int = 2) -> RunConfig:
    return RunConfig(
        pods=PODS, datastructure=DataStructure(target="outcome"), rounds=rounds, local_epochs=1, hello_timeout=25
    )


def failure(federation: Federation, config: RunConfig, launcher: Launcher | None = None) -> str:
    """Carry a run out that fails; return what its modeller is told, which its results.json must say too."""
    run = RunDirectory.create(Path("runs"), config, request_for(federation))
    with pytest.MonkeyPatch.context() as patch:
        if launcher:
            patch.setattr("server.modeller.launch.launcher_for", lambda _: launcher)
        with pytest.raises(FitFailed) as caught:
            carry_out(run, federation, deadline_of(config))
    results = run.results()
    assert results.status == "failed"
    assert results.error
    assert str(caught.value).startswith(results.error)
    assert "Traceback" not in results.error
    return results.error


def in_every_child(directory: Path, code: str) -> None:
    """Have each Python process of a simulation run ``code`` first."""
    text = "import sys\nif any('server.modeller.simulation' in word for word in sys.orig_argv):\n"
    (directory / "sitecustomize.py").write_text(text + textwrap.indent(textwrap.dedent(code), "    "))


def with_raylet(raylet: Path) -> str:
    """Return code for every child that has it start this program in the place of Ray's raylet."""
    return f"""
        import server.modeller.ray_start as start
        start.NEEDED = True
        patience = start._patience
        def with_another(*arguments):
            import ray._private.services as services  # only now: no other process needs it
            services.RAYLET_EXECUTABLE = {str(raylet)!r}
            return patience(*arguments)
        start._patience = with_another
        """


def script(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def raylet() -> str:
    """Ray's own program; imported where it is needed, as that takes seconds."""
    from ray._private.services import RAYLET_EXECUTABLE

    return str(RAYLET_EXECUTABLE)


@pytest.mark.simulation
def test_ray_takes_longer_to_start_than_it_would_wait_itself(
    simulated: SimulatedFederation, raylet: str, tmp_path: Path
) -> None:
    slow = script(tmp_path, "slow-raylet", f'sleep 35; exec {raylet} "$@"')
    in_every_child(tmp_path, with_raylet(slow))
    run = RunDirectory.create(Path("runs"), settings(1), request_for(simulated))
    carry_out(run, simulated, 300)
    assert run.results().status == "completed"


@pytest.mark.simulation
def test_ray_starts_at_the_second_attempt_only(simulated: SimulatedFederation, raylet: str, tmp_path: Path) -> None:
    first = tmp_path / "first"
    once = f'[ -e {first} ] || {{ : >{first}; exit 3; }}; exec {raylet} "$@"'
    flaky = script(tmp_path, "flaky-raylet", once)
    in_every_child(tmp_path, with_raylet(flaky))
    run = RunDirectory.create(Path("runs"), settings(1), request_for(simulated))
    carry_out(run, simulated, 300)
    assert run.results().status == "completed"
    assert "is started again" in (run.path / FLOWER_LOG).read_text()


@pytest.mark.simulation
def test_ray_never_starts(simulated: SimulatedFederation, tmp_path: Path) -> None:
    hangs = script(tmp_path, "hanging-raylet", "sleep 1000")
    limits = "import server.modeller.ray_start as start; start.start_ray.__defaults__ = ((1.0, 2.0),)"
    in_every_child(tmp_path, f"{textwrap.dedent(with_raylet(hangs))}\n{limits}")
    error = failure(simulated, settings())
    assert "Ray, which carries out simulations, did not start" in error
    assert "try again" in error
    assert FLOWER_LOG in error


@pytest.mark.simulation
def test_ray_s_own_last_words_are_told(simulated: SimulatedFederation, tmp_path: Path) -> None:
    says = "for word; do case $word in --stderr_filepath=*) echo 'libnothing.so: no such file' >${word#*=};; esac; done"
    broken = script(tmp_path, "broken-raylet", f"{says}; exit 127")
    in_every_child(tmp_path, with_raylet(broken))
    assert "Ray's raylet ended while it started: libnothing.so" in failure(simulated, settings())


@pytest.mark.simulation
def test_a_pod_whose_process_is_killed(simulated: SimulatedFederation, tmp_path: Path) -> None:
    killed = "nursery._work = lambda link, app: (link.recv(), os.kill(os.getpid(), signal.SIGKILL))"
    in_every_child(tmp_path, f"import os, signal\nimport server.modeller.worker_nursery as nursery\n{killed}")
    error = failure(simulated, settings())
    assert "a pod's process crashed or was killed, as the system does when memory runs short" in error


@pytest.mark.simulation
def test_a_machine_without_memory(
    simulated: SimulatedFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_every_child(tmp_path, "import server.modeller.ray_start as start; start.NEEDED = True")
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    error = failure(simulated, settings())
    assert "the machine ran out of memory" in error
    assert FLOWER_LOG in error


@pytest.mark.simulation
def test_the_error_of_a_pod_whose_table_is_gone(simulated: SimulatedFederation, tmp_path: Path) -> None:
    (tmp_path / "north.csv").unlink()
    error = failure(simulated, settings())
    assert "pod 'north' could not answer: FileNotFoundError" in error
    assert "north.csv" in error


@pytest.mark.simulation
def test_the_error_of_a_pod_that_cannot_tell_its_name(simulated: SimulatedFederation) -> None:
    (simulated.home / "pods" / "south" / "identity.key").unlink()
    error = failure(simulated, settings())
    assert "south/identity.key: no identity key; `fl-app pod keygen` makes one" in error


@pytest.mark.simulation
def test_a_server_app_that_cannot_be_imported(simulated: SimulatedFederation, tmp_path: Path) -> None:
    (tmp_path / "broken_server.py").write_text(BROKEN_SERVER)
    error = failure(simulated, settings(), Simulation("broken_server:app"))
    assert "No module named 'nowhere_to_be_found'" in error
    assert "fl-app doctor" in error


class Killed(Simulation):
    """A simulation whose process is killed outright once it has begun."""

    def wait(self, seconds: float | None = None) -> int:
        for child in psutil.Process().children(recursive=True):
            if child.cmdline()[1:2] == ["-P"]:
                child.send_signal(signal.SIGKILL)
        return super().wait(seconds)


@pytest.mark.simulation
def test_a_run_that_is_killed(simulated: SimulatedFederation) -> None:
    assert "killed by SIGKILL; the system does so when memory runs out" in failure(simulated, settings(), Killed())


# --- on a SuperLink


@pytest.fixture
def superlink(own_home: None, tmp_path: Path) -> str:
    """The address of a SuperLink without pods."""
    return f"127.0.0.1:{free_port()}"


def deployed(superlink: str) -> DeployedFederation:
    return DeployedFederation(kind="deployment", name="toy", source="toy.toml#toy", superlink=superlink, insecure=True)


def serve(superlink: str, directory: Path) -> GuardedProcess:
    environment = flower_environment({"FLWR_HOME": str(directory / "superlink")})
    command = ["flower-superlink", "--insecure", "--isolation", "process", "--port", superlink.rpartition(":")[2]]
    process = GuardedProcess(command, log=directory / "superlink.log", environment=environment)
    wait_until(lambda: why_unreachable(superlink, insecure=True, root_certificates=None) is None)
    return process


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.1)


def toy(directory: Path, server: str) -> Path:
    made = directory / "toy"
    made.mkdir()
    (made / "toy_server.py").write_text(server)
    (made / "toy_client.py").write_text("from flwr.clientapp import ClientApp\napp = ClientApp()\n")
    (made / "pyproject.toml").write_text(
        '[project]\nname = "toy"\nversion = "1.0.0"\ndescription = "toy"\nlicense = "Apache-2.0"\n'
        '[tool.flwr.app]\npublisher = "toy"\n[tool.flwr.app.components]\n'
        'serverapp = "toy_server:app"\nclientapp = "toy_client:app"\n'
    )
    return made


def test_a_deployed_server_app_that_cannot_be_imported(superlink: str, tmp_path: Path) -> None:
    process = serve(superlink, tmp_path)
    try:
        federation = deployed(superlink)
        error = failure(federation, settings(), DeployedRun(federation, app=toy(tmp_path, BROKEN_SERVER)))
    finally:
        process.stop()
    assert "No module named 'nowhere_to_be_found'" in error
    assert FLOWER_LOG in error


def test_a_process_that_cannot_start(superlink: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = serve(superlink, tmp_path)
    broken = [sys.executable, "-c", "raise OSError('no process today')"]
    monkeypatch.setattr("server.deployed.deployed_run._serverapp", lambda *_: broken)
    submit = DeployedRun._submit

    def submit_late(run: DeployedRun) -> int:
        wait_until(lambda: run._process is not None and run._process.poll() is not None)
        return submit(run)

    monkeypatch.setattr(DeployedRun, "_submit", submit_late)
    try:
        federation = deployed(superlink)
        error = failure(federation, settings(), DeployedRun(federation, app=toy(tmp_path, BROKEN_SERVER)))
    finally:
        process.stop()
    assert "the run's process failed: OSError: no process today" in error
    assert os.fspath(tmp_path) in error


def test_a_disk_that_is_full(superlink: str, tmp_path: Path) -> None:
    process = serve(superlink, tmp_path)
    full = (
        "import errno\n@app.main()\ndef main(grid, context): raise OSError(errno.ENOSPC, 'No space left on device')\n"
    )
    try:
        federation = deployed(superlink)
        server = f"from flwr.serverapp import ServerApp\napp = ServerApp()\n{full}"
        error = failure(federation, settings(), DeployedRun(federation, app=toy(tmp_path, server)))
    finally:
        process.stop()
    assert error.startswith("the disk is full")
    assert error.count("is full") == 1
    assert os.fspath(tmp_path) in error


@pytest.mark.parametrize("told", ["SIGKILL", "SIGTERM"])
def test_a_deployed_server_app_that_is_killed(superlink: str, tmp_path: Path, told: str) -> None:
    process = serve(superlink, tmp_path)
    server = f"""
        import os, signal
        from flwr.serverapp import ServerApp
        app = ServerApp()
        @app.main()
        def main(grid, context):
            os.kill(os.getpid(), signal.{told})
            signal.pause()
    """
    try:
        federation = deployed(superlink)
        run = DeployedRun(federation, app=toy(tmp_path, textwrap.dedent(server)))
        error = failure(federation, settings(), run)
        assert f"it was killed by {told}" in error
        assert status_of_the_only_run(federation) == "stopped"
    finally:
        process.stop()


def status_of_the_only_run(federation: DeployedFederation) -> str:
    from flwr.proto.control_pb2 import ListRunsRequest

    with client_for(federation)._control() as client:
        (run,) = client.ListRuns(ListRunsRequest()).run_dict.values()
    return str(run.status.sub_status)
