"""`fl-app hub` and `fl-app demo --hub` as they are started: who gets in, what goes on, and what is left."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fl_app.cli import main
from fl_app.errors import UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.hub.serve import Address, new_link, open_browser, running, served
from server.commands import hub as command
from server.hub.modeller import modeller_role
from tests.server.hub.conftest import Work
from tests.support.small_federation import isolate, small_federation, write_pod


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedFederation]:
    isolate(monkeypatch, tmp_path)
    made = small_federation(tmp_path)
    monkeypatch.setattr("server.commands.fit.census_federation", lambda: made)
    yield made
    assert running() == []


def page(link: str, path: str) -> str:
    """Log in by a link, and return a page."""
    origin, _, code = link.partition("/login#")
    with httpx.Client(base_url=origin, timeout=30, headers={"Origin": origin}) as client:
        assert client.post("/login", json={"code": code}).status_code == 200
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


def test_a_hub_in_a_thread_ends_with_its_block(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path))
    role = modeller_role(work.federation, work.runs)
    with served([role], Address(port=0)) as (origin, link):
        (one,) = running()
        assert one.origin == origin
        assert "Run completed" in page(link, "/modeller/runs/completed")
        assert "Runs" in page(new_link(origin, one.secret), "/modeller/runs")
        port = int(origin.rpartition(":")[2])
        with pytest.raises(UsageError, match="give another --port"), served([role], Address(port=port)):
            pass
    assert running() == []
    assert not any(thread.name == "hub" for thread in threading.enumerate())


def demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], paths: list[str]) -> tuple[Any, ...]:
    """Run the demonstration with its hub; when it waits for Ctrl-C, look at pages, and let it go."""
    seen: list[str] = []

    def look() -> None:
        (one,) = running()
        seen.extend(page(new_link(one.origin, one.secret), path) for path in paths)

    monkeypatch.setattr(command, "wait_for_interrupt", look)
    with pytest.raises(SystemExit) as left:
        main(("demo", "--hub", "--no-browser", "--port", "0", "--rounds", "1", "--local-steps", "1", "--json"))
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err, seen


def test_the_demonstration_with_its_hub_shows_pods_run_and_report(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["/modeller/", "/modeller/runs/latest", "/modeller/runs/latest/report"]
    code, out, err, seen = demo(monkeypatch, capsys, paths)
    assert code == 0
    assert json.loads(out)["status"] == "completed"
    assert "/login#" in err
    assert "the run has ended; the hub goes on at http://127.0.0.1:" in err
    assert "These pods can train together" in seen[0]
    assert "1 of 1 rounds" in seen[1] or "1 of 1 round" in seen[1]
    assert "<h1>Run " in seen[2]


def test_a_demonstration_that_fails_shows_why_before_it_ends_with_the_same_error(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_pod(tmp_path, "south", ("south",))
    code, _, err, seen = demo(monkeypatch, capsys, ["/modeller/", "/modeller/runs/latest"])
    assert code == 1
    assert "the run has failed; the hub goes on" in err
    assert err.rstrip().splitlines()[-1].startswith("fl-app: ")
    assert "south does not approve north" in seen[0]
    assert "Why it failed" in seen[1]


def test_the_command_prints_its_link_once_it_listens(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    def serving(roles: Any, address: Address, said: Any, **_more: Any) -> None:
        told.append(roles[0].title)
        said("http://127.0.0.1:1", "http://127.0.0.1:1/login#code")

    monkeypatch.setattr("fl_app.hub.serve.serve", serving)
    with pytest.raises(SystemExit, match="0"):
        main(("hub", "--no-browser", "--json"))
    for thread in threading.enumerate():
        if thread.name == "asking the pods":
            thread.join(120)
    assert told == ["modeller of small"]
    document = json.loads(capsys.readouterr().out)
    assert document == {"hub": "http://127.0.0.1:1", "link": "http://127.0.0.1:1/login#code", "browser": False}


def test_without_a_screen_no_browser_takes_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not open_browser("http://127.0.0.1:1/login#code", 1, tmp_path)
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_browser("http://127.0.0.1:1/login#code", 1, tmp_path)
    (page,) = opened
    assert "code" not in page
    assert (tmp_path / "hub" / "1.html").stat().st_mode & 0o777 == 0o600
