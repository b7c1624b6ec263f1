"""The launchers, with a toy app in the place of the product's own: what they carry out, and that nothing is left."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.cli.build import build_fab_from_disk

from client.site.approved_apps import Apps
from client.site.serve_pod import start
from fl_app.errors import RunFailed
from fl_app.federation.kinds import DeployedFederation
from fl_app.host.bundle import PYPROJECT, write_app
from fl_app.host.processes import GuardedProcess, _processes, flower_environment
from fl_app.pod.definition import CSVSource, Pod
from fl_app.system.home import pod_home
from server.app.run_directory import FLOWER_LOG
from server.deployed.deployed_run import DeployedRun
from server.modeller.simulation import Simulation
from tests.support.ports import free_port

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]

TOY_SERVER = """
import json, os, time
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    run_dir = Path(os.environ["FL_APP_RUN_DIR"])
    config = json.loads((run_dir / "config.json").read_text())
    if config.get("fail"):
        raise ValueError("the toy fails as it was told to")
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.1)
    ask = [Message(RecordDict({"c": ConfigRecord()}), dst_node_id=node, message_type="query.hello") for node in nodes]
    waiting, answers = set(grid.push_messages(ask)), []
    while waiting:
        for reply in grid.pull_messages(list(waiting)):
            waiting.discard(reply.metadata.reply_to_message_id)
            answers.append(dict(reply.content["c"]))
        time.sleep(0.05)
    (run_dir / "results.json").write_text(json.dumps({"answers": answers, "directory": os.getcwd()}))
    while config.get("linger"):
        time.sleep(0.1)
"""

TOY_CLIENT = """
import json, os
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query("hello")
def hello(message, context):
    variables = {name: os.environ.get(name, "") for name in ("FL_APP_FEDERATION", "OMP_NUM_THREADS", "FLWR_HOME")}
    answer = {"node_config": json.dumps(dict(context.node_config)), "file": __file__, **variables}
    return Message(RecordDict({"c": ConfigRecord(answer)}), reply_to=message)
"""

TOY_PYPROJECT = """
[project]
name = "toy"
version = "1.0.0"
description = "toy"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "toy"
[tool.flwr.app.components]
serverapp = "toy_server:app"
clientapp = "toy_client:app"
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    directory = tmp_path / "toy"
    directory.mkdir()
    (directory / "toy_server.py").write_text(TOY_SERVER)
    (directory / "toy_client.py").write_text(TOY_CLIENT)
    (directory / "pyproject.toml").write_text(TOY_PYPROJECT)
    return directory


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """Mark every process started from here by a variable in its environment; list those that run."""
    mark = f"FL_APP_TEST={tmp_path}".encode()
    monkeypatch.setenv("FL_APP_TEST", str(tmp_path))

    def running() -> list[int]:
        found = []
        for process, _, _, state in _processes():
            try:
                environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in environment and state != "Z" and process != os.getpid():
                found.append(process)
        return found

    yield running
    for process in running():
        os.kill(process, signal.SIGKILL)


def wait_until(condition: Callable[[], Any], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)


def results(run_dir: Path) -> Any:
    return json.loads((run_dir / "results.json").read_text())


# --- what needs no process -------------------------------------------------------------------------------------------


def test_the_bundle_s_pyproject_is_the_project_s() -> None:
    ours, bundled = tomllib.loads((ROOT / "pyproject.toml").read_text()), tomllib.loads(PYPROJECT)
    for key in ("name", "version", "description", "license"):
        assert bundled["project"][key] == ours["project"][key]
    assert bundled["tool"]["uv"] == ours["tool"]["uv"]
    for key in ("publisher", "fab-include", "components"):
        assert bundled["tool"]["flwr"]["app"][key] == ours["tool"]["flwr"]["app"][key]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # Flower's
def test_the_bundle_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    made = set()
    for name in ("one", "an_other"):
        (tmp_path / name).mkdir()
        bundle = build_fab_from_disk(write_app(tmp_path / name))
        made.add(hashlib.sha256(bundle).hexdigest())
        assert len(bundle) < 10 * 2**20
    assert len(made) == 1


# --- the guard -------------------------------------------------------------------------------------------------------

FAMILY = ["/bin/sh", "-c", "sleep 300 & setsid sleep 300 & echo started; {}"]


def family(then: str) -> list[str]:
    return [part.format(then) for part in FAMILY]


@pytest.mark.processes
def test_descendants_end_with_the_command(tmp_path: Path, marked: Callable[[], list[int]]) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    log = tmp_path / "log"
    process = GuardedProcess(family("exit 7"), log=log, environment=os.environ, scratch=scratch)
    assert process.wait(10) == process.poll() == 7
    assert marked() == []
    assert not scratch.exists()
    assert log.read_text() == "started\n"


@pytest.mark.processes
def test_descendants_end_when_stopped(tmp_path: Path, marked: Callable[[], list[int]]) -> None:
    process = GuardedProcess(family("sleep 300"), log=tmp_path / "log", environment=os.environ)
    wait_until(lambda: len(marked()) >= 4)
    with pytest.raises(TimeoutError):
        process.wait(0.1)
    assert process.stop() == process.stop() == 128 + signal.SIGTERM
    assert marked() == []


@pytest.mark.processes
@pytest.mark.parametrize("killed", ["parent", "guard"])
def test_descendants_end_when_one_above_them_is_killed(
    killed: str, tmp_path: Path, marked: Callable[[], list[int]]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = (
        "import os, pathlib, sys; from fl_app.host.processes import GuardedProcess as P\n"
        f"p = P({family('sleep 300')!r}, log=pathlib.Path('log'), environment=os.environ, scratch={scratch!r})\n"
        "print(p._guard.pid, flush=True); sys.exit(p.wait())"
    ).replace("PosixPath", "pathlib.Path")
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        guard = int(parent.stdout.readline())
        wait_until(lambda: len(marked()) >= 5)
        os.kill(parent.pid if killed == "parent" else guard, signal.SIGKILL)
        code = parent.wait(20)
    # Only the guard adopts what has left its session: without it that one stays, which no program of ours does.
    wait_until(lambda: len(marked()) == (0 if killed == "parent" else 1), 30)
    assert killed == "parent" or code == 128 + signal.SIGKILL
    wait_until(lambda: not scratch.exists(), 30)


@pytest.mark.processes
@pytest.mark.parametrize("ended", ["killed", "stops"])
def test_what_a_killed_parent_would_have_removed_is_removed(
    ended: str, tmp_path: Path, marked: Callable[[], list[int]]
) -> None:
    left = tmp_path / "left"
    left.mkdir()
    program = (
        "import os, pathlib, sys, time; from fl_app.host.processes import LEFT_BEHIND, GuardedProcess as P\n"
        f"environment = {{**os.environ, LEFT_BEHIND: {str(left)!r}}}\n"
        "p = P(['sleep', '300'], log=pathlib.Path('log'), environment=environment)\n"
        "print('started', flush=True); sys.stdin.readline(); p.stop(); print('stopped', flush=True); time.sleep(300)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        assert parent.stdout.readline() == b"started\n"
        if ended == "stops":
            parent.stdin.write(b"\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == b"stopped\n"
            assert left.exists()
        parent.kill()
    wait_until(lambda: not marked(), 30)
    assert left.exists() == (ended == "stops")


# --- simulation ------------------------------------------------------------------------------------------------------


def simulate(toy: Path, run_dir: Path, **config: Any) -> Simulation:
    (run_dir / "config.json").write_text(json.dumps(config))
    simulation = Simulation("toy_server:app", "toy_client:app")
    simulation.start(run_dir, {"PYTHONPATH": str(toy), "FL_APP_FEDERATION": "/some/where.toml"}, 2)
    return simulation


@pytest.fixture(params=["forks", "ray"])
def workers(request: pytest.FixtureRequest, toy: Path) -> str:
    """What carries the pods of a simulation out: forks, or Ray as where no process can be forked."""
    if request.param == "ray":
        needed = "import server.modeller.ray_start; server.modeller.ray_start.NEEDED = True"
        (toy / "sitecustomize.py").write_text(
            f"import sys\nif 'server.modeller.simulation' in sys.orig_argv:\n    {needed}\n"
        )
    return str(request.param)


@pytest.mark.processes
@pytest.mark.simulation
@pytest.mark.usefixtures("workers")
def test_a_simulation(
    toy: Path, run_dir: Path, marked: Callable[[], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray's workers would take a module of the same name from the current directory.
    (tmp_path / "toy_client.py").write_text("raise RuntimeError('the wrong copy')")
    monkeypatch.chdir(tmp_path)
    simulation = simulate(toy, run_dir)
    assert simulation.wait(240) == 0
    assert marked() == []
    assert results(run_dir)["directory"] == str(tmp_path)
    answers = results(run_dir)["answers"]
    assert {answer["file"] for answer in answers} == {str(toy / "toy_client.py")}
    assert {answer["FL_APP_FEDERATION"] for answer in answers} == {"/some/where.toml"}
    assert {json.loads(answer["node_config"])["partition-id"] for answer in answers} == {0, 1}


@pytest.mark.processes
@pytest.mark.simulation
def test_a_simulation_whose_server_fails(toy: Path, run_dir: Path, marked: Callable[[], list[int]]) -> None:
    assert simulate(toy, run_dir, fail=True).wait(240) == 1
    assert "ValueError: the toy fails as it was told to" in (run_dir / FLOWER_LOG).read_text()
    assert marked() == []


def command_of(process: int) -> list[str]:
    return Path(f"/proc/{process}/cmdline").read_text().split("\0")


@pytest.mark.processes
@pytest.mark.simulation
def test_a_simulation_that_is_stopped(
    toy: Path, run_dir: Path, workers: str, marked: Callable[[], list[int]], capfd: pytest.CaptureFixture[str]
) -> None:
    simulation = simulate(toy, run_dir, linger=True)
    wait_until((run_dir / "results.json").exists)
    programs = {Path(word).name for process in marked() for word in command_of(process)}
    if workers == "ray":
        assert "raylet" in programs
        assert not programs & {"monitor.py", "dashboard.py", "agent.py", "main.py"}, "servers that no simulation needs"
        stand_ins = [process for process in marked() if command_of(process)[:2] == ["sleep", "infinity"]]
        assert len(stand_ins) == 2, "in the place of agents"
    else:
        assert not programs & {"raylet", "gcs_server", "log_monitor.py"}
        simulations = [process for process in marked() if "server.modeller.simulation" in command_of(process)]
        assert len(simulations) == 5, "the guard, the simulation, the nursery, and a worker for each pod"
    scratches = (Path(word) for process in marked() for word in command_of(process) if "/fl-app-" in word[:16])
    (scratch,) = {Path(*path.parts[:3]) for path in scratches}
    simulation.stop()
    assert marked() == []
    assert not scratch.exists()
    assert capfd.readouterr() == ("", "")


# --- deployment ------------------------------------------------------------------------------------------------------


def deployed(superlink: str) -> DeployedFederation:
    return DeployedFederation(kind="deployment", name="toy", source="toy.toml#toy", superlink=superlink, insecure=True)


@pytest.fixture
def superlink(toy: Path, tmp_path: Path, marked: Callable[[], list[int]]) -> Iterator[str]:
    """A SuperLink with two pods, whose owners have approved the toy; ``tmp_path/pods/NAME`` is the home of each."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        bundle = build_fab_from_disk(toy)
    address = f"127.0.0.1:{free_port()}"
    environment = flower_environment({"FLWR_HOME": str(tmp_path / "superlink")})
    command = ["flower-superlink", "--insecure", "--isolation", "process", "--port", address.rpartition(":")[2]]
    started = [GuardedProcess(command, log=tmp_path / "superlink.log", environment=environment)]
    for name in ("a", "b"):
        home = tmp_path / "pods" / name
        home.mkdir(parents=True)
        Apps(pod_home(name, home)).approve(bundle)
        file = home / 'a "pod".yaml'  # a path that has to be quoted
        file.write_text(f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: t.csv}}\n")
        program = (
            "import sys; from pathlib import Path; from client.site.serve_pod import start\n"
            "start(Path(sys.argv[1]), superlink=sys.argv[2], insecure=True, home=Path(sys.argv[3]))"
        )
        pod = [sys.executable, "-c", program, str(file), address, str(home)]
        started.append(GuardedProcess(pod, log=home / "out", environment=os.environ))
    try:
        for name in ("a", "b"):
            out = tmp_path / "pods" / name / "out"
            wait_until(lambda out=out, name=name: f"pod {name} is online at {address}" in out.read_text())  # type: ignore[misc]
        yield address
    finally:
        for process in reversed(started):
            process.stop()
    assert marked() == []


def flwr(tmp_path: Path, superlink: str, *arguments: str) -> Any:
    """Answer of a command of Flower's, given by somebody who is neither the modeller nor a pod."""
    home = tmp_path / "somebody"
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(f'[superlink.there]\naddress = "{superlink}"\ninsecure = true\n')
    environment = flower_environment({"FLWR_HOME": str(home)})
    command = [str(shutil.which("flwr", path=environment["PATH"])), *arguments, "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


@pytest.mark.processes
def test_a_deployed_run_after_one_that_was_left_behind(
    toy: Path, run_dir: Path, superlink: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = flwr(tmp_path, superlink, "run", str(toy), "there")["run-id"]
    (run_dir / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    run = DeployedRun(deployed(superlink), app=toy)
    try:
        run.start(run_dir, {}, 0)
        assert run.wait(120) == 0
    finally:
        run.stop()
    assert results(run_dir)["directory"] == str(tmp_path)
    answers = results(run_dir)["answers"]
    node_configs = [json.loads(answer["node_config"]) for answer in answers]
    for name in ("a", "b"):
        home = tmp_path / "pods" / name
        assert {"pod": str(home / 'a "pod".yaml'), "home": str(home)} in node_configs
    assert {answer["FL_APP_FEDERATION"] for answer in answers} == {""}
    (status,) = flwr(tmp_path, superlink, "list", "there", "--run-id", left)["runs"]
    assert status["status"] == "finished:failed"
    assert "this executor carries out run" in status["status-details"]


@pytest.mark.processes
def test_a_deployed_run_that_is_stopped(toy: Path, run_dir: Path, superlink: str, tmp_path: Path) -> None:
    (run_dir / "config.json").write_text('{"linger": true}')
    run = DeployedRun(deployed(superlink), app=toy)
    try:
        run.start(run_dir, {}, 0)
        wait_until((run_dir / "results.json").exists)
    finally:
        run.stop()
    (status,) = flwr(tmp_path, superlink, "list", "there")["runs"]
    assert status["status"] == "finished:stopped"


@pytest.mark.processes
def test_a_superlink_that_is_not_there(
    toy: Path, run_dir: Path, tmp_path: Path, marked: Callable[[], list[int]]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(RunFailed, match=f"no SuperLink answers at {address} .* running"):
        DeployedRun(deployed(address), app=toy).start(run_dir, {}, 0)
    pod = Pod(name="a", datasource=CSVSource(path="t.csv"))
    with pytest.raises(RunFailed, match=f"no SuperLink answers at {address} .* running"):
        start(pod, superlink=address, insecure=True, home=tmp_path / "home", connect_seconds=1)
    assert marked() == []
