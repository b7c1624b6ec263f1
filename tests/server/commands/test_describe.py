"""``fl-app describe``, what it leaves behind for the other commands, and the same from Python."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import fl_app
from fl_app.cli import main
from fl_app.errors import DataError, RunFailed, UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.identity.known_pods import keygen
from server.app.description_result import QUANTILES, BalanceRows, ColumnDescription, DescriptionResult
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.display.description import balance, categories, cell_of, number, numbers, rows_and_share, seen, told
from tests.support.small_federation import PODS, table, write_pod

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(small: SimulatedFederation, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = capsys.readouterr()
        return int(str(left.value.code)), out, err

    return call


def test_the_tables_on_a_terminal(call: Call) -> None:
    code, out, err = call("describe", "--target", "outcome")
    assert code == 0, err
    assert "2 pods: north, south (simulation)" in err
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    assert any(line.startswith("age ") and "±" in line for line in lines)
    assert any(line.startswith("outcome (target) 1,200 0.0% yes") for line in lines)
    assert any(line.startswith("colour blue") and "%" in line for line in lines)
    assert "1,200 rows in all pods together, 960 of them to train on" in out
    assert "fl-app report" in out


def test_json_and_without_a_target(call: Call) -> None:
    code, out, _ = call("describe", "--json", "--ignore", "colour")
    assert code == 0
    document = json.loads(out)
    described = document["description"]
    assert [column["name"] for column in described["columns"]] == ["age", "outcome"]
    assert described["target"] is None
    assert all(not column["balance"] for column in described["columns"])
    assert document["status"] == "completed"
    assert document == {
        **json.loads((Path(document["directory"]) / "results.json").read_text()),
        "directory": document["directory"],
    }


def test_the_other_commands_know_a_description(call: Call, small: SimulatedFederation) -> None:
    assert call("describe", "--target", "outcome")[0] == 0
    assert call("fit", "--target", "outcome", "--rounds", "1")[0] == 0
    code, out, _ = call("runs")
    assert code == 0
    assert "description" in out
    runs = sorted(RunDirectory.all(Path("runs")), key=lambda run: run.results().description is None)
    first, second = (run.name for run in runs)
    code, out, _ = call("runs", "show", first)
    assert (code, "numbers" in out) == (0, True)
    code, out, _ = call("runs", "compare", first, second)
    assert code == 0
    code, _, err = call("export", first, "--format", "pt", "-o", "model.pt")
    assert code != 0
    assert "Traceback" not in err
    code, _, err = call("fit", "--resume", first)
    assert code == 2
    assert "is completed" in err
    code, out, _ = call("report", first)
    assert code == 0
    written = [Path(line).name for line in out.split()]
    assert written == ["report.html", "distributions.png", "balance.png"]
    page = Path(out.split()[0]).read_text()
    assert "What the tables hold" in page
    assert page.count("<svg") == 2
    assert "network" not in page  # nothing was trained
    assert call("report", second)[0] == 0


def test_what_cannot_be_described(call: Call) -> None:
    code, _, err = call("describe", "--target", "age")
    assert code == 1
    assert "fewer than two published values" in err
    code, _, err = call("describe", "--target", "nowhere")
    assert (code, "has no column 'nowhere'" in err) == (1, True)
    code, _, err = call("describe", "--pods", "north,east")
    assert (code, "no pod 'east'" in err) == (2, True)
    code, _, err = call("describe", "--privacy", "epsilon=1")
    assert code == 2


def test_an_owner_with_a_privacy_budget_takes_part_in_no_description(call: Call, small: SimulatedFederation) -> None:
    path = Path("north.yaml")
    path.write_text(path.read_text().replace("policy: {", "policy: {epsilon: 3.0, "))
    code, _, err = call("describe")
    assert code == 1
    assert "takes part in private runs only" in err


def test_runs_of_a_day_are_limited_and_the_ledger_has_them(call: Call, small: SimulatedFederation) -> None:
    path = Path("north.yaml")
    path.write_text(path.read_text().replace("policy: {", "policy: {maximum_runs_per_day: 1, "))
    assert call("describe")[0] == 0
    code, _, err = call("describe")
    assert code == 1
    assert "runs" in err
    code, out, _ = call("pod", "log", "north")
    assert code == 0
    assert "statistics" in out


def test_columns_that_do_not_fit_are_left_out_and_named(call: Call, small: SimulatedFederation) -> None:
    frame = table(600, 1)
    frame["age"] = [f"group {int(age) // 10}" if age == age else "" for age in frame["age"]]
    frame.to_csv("south.csv", index=False)
    code, out, err = call("describe")
    assert code == 0, err
    assert "age: left out, since" in out
    assert "colour" in out


def test_python(small: SimulatedFederation) -> None:
    described = fl_app.describe(small, target="outcome", runs="elsewhere")
    assert isinstance(described, fl_app.Description)
    assert described.run_directory.parent.name == "elsewhere"
    assert described.rows == 1200
    frame = described.frame
    assert list(frame.index) == ["age", "colour", "outcome"]
    assert list(frame.columns[6:]) == ["std", *(f"{share:.0%}" for share in QUANTILES), "top", "top_rows"]
    assert frame.loc["outcome", "top"] == "yes"
    assert frame.loc["age", "5%"] < frame.loc["age", "50%"] < frame.loc["age", "95%"]
    shares = described.categories.groupby("column")["share"].sum()
    assert shares.loc[["colour", "outcome"]].tolist() == pytest.approx([1, 1])
    rows = pd.concat([table(600, seed) for seed in range(2)])
    by_class = described.balance.set_index(["column", "cell", "class"])
    red = rows[rows["colour"] == "red"]
    assert by_class.loc[("colour", "red", "yes"), "rows"] == (red["outcome"] == "yes").sum()
    assert by_class.loc[("colour", "red", "yes"), "share"] == pytest.approx((red["outcome"] == "yes").mean())
    assert "<table" in described._repr_html_()
    assert "1,200 rows" in str(described)
    assert described.report().is_file()
    assert fl_app.describe(small, pod_identifiers=PODS).balance.empty
    with pytest.raises(DataError, match="has no column"):
        fl_app.describe(small, target="nowhere")
    with pytest.raises(UsageError, match="no pod 'east'"):
        fl_app.describe(small, pod_identifiers=["north", "east"])


def test_python_tells_of_a_pod_that_refuses(small: SimulatedFederation, tmp_path: Path) -> None:
    write_pod(tmp_path, "north", approved=("west",))
    keygen("west", tmp_path / "home")
    with pytest.raises(RunFailed, match="does not approve"):
        fl_app.describe(small)


# --- in words


def test_what_noise_leaves_nothing_of_is_said_and_not_shown() -> None:
    age = ColumnDescription(
        name="age",
        kind="continuous",
        pods=3,
        unit="years",
        whole=True,
        rows=40,
        missing=0.5,
        mean=41.26,
        mean_error=123.4,
        balance=(
            BalanceRows(low=0, high=15, rows=(9, 9)),
            BalanceRows(low=16, high=31, rows=(30, 10)),
            BalanceRows(missing=True, rows=(0, 0)),
        ),
    )
    town = ColumnDescription(name="town", kind="categorical", pods=3, rows=0, unpublished=0)
    description = DescriptionResult(
        rows=80,
        train_rows=64,
        target="ill",
        classes=("no", "yes"),
        columns=(age, town),
        noise={"rows": 5.2, "categories": 3.7, "balance": 5.2},
    )
    assert numbers(description) == [["age (years)", "40", "50.0%", "41.26 ±100", "-", *["-"] * len(QUANTILES)]]
    assert categories(description) == [["town", "0", "-", ""]]
    assert {name: [entry.cell for entry in entries] for name, entries in seen(description).items()} == {
        "age": ["16 to 31"]
    }
    assert [entry.shares for entry in balance(description)] == [(0.5, 0.5), (0.75, 0.25), (None, None)]
    assert [rows_and_share(*pair) for pair in ((1200, 0.75), (0, 0.0), (0, None))] == ["1,200 (75.0%)", "few", "few"]
    assert cell_of(age.balance[-1]) == "missing"
    assert any("no quantiles" in text and "age" in text for text in told(description))
    assert (number(None), number(12345.6), number(0.000123456)) == ("-", "12,346", "0.0001235")
    assert Results.read(json.dumps(Results(description=description).document())).description == description
