"""The guard: what it refuses unopened, where it unpacks what is approved, and what it enters."""

from pathlib import Path
from typing import Any

import pytest

from client.app.ledger import Ledger
from client.site.app_admission import Request
from client.site.app_guard import Guard, UnpackedApp
from client.site.approved_apps import Apps, hash_of
from fl_app.flower import records
from tests.support.small_app import CODE, POD, bundle


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "pods" / "north"
    directory.mkdir(parents=True)
    (tmp_path / "north.yaml").write_text(POD)
    return directory


def judged(home: Path, content: bytes, **changed: Any) -> Any:
    return Guard("north", home, home.parents[1] / "north.yaml").judge(Request("11", "query.hello", content, changed))


def refusal(answer: Any) -> records.Refusal:
    return records.take(answer, records.Refusal)


def test_an_approved_app_is_unpacked_into_a_directory_of_the_guards_own(home: Path) -> None:
    content = bundle()
    Apps(home).approve(content)
    app = judged(home, content)
    assert isinstance(app, UnpackedApp)
    assert app.hash == hash_of(content)
    assert app.directory.is_relative_to(home / "flower" / "unpacked")
    assert app.directory.stat().st_mode & 0o077 == 0
    assert (app.directory / "some_app.py").read_text() == CODE
    assert app.settings == {"rounds": 3, "secure": True}


def test_an_app_is_unpacked_once_and_judged_each_time(home: Path) -> None:
    first, second = bundle(), bundle(**{"more.py": ""})
    for content in (first, second):
        Apps(home).approve(content)
    guard = Guard("north", home, home.parents[1] / "north.yaml")
    request = Request("11", "query.hello", first, {})
    app = guard.judge(request)
    assert guard.judge(request) is app
    guard.judge(Request("12", "query.hello", second, {}))
    (only,) = (home / "flower" / "unpacked").iterdir()
    assert (only / "more.py").exists()
    Apps(home).revoke(hash_of(first))
    assert refusal(guard.judge(request)).code == "app"
    guard.close()
    assert not (home / "flower" / "unpacked").exists()


def test_another_app_is_refused_before_it_is_unpacked(home: Path) -> None:
    Apps(home).approve(bundle())
    changed = bundle(**{"some_app.py": CODE + "#"})
    said = refusal(judged(home, changed))
    assert said.name == "north"
    assert said.code == "app"
    assert f"does not run this version of the app (sha256 {hash_of(changed)[:12]}...)" in said.text
    assert "fl-app pod approve-app" in said.text
    assert not (home / "flower").exists()
    (entry,) = Ledger(home / "ledger.db").entries()
    assert (entry.run, entry.event, entry.kind) == ("11", "refusal", "query.hello")
    assert hash_of(changed) in str(entry)
    assert Apps(home).refused() == [hash_of(changed)]


def test_what_is_not_even_a_bundle_is_refused_too(home: Path) -> None:
    assert refusal(judged(home, b"no zip")).code == "app"


def test_a_tampered_approved_file_is_not_approved(home: Path) -> None:
    content = bundle()
    Apps(home).approve(content)
    (home / "apps" / f"{hash_of(content)}.fab").write_bytes(bundle(**{"some_app.py": CODE + "#"}))
    assert refusal(judged(home, content)).code == "app"


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
    answer = judged(home, content, **changed)
    if not why:
        assert isinstance(answer, UnpackedApp)
    else:
        assert refusal(answer).code == "policy"
        assert why in refusal(answer).text
        assert not (home / "flower").exists()
        assert len(Ledger(home / "ledger.db").entries()) == 1


def test_what_cannot_be_judged_is_not_approved(home: Path) -> None:
    content = bundle()
    Apps(home).approve(content)
    (home.parents[1] / "north.yaml").write_text("name: north\nsecret-table: 1\n")
    with pytest.raises(Exception, match="secret-table"):
        judged(home, content, rounds=2)
    assert not (home / "flower").exists()
