"""The guard in this process: what it loads, what it refuses, what it lets out; and Flower's names, which may move."""

import inspect
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.utils import get_load_client_app_fn
from flwr.supercore.constant import TASK_TYPE_TO_COMMAND, TaskType
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supernode.cli import flwr_clientapp

from client.app.ledger import Ledger
from client.site import app_guard
from client.site.app_guard import Guard, PodError, own_packages, write_guard
from client.site.approved_apps import Apps, hash_of
from fl_app.flower import records

POD = "name: north\ndatasource: CSVSource\ndatasource_args: {path: secret-table.csv}\n"
PROJECT = """\
[project]
name = "some-app"
version = "1.0.0"
description = "x"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "somebody"

[tool.flwr.app.components]
serverapp = "some_app:app"
clientapp = "some_app:app"

[tool.flwr.app.config]
rounds = 3
secure = true
"""
CODE = """\
from flwr.clientapp import ClientApp
from flwr.app import ConfigRecord, Message, RecordDict
app = ClientApp()
@app.query("hello")
def hello(message, context):
    import fl_app
    return Message(RecordDict({"said": ConfigRecord({"where": __file__, "fl_app": fl_app.__file__})}), reply_to=message)
@app.query("broken")
def broken(message, context):
    raise ValueError("no file /home/owner/secret-table.csv")
"""


def bundle(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {"pyproject.toml": PROJECT, "some_app.py": CODE, "fl_app/__init__.py": "", **files}.items():
            archive.writestr(name, text)
    return buffer.getvalue()


class Runtime:
    """Flower's module as far as the guard touches it, with one message waiting."""

    def __init__(self, content: bytes, action: str = "hello", **changed: Any) -> None:
        self.content = content
        self.message = Message(RecordDict(), dst_node_id=7, message_type=f"query.{action}")
        self.run = SimpleNamespace(run_id=11, fab_id="somebody/some-app", fab_version="1.0.0", override_config=changed)
        self.get_load_client_app_fn = get_load_client_app_fn
        self.asked = False

    def pull_task_input(self, client: object) -> Any:
        return self.message, None, self.run, SimpleNamespace(content=self.content, hash_str="0" * 64)

    def install_from_fab(self, *_: Any, **__: Any) -> None:
        raise AssertionError("Flower's own installation was called")

    get_project_dir = install_app_dependencies = install_from_fab

    def answer(self) -> Message:
        """Do what Flower's `run_clientapp` does between the message and the reply."""
        message, _, run, fab = self.pull_task_input(None)
        self.install_from_fab(fab.content, skip_prompt=True)
        self.get_project_dir(run.fab_id, run.fab_version, fab.hash_str)
        load = self.get_load_client_app_fn(default_app_ref="", app_path=None, multi_app=True)
        app = load(run.fab_id, run.fab_version, fab.hash_str)
        context = Context(run_id=11, node_id=7, node_config={}, state=RecordDict(), run_config={})
        return app(message=message, context=context)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "pods" / "north"
    directory.mkdir(parents=True)
    (tmp_path / "north.yaml").write_text(POD)
    return directory


@pytest.fixture(autouse=True)
def _flower(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let messages be made here, and undo what an app's loading leaves in this process."""
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("task_id", "run_id", "node_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 11)
    monkeypatch.setenv(app_guard.VERIFIED, "left from before")
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    own = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("client", "fl_app")}
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("client", "fl_app", "some_app")]:
        del sys.modules[name]
    sys.modules.update(own)


def answer(home: Path, runtime: Runtime) -> Message:
    # The guard's process has imported neither of our packages when it loads an app.
    for name in [name for name in sys.modules if name.partition(".")[0] in ("client", "fl_app", "some_app")]:
        del sys.modules[name]
    Guard("north", home, home.parents[1] / "north.yaml").attach(runtime)
    return runtime.answer()


def refusal_in(reply: Message) -> records.Refusal:
    return records.take(reply.content, records.Refusal)


def test_an_approved_app_is_loaded_from_a_directory_of_the_guards_own(home: Path) -> None:
    content = bundle()
    Apps(home).approve(content)
    said = answer(home, Runtime(content)).content["said"]
    assert isinstance(said, ConfigRecord)
    for place in said.values():
        assert Path(str(place)).is_relative_to(home / "flower" / "unpacked")
    assert os.environ[app_guard.VERIFIED] == hash_of(content)
    assert sys.modules["fl_app"].__file__ == said["fl_app"]


def test_another_app_is_refused_before_it_is_unpacked(home: Path) -> None:
    Apps(home).approve(bundle())
    changed = bundle(**{"some_app.py": CODE + "#"})
    said = refusal_in(answer(home, Runtime(changed)))
    assert said.name == "north"
    assert said.code == "app"
    assert f"does not run this version of the app (sha256 {hash_of(changed)[:12]}...)" in said.text
    assert "fl-app pod approve-app" in said.text
    assert not (home / "flower").exists()
    assert "some_app" not in sys.modules
    assert app_guard.VERIFIED not in os.environ
    (entry,) = Ledger(home / "ledger.db").entries()
    assert (entry.run, entry.event, entry.kind) == ("11", "refusal", "query.hello")
    assert hash_of(changed) in str(entry)
    assert Apps(home).refused() == [hash_of(changed)]


def test_what_is_not_even_a_bundle_is_refused_too(home: Path) -> None:
    assert refusal_in(answer(home, Runtime(b"no zip"))).code == "app"


@pytest.mark.parametrize("place", ["some_app.py", "fl_app/__init__.py"])
def test_neither_an_older_copy_nor_one_on_the_path_is_loaded(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    old = tmp_path / "old"
    (old / place).parent.mkdir(parents=True)
    (old / place).write_text("raise RuntimeError('the wrong copy')")
    monkeypatch.syspath_prepend(str(old))
    content = bundle()
    Apps(home).approve(content)
    assert "said" in answer(home, Runtime(content)).content


def test_a_module_imported_from_elsewhere_under_the_apps_name_stops_it(home: Path) -> None:
    content = bundle()
    Apps(home).approve(content)
    runtime = Runtime(content)
    stranger = ModuleType("some_app.part")
    stranger.__file__ = "/elsewhere/some_app/part.py"
    Guard("north", home, home.parents[1] / "north.yaml").attach(runtime)
    sys.modules["some_app.part"] = stranger
    with pytest.raises(PodError):
        runtime.answer()


def test_a_tampered_approved_file_is_not_approved(home: Path) -> None:
    content = bundle()
    Apps(home).approve(content)
    (home / "apps" / f"{hash_of(content)}.fab").write_bytes(bundle(**{"some_app.py": CODE + "#"}))
    assert refusal_in(answer(home, Runtime(content))).code == "app"


@pytest.mark.parametrize(
    ("changed", "policy", "why"),
    [
        ({"rounds": 2}, "", ""),
        ({"secure": True}, "", ""),
        ({"secure": False}, "", "secure aggregation"),
        ({"secure": "false"}, "", "secure aggregation"),
        ({"secure": False}, "policy: {require_secure_aggregation: false}", ""),
        ({"batch-size": 2}, "", "does not declare"),
        ({"rounds": True}, "", "whole number"),
        ({"rounds": -1}, "", "whole number"),
        ({"rounds": 9}, "policy: {maximum_rounds: 9}", ""),
        ({"rounds": 10}, "policy: {maximum_rounds: 9}", "rounds = 9 at most"),
    ],
)
def test_settings_changed_for_a_run_stay_within_the_policy(
    home: Path, changed: dict[str, Any], policy: str, why: str
) -> None:
    (home.parents[1] / "north.yaml").write_text(f"{POD}{policy}\n")
    content = bundle()
    Apps(home).approve(content)
    reply = answer(home, Runtime(content, **changed))
    if not why:
        assert "said" in reply.content
    else:
        assert refusal_in(reply).code == "policy"
        assert why in refusal_in(reply).text
        assert "some_app" not in sys.modules
        assert len(Ledger(home / "ledger.db").entries()) == 1


def test_no_error_of_the_app_gets_out(home: Path) -> None:
    content = bundle()
    Apps(home).approve(content)
    with pytest.raises(PodError) as caught:
        answer(home, Runtime(content, action="broken"))
    assert str(caught.value) == "pod 'north' could not answer; its own log says why"
    assert caught.value.__cause__ is None
    assert "secret-table.csv" in (home / "pod.log").read_text()
    assert (home / "pod.log").stat().st_mode & 0o077 == 0


def spoil_code(home: Path, content: bytes) -> bytes:
    return bundle(**{"some_app.py": "raise OSError('/home/owner/secret-table.csv')"})


def spoil_policy(home: Path, content: bytes) -> bytes:
    (home.parents[1] / "north.yaml").write_text("name: north\nsecret-table: 1\n")
    return content


def spoil_unpacking(home: Path, content: bytes) -> bytes:
    (home / "flower").write_text("not a directory")
    return content


@pytest.mark.parametrize("spoil", [spoil_code, spoil_policy, spoil_unpacking])
def test_no_error_of_the_loading_gets_out(home: Path, spoil: Callable[[Path, bytes], bytes]) -> None:
    content = spoil(home, bundle())
    Apps(home).approve(content)
    with pytest.raises(PodError) as caught:
        answer(home, Runtime(content, rounds=2))
    assert str(caught.value) == "pod 'north' could not answer; its own log says why"
    assert str(home) in (home / "pod.log").read_text() or "secret-table" in (home / "pod.log").read_text()


def test_another_id_or_version_than_the_bundles_is_not_loaded(home: Path) -> None:
    content = bundle()
    Apps(home).approve(content)
    runtime = Runtime(content)
    runtime.run.fab_version = "../../elsewhere"
    with pytest.raises(PodError):
        answer(home, runtime)


def test_the_guards_own_packages_leave_nothing_behind() -> None:
    mine = sys.modules["client.site.app_guard"]
    with own_packages():
        from client.site import app_guard as other

        assert other is not mine
        assert sys.modules["client.site.app_guard"] is other
    assert sys.modules["client.site.app_guard"] is mine


def test_the_commands_on_the_path_cover_all_that_flower_starts(home: Path, tmp_path: Path) -> None:
    place = write_guard("north", home, tmp_path / "it's north.yaml")
    assert {path.name for path in place.iterdir()} == set(TASK_TYPE_TO_COMMAND.values())
    assert TASK_TYPE_TO_COMMAND[TaskType.CLIENT_APP] == app_guard.COMMAND
    for path in place.iterdir():
        assert path.stat().st_mode & 0o777 == 0o700


def test_another_kind_of_process_is_refused_and_entered(home: Path, tmp_path: Path) -> None:
    said = app_guard.main(["north", str(home), str(tmp_path / "north.yaml"), "flwr-agentapp", "--token", "x"])
    assert "flwr-agentapp" in str(said)
    (entry,) = Ledger(home / "ledger.db").entries()
    assert (entry.event, entry.kind) == ("refusal", "flwr-agentapp")


def test_the_commands_can_be_run(home: Path, tmp_path: Path) -> None:
    place = write_guard("north", home, tmp_path / "it's north.yaml")
    agent = subprocess.run([place / "flwr-agentapp", "--token", "x"], capture_output=True, text=True, check=False)
    assert agent.returncode == 1
    assert agent.stderr == "a run asked for flwr-agentapp, which a pod does not run\n"
    client = subprocess.run([place / app_guard.COMMAND, "--help"], capture_output=True, text=True, check=False)
    assert client.returncode == 0
    assert "--runtime-api-address" in client.stdout


def test_under_another_flower_nothing_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_guard, "version", lambda _: "1.42.0")
    assert "1.42.0" in str(app_guard.main(["north", str(home), str(tmp_path / "north.yaml"), app_guard.COMMAND]))


def test_flowers_private_names_are_where_the_guard_looks() -> None:
    """Flower calls these, in this order, and nothing else between a message and the answer to it."""
    module: Any = sys.modules[app_guard.MODULE]
    assert callable(flwr_clientapp)
    text = inspect.getsource(module.run_clientapp)
    calls = [
        "message, context, run, fab = pull_task_input(client)",
        "install_from_fab(fab.content, skip_prompt=True)",
        "app_path = get_project_dir(run.fab_id, run.fab_version, fab.hash_str)",
        "install_app_dependencies(",
        "load_client_app_fn = get_load_client_app_fn(",
        "client_app: ClientApp = load_client_app_fn(",
        "reply_message = client_app(message=message, context=context)",
    ]
    places = [text.index(call) for call in calls]
    assert places == sorted(places)
    assert text.count("fab.content") == 1
    command: Any = sys.modules["flwr.supernode.cli.flwr_clientapp"]
    assert command.run_clientapp is module.run_clientapp
    launch = inspect.getsource(SubprocessExecutor.launch)
    assert "TASK_TYPE_TO_COMMAND[spec.task_type]," in launch
    assert "subprocess.Popen(args)" in launch
    assert "env=" not in launch
    assert list(inspect.signature(get_load_client_app_fn).parameters) == ["default_app_ref", "app_path", "multi_app"]
