"""``fl-app pod log``, ``pause`` and ``resume``, as an owner calls them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from client.app.budget import Charge, Terms
from client.app.ledger import Ledger
from fl_app.cli import main
from fl_app.privacy.cost import budget
from fl_app.secagg.crypto import fingerprint
from fl_app.secagg.ledger_protocol import Account

KEYS = {"north": bytes(32), "south": bytes([1]) * 32}
LABEL = b"L" * 32


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with a session, a round, a refusal and a failure."""
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path))
    path = tmp_path / "pods" / "north" / "ledger.db"
    ledger, account = Ledger(path, "ab" * 32), Account("7", "7", KEYS)
    head = ledger.enter_session(account, b"session", b"", size=100)
    head = ledger.enter_begin(account, "train", 1, LABEL, head)
    ledger.enter_answer(account, "train", 1, LABEL, head, 1000)
    ledger.enter_refusal(Account("7"), "query.hello", 0, "no\x1b[2J", 10)
    ledger.enter(Account("7"), "failure", "query.hello", size=1)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["pod", *arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_the_log_shows_at_a_glance_what_has_left(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "log", "north")
    assert code == 0
    assert "what has left: 2 messages, 1,111 bytes; 1 runs, in them 1 training rounds and 0 other steps answered" in out
    assert "0 looks, 1 refusals, 1 failures" in out
    assert f"south  {fingerprint(KEYS['south'])}" in out
    assert Ledger(path).entries()[-1].head.hex() in out
    assert "5 entries, chain verified" in err
    assert "\x1b" not in out
    (row,) = [line for line in out.splitlines() if " answer " in line]
    assert row.split()[2:] == [
        "7",
        "abababababab",
        "answer",
        "train",
        "1",
        "north,",
        "south",
        "1,000",
        LABEL.hex()[:16],
    ]


def test_the_log_is_one_document_or_lines_of_json(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(run(capsys, "log", "north", "--json")[1])
    assert (document["pod"], document["verified"], document["altered"]) == ("north", True, None)
    assert document["left"] == {
        "messages": 2, "bytes": 1111, "runs": 1, "rounds": 1, "other_steps": 0, "looks": 0, "refusals": 1,
        "failures": 1,
    }  # fmt: skip
    assert document["entries"][-1]["head"] == document["head"]
    assert document["entries"][2]["cohort"] == {name: fingerprint(key) for name, key in KEYS.items()}
    assert document["entries"][2]["bytes"] == 1000
    lines = run(capsys, "log", "north", "--lines")[1].splitlines()
    assert [json.loads(line) for line in lines] == document["entries"]
    target = tmp_path / "log.jsonl"
    assert run(capsys, "log", "north", "--lines", "-o", str(target))[:2] == (0, "")
    assert target.read_text().splitlines() == lines
    assert run(capsys, "log", "north", "--lines", "--json")[0] == 2


@pytest.mark.parametrize("form", [[], ["--json"], ["--lines"]])
def test_an_entry_that_was_tampered_with_is_named(
    path: Path, capsys: pytest.CaptureFixture[str], form: list[str]
) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE entries SET size = 1 WHERE seq = 3")
    code, out, err = run(capsys, "log", "north", *form)
    assert code == 1
    assert "the ledger was altered: entry 3 " in err
    if form == ["--json"]:
        document = json.loads(out)
        assert (document["verified"], document["altered"]) == (False, 3)


def test_a_head_that_was_noted_down_is_found_unless_the_end_was_cut_off(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = Ledger(path).entries()
    document = json.loads(run(capsys, "log", "north", "--json", "--since", entries[2].head.hex())[1])
    assert [entry["seq"] for entry in document["entries"]] == [4, 5]
    assert json.loads(run(capsys, "log", "north", "--json", "--since", document["head"])[1])["entries"] == []
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM entries WHERE seq = 5")
    assert run(capsys, "log", "north")[0] == 0  # the file alone cannot tell
    code, _, err = run(capsys, "log", "north", "--since", document["head"])
    assert code == 1
    assert "cut off" in err


def test_a_pod_without_a_ledger_is_said_to_have_none(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("south", "../north"):
        code, _, err = run(capsys, "log", name)
        assert code == 2
        assert "no ledger" in err
    assert not (path.parents[1] / "south").exists()


def test_a_pod_is_paused_and_resumed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "resume", "north")[:2] == (0, "north was not paused\n")
    for _ in range(2):
        assert "north is paused" in run(capsys, "pause", "north")[1]
        assert (path.parent / "paused").exists()
    assert run(capsys, "resume", "north")[:2] == (0, "north answers again\n")
    assert not (path.parent / "paused").exists()
    assert run(capsys, "pause", "nowhere")[0] == 2
    assert run(capsys, "pause", "../north")[0] == 2


def test_the_ledger_says_when_the_pod_was_paused_and_resumed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("resume", "pause", "pause", "resume", "resume"):
        assert run(capsys, verb, "north")[0] == 0
    entries = Ledger(path).entries()  # raises if the chain is broken
    assert [(entry.seq, entry.event, entry.run, entry.why) for entry in entries[5:]] == [
        (6, "pause", "", "by command"),
        (7, "resume", "", "by command"),
    ]
    code, out, err = run(capsys, "log", "north")
    assert code == 0
    assert "7 entries, chain verified" in err
    assert [line.split()[2:] for line in out.splitlines() if line.endswith("by command")] == [
        ["pause", "0", "by", "command"],
        ["resume", "0", "by", "command"],
    ]
    assert "what has left: 2 messages, 1,111 bytes; 1 runs, in them 1 training rounds and 0 other steps answered" in out


def test_a_run_goes_on_after_a_pause(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger, account = Ledger(path), Account("7", "7", KEYS)
    head = ledger.enter_begin(account, "train", 2, LABEL, ledger.entries()[2].head)
    run(capsys, "pause", "north")
    run(capsys, "resume", "north")
    assert ledger.enter_answer(account, "train", 2, LABEL, head) == ledger.entries()[-1].head


def test_a_pod_whose_ledger_takes_no_entry_stays_silent(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = path.read_bytes()
    path.write_bytes(b"no ledger")
    code, _, err = run(capsys, "pause", "north")
    assert code == 2
    assert "north is paused, but that could not be entered" in err
    code, _, err = run(capsys, "resume", "north")
    assert code == 2
    assert "north stays paused" in err
    assert (path.parent / "paused").exists()
    path.write_bytes(kept)
    assert run(capsys, "resume", "north")[:2] == (0, "north answers again\n")


# -- the privacy budget


def spend(path: Path, part: float, round: int = 2) -> None:
    """Spend a part of what epsilon 1 at delta 1e-5 allows."""
    charge = Charge(int(part * budget(1.0, 1e-5)), "training", "rows", Terms(1.0, 1e-5))
    Ledger(path).charging(charge).enter_begin(Account("7", "7", KEYS), "train", round, LABEL, b"")


def pod_file(path: Path, name: str = "north", policy: str = "{epsilon: 3, delta: 1e-6}") -> Path:
    file = path.parents[2] / f"{name}.yaml"
    file.write_text(f"name: {name}\ndatasource: CSVSource\ndatasource_args: {{path: x.csv}}\npolicy: {policy}\n")
    return file


def test_the_log_shows_what_private_runs_have_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "private runs" not in run(capsys, "log", "north")[1]
    spend(path, 0.5)
    out = run(capsys, "log", "north")[1]
    (row,) = [line for line in out.splitlines() if " spent " in line]
    assert row.endswith("epsilon 0.687 in all, at delta 1e-05")
    assert "told of a row by private runs: epsilon 0.687 in all, at delta 1e-05" in out
    assert "what has left: 2 messages" in out
    entry = json.loads(run(capsys, "log", "north", "--json")[1])["entries"][-1]
    assert json.loads(entry["detail"])["total"] == budget(1.0, 1e-5) // 2


def test_the_log_shows_an_entry_that_was_altered_as_such(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spend(path, 0.5)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE entries SET detail = 'nothing' WHERE event = 'spent'")
    code, out, _ = run(capsys, "log", "north")
    assert code == 1
    assert "cannot be read" in out


def test_the_status_shows_what_is_spent_and_left(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "status", "north")[1]
    assert "privacy: epsilon 0 is spent at delta 1e-05; no budget is set" in out
    spend(path, 0.5)
    file = pod_file(path, policy="{epsilon: 1}")
    out = run(capsys, "status", "north", "--pod", str(file))[1]
    assert "privacy: epsilon 0.687 of 1 is spent at delta 1e-05; a run of epsilon 0.686 is left" in out
    document = json.loads(run(capsys, "status", "north", "--pod", str(file), "--json")[1])
    assert document["privacy"] == {
        "epsilon": 1.0,
        "delta": 1e-5,
        "spent": pytest.approx(0.6864, abs=1e-4),
        "left": pytest.approx(0.6864, abs=1e-4),
    }
    spend(path, 0.5, round=3)
    out = run(capsys, "status", "north", "--pod", str(file))[1]
    assert "epsilon 1 of 1 is spent at delta 1e-05; a run of epsilon 0 is left" in out


def test_the_status_takes_the_terms_with_which_the_pod_was_run(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path.parent / "flower").mkdir()
    settings = path.parent / "flower" / "node.json"
    settings.write_text(json.dumps({"file": str(pod_file(path))}))
    assert (
        "privacy: epsilon 0 of 3 is spent at delta 1e-06; a run of epsilon 3 is left"
        in run(capsys, "status", "north")[1]
    )
    settings.write_text(json.dumps({"file": str(path.parent / "moved.yaml")}))
    assert "no budget is set" in run(capsys, "status", "north")[1]


def test_the_status_takes_no_other_pods_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "status", "north", "--pod", str(pod_file(path, "south")))
    assert code == 2
    assert "is the file of pod south, not of north" in err


def test_the_status_of_a_ledger_that_is_gone_is_that_of_its_mark(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spend(path, 0.5)
    path.unlink()
    assert "privacy: epsilon 0.687 is spent" in run(capsys, "status", "north")[1]
