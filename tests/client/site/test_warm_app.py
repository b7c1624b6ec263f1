"""The process that waits with the app loaded: what it loads, a process for each message, and how one's end is told."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from flwr.common.serde import context_from_proto
from flwr.proto.message_pb2 import Context

from client.site import app_process, flower_names, warm_app
from client.site.app_admission import Request
from client.site.app_guard import Guard, UnpackedApp
from client.site.approved_apps import Apps
from client.site.warm_app import CRASHED, LATE, LOAD_FAILED, RAISED, NoReply, WarmApp
from tests.support.small_app import CODE, bundle, question

IDENTITY = ("somebody/some-app", "1.0.0")
pytestmark = pytest.mark.timeout(300)
needs_no_libraries = pytest.mark.usefixtures("bare")


def unpacked(home: Path, **files: str) -> UnpackedApp:
    content = bundle(**files)
    Apps(home).approve(content)
    app = Guard("north", home, home.parents[1] / "north.yaml").judge(Request("11", "query.hello", content, {}))
    assert isinstance(app, UnpackedApp)
    return app


def ask(
    warm: WarmApp, app: UnpackedApp, action: str = "hello", seconds: float = 60.0, go_on: Any = lambda: True, **of: Any
) -> tuple[dict[str, Any], bytes]:
    """Return what the app said, and the context it left."""
    with warm.asked(app, IDENTITY, question(action, **of), go_on, seconds) as reply:
        tree = flower_names.tree(reply.tree)
        contents = dict(reply.contents(flower_names.object_ids(tree)))
    return dict(flower_names.inflated(tree.object_id, contents).content["said"]), reply.context


def fails(why: str, *arguments: Any, **more: Any) -> str:
    with pytest.raises(NoReply) as caught:
        ask(*arguments, **more)
    assert caught.value.why == why
    return str(caught.value)


def test_each_message_has_a_process_of_its_own_with_everything_imported(warm: WarmApp, home: Path) -> None:
    app = unpacked(home)
    first, context = ask(warm, app)
    second, _ = ask(warm, app, context=context, text="to the app")
    assert first["process"] != second["process"]
    assert first["waiting"] == second["waiting"] == warm._process.pid
    assert (first["count"], second["count"]) == (1, 2)
    assert second["given"] == "to the app"
    assert first["verified"] == app.hash
    assert Path(first["where"]).is_relative_to(app.directory)
    assert Path(first["fl_app"]).is_relative_to(app.directory)
    assert context_from_proto(Context.FromString(context)).state["count"]["n"] == 1
    for process in (first["process"], second["process"]):
        assert not Path(f"/proc/{process}").exists()


def test_no_two_messages_draw_the_same_random_numbers(warm: WarmApp, home: Path) -> None:
    app = unpacked(home)
    first, second = ask(warm, app, "numbers")[0], ask(warm, app, "numbers")[0]
    assert first["waiting"], "torch's generator is not that of the process that waits"
    assert all(first[name] != second[name] for name in ("python", "numpy", "torch"))


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started wait without torch and pandas, whose import takes more than all else at a start."""
    place = tmp_path_factory.mktemp("bare")
    for name in ("app_process.py", "flower_names.py"):
        text = Path(warm_app.__file__).with_name(name).read_text("utf-8")
        (place / name).write_text(text.replace("    _import_libraries()\n", ""), "utf-8")
    monkeypatch.setattr(warm_app, "__file__", str(place / "warm_app.py"))


@needs_no_libraries
@pytest.mark.parametrize("place", ["some_app.py", "fl_app/__init__.py"])
def test_neither_an_older_copy_nor_one_on_the_path_is_loaded(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    old = tmp_path / "old"
    (old / place).parent.mkdir(parents=True)
    (old / place).write_text("raise RuntimeError('the wrong copy')")
    monkeypatch.setenv("PYTHONPATH", str(old))
    warm = WarmApp(home)
    try:
        assert ask(warm, unpacked(home))[0]["count"] == 1
    finally:
        warm.close()


@needs_no_libraries
def test_a_module_under_the_apps_name_from_elsewhere_stops_it(warm: WarmApp, home: Path) -> None:
    stranger = "import sys, types\nm = types.ModuleType('fl_app.part'); m.__file__ = '/elsewhere/part.py'\n"
    app = unpacked(home, **{"some_app.py": f"{stranger}sys.modules['fl_app.part'] = m\n{CODE}"})
    fails(LOAD_FAILED, warm, app)
    assert "the app's module fl_app.part was loaded from /elsewhere/part.py" in (home / "pod.log").read_text()


@needs_no_libraries
def test_an_app_that_raises_on_import_is_not_loaded_and_only_the_log_says_why(warm: WarmApp, home: Path) -> None:
    said = fails(LOAD_FAILED, warm, unpacked(home, **{"some_app.py": "raise OSError('/home/owner/secret-table.csv')"}))
    assert "secret" not in said
    assert "secret-table.csv" in (home / "pod.log").read_text()
    assert (home / "pod.log").stat().st_mode & 0o077 == 0


@needs_no_libraries
def test_no_error_of_the_app_gets_out(warm: WarmApp, home: Path) -> None:
    app = unpacked(home)
    assert "secret" not in fails(RAISED, warm, app, "broken")
    assert "secret-table.csv" in (home / "pod.log").read_text()
    assert ask(warm, app)[0]["count"] == 1


@needs_no_libraries
def test_another_id_or_version_than_the_bundles_is_not_loaded(warm: WarmApp, home: Path) -> None:
    with (
        pytest.raises(NoReply) as caught,
        warm.asked(unpacked(home), ("somebody/some-app", "../../elsewhere"), question(), lambda: True, 60),
    ):
        raise AssertionError("it answered")
    assert caught.value.why == LOAD_FAILED


@needs_no_libraries
def test_the_node_is_heard_of_while_the_app_is_loaded(
    warm: WarmApp, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.site.warm_app._LOOK_SECONDS", 0.001)
    signs = list[float]()

    def go_on() -> bool:
        signs.append(time.monotonic())
        return True

    with pytest.raises(NoReply), warm.asked(unpacked(home), ("somebody/other", "9"), question(), go_on, 60):
        raise AssertionError("it answered")
    assert signs


@needs_no_libraries
def test_another_app_is_loaded_in_a_new_process(warm: WarmApp, home: Path) -> None:
    first = ask(warm, unpacked(home))[0]
    changed = unpacked(home, **{"some_app.py": CODE + "#"})
    second = ask(warm, changed)[0]
    assert first["verified"] != second["verified"] == changed.hash
    assert second["waiting"] != first["waiting"]


@needs_no_libraries
@pytest.mark.parametrize(
    ("action", "told"), [("killed", "was ended by SIGKILL, by somebody, or by the system"), ("left", "exit code 3")]
)
def test_a_process_that_ends_in_the_middle_is_told_with_its_cause(
    warm: WarmApp, home: Path, action: str, told: str
) -> None:
    app = unpacked(home)
    assert told in fails(CRASHED, warm, app, action)
    assert ask(warm, app)[0]["count"] == 1


@needs_no_libraries
def test_the_waiting_process_killed_between_messages_is_started_anew(warm: WarmApp, home: Path) -> None:
    app = unpacked(home)
    first = ask(warm, app)[0]
    os.kill(first["waiting"], signal.SIGKILL)
    assert ask(warm, app)[0]["waiting"] != first["waiting"]


@pytest.fixture
def asleep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the app says which process sleeps; in the environment before the waiting process starts."""
    monkeypatch.setenv("FL_APP_TEST_ASLEEP", str(tmp_path / "asleep"))
    return tmp_path / "asleep"


@needs_no_libraries
def test_the_waiting_process_killed_in_a_message_is_noticed_and_started_anew(asleep: Path, home: Path) -> None:
    warm = WarmApp(home)
    app = unpacked(home)
    waiting = ask(warm, app)[0]["waiting"]

    def kill() -> None:
        while not (asleep.exists() and asleep.read_text()):
            time.sleep(0.02)
        os.kill(waiting, signal.SIGKILL)
        os.kill(int(asleep.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        fails(CRASHED, warm, app, "sleeps")
        assert ask(warm, app)[0]["waiting"] != waiting
    finally:
        killer.join(60)
        warm.close()


@needs_no_libraries
@pytest.mark.parametrize("why", ["its run is over", "it is late"])
def test_a_message_that_nobody_waits_for_is_given_up(
    asleep: Path, home: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(warm_app, "_LOOK_SECONDS", 0.1)
    warm = WarmApp(home)
    try:
        app = unpacked(home)
        over = why == "its run is over"
        goes_on = (lambda: not (asleep.exists() and asleep.read_text())) if over else (lambda: True)
        fails(LATE, warm, app, "sleeps", seconds=60.0 if over else 3.0, go_on=goes_on)
        process = int(asleep.read_text())
        assert not Path(f"/proc/{process}").exists()
        assert ask(warm, app)[0]["count"] == 1
    finally:
        warm.close()


@needs_no_libraries
def test_two_hundred_messages_leave_no_process_descriptor_or_file(warm: WarmApp, home: Path) -> None:
    app = unpacked(home)
    waiting = ask(warm, app)[0]["waiting"]

    def counted() -> tuple[int, int, int, list[Path]]:
        children = Path(f"/proc/{waiting}/task/{waiting}/children").read_text().split()
        descriptors = [len(os.listdir(f"/proc/{process}/fd")) for process in (os.getpid(), waiting)]
        return len(children), *descriptors, sorted(home.rglob("*"))  # type: ignore[return-value]

    before = counted()
    for _ in range(200):
        assert ask(warm, app)[0]["waiting"] == waiting
    assert counted() == before


@needs_no_libraries
def test_a_worn_process_is_started_anew(warm: WarmApp, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_app, "_MESSAGES", 2)
    app = unpacked(home)
    places = [ask(warm, app)[0]["waiting"] for _ in range(4)]
    assert places[0] == places[1] != places[2] == places[3]


@needs_no_libraries
def test_where_a_fork_is_not_safe_each_message_has_a_new_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_app, "FORKS", False)
    warm = WarmApp(home)
    try:
        app = unpacked(home)
        first, second = ask(warm, app)[0], ask(warm, app)[0]
        assert first["process"] == first["waiting"] != second["process"] == second["waiting"]
        assert "SIGKILL" in fails(CRASHED, warm, app, "killed")
        fails(RAISED, warm, app, "broken")
    finally:
        warm.close()


@needs_no_libraries
def test_the_waiting_process_ends_with_its_node(home: Path) -> None:
    warm = WarmApp(home)
    ask(warm, unpacked(home))
    warm._control.close()
    assert warm._process.wait(30) == 0


def test_the_script_and_the_packages_agree_on_their_names() -> None:
    """The script imports nothing of this product, so it has names of its own."""
    from client.app import owner
    from fl_app.system import home

    assert app_process.VERIFIED == owner.VERIFIED_APP
    assert app_process.LOG_FILE == home.LOG_FILE
    assert (app_process.LOAD_FAILED, app_process.RAISED) == (LOAD_FAILED, RAISED)
