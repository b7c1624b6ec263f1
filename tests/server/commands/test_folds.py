"""``fl-app fit --folds`` from outside: what it prints, what it refuses, and how it goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fl_app.cli import main
from fl_app.federation.kinds import SimulatedFederation
from server.app.run_directory import RunDirectory

Call = Callable[..., tuple[int, str, str]]
FIT = ("fit", "--federation", "fl-app.toml#small", "--rounds", "1", "--local-epochs", "1", "--folds", "2")


@pytest.fixture
def call(small: SimulatedFederation, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return call


def test_it_prints_every_fold_their_spread_and_what_all_rows_give(call: Call) -> None:
    code, out, err = call(*FIT)
    assert code == 0
    assert "2 runs of up to 1 round, each holding out another fold of every pod's rows" in err
    assert [line[:11] for line in err.splitlines() if line.startswith("fold ")] == ["fold 1 of 2", "fold 2 of 2"]
    (path,) = Path("runs").glob("folds-*")
    document = json.loads((path / "folds.json").read_text())
    page = (path / "folds.html").read_text()
    for spread in document["metrics"].values():
        for figure in spread.values():
            assert f"{figure:.4f}" in out
            assert f"{figure:.4f}" in page
    assert "each of 1,200 rows was held out once" in out
    assert page.count("<svg") == 1
    listed = json.loads(call("runs", "--json")[1])
    assert sorted(entry["run"] for entry in listed) == sorted(run["run"] for run in document["runs"])


def test_one_that_an_owners_limit_stops_says_how_to_go_on(call: Call) -> None:
    south = Path("south.yaml")
    usual = south.read_text()
    south.write_text(usual.replace("policy: {", "policy: {maximum_runs_per_day: 1, "))
    code, out, err = call(*FIT, "--json")
    assert code == 1
    document = json.loads(out)
    assert (document["status"], len(document["runs"])) == ("stopped", 2)
    assert err.splitlines()[-1].endswith(f"`fl-app fit --resume {document['folds_id']}` goes on with it")
    south.write_text(usual)
    for wrong in (("--rounds", "3"), ("--timeout", "9")):
        code, _, err = call("fit", "--resume", document["folds_id"], *wrong)
        assert code == 2
        assert "a cross-validation that goes on keeps the settings it began with" in err
    code, out, _ = call("fit", "--resume", document["folds_id"], "--json")
    assert code == 0
    assert json.loads(out)["status"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--folds", "3"), "'3' is not one of '2', '5', '10'"),
        (("--test-file", "public.csv"), "--test-file has no part in a cross-validation"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(call: Call, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = call(*FIT, *arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert not RunDirectory.all(Path("runs"))
