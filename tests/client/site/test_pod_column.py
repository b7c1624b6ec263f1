"""`fl-app pod column`: what is said of a column is entered, checked against the table, and nothing else changes."""

import difflib
import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from client.commands.group import pod
from fl_app.errors import DataError, UsageError
from fl_app.pod.pod_file import load_pod


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    frame = pd.DataFrame(
        {
            "age": [20 + n % 50 for n in range(100)],
            "stage": [n % 4 for n in range(100)],
            "sex": ["f", "m"] * 50,
            "seen": [f"2024-{1 + n % 12:02}-{1 + n % 28:02}" for n in range(100)],
            "tsh": ["<0.1" if n % 10 == 0 else str(n / 10) for n in range(100)],
        }
    )
    frame.to_csv("a.csv", index=False)
    assert CliRunner().invoke(pod, ["init", "a.csv"]).exit_code == 0
    return tmp_path


def column(*arguments: str) -> Result:
    return CliRunner().invoke(pod, ["column", "a.yaml", *arguments])


def changed_lines(before: str) -> list[str]:
    after = Path("a.yaml").read_text()
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_each_setting_is_entered_and_the_rest_of_the_file_stays() -> None:
    for arguments, lines in [
        (("stage", "--kind", "continuous"), ["-  force_stypes: {}", "+  force_stypes: {continuous: [stage]}"]),
        (("age", "--bounds", "0,120"), ["-    age: [0, 128]", "+    age: [0, 120]"]),
        (("age", "--optional"), ["-  optional: []", "+  optional: [age]"]),
        (("age", "--no-optional"), ["-  optional: [age]", "+  optional: []"]),
        (
            ("stage", "--kind", "categorical"),
            ["-  force_stypes: {continuous: [stage]}", "+  force_stypes: {continuous: [], categorical: [stage]}"],
        ),
        (("stage", "--kind", "auto"), ["-  force_stypes: {continuous: [], categorical: [stage]}"]),
        (("age", "--ignore"), ["-  ignore_cols: []", "+  ignore_cols: [age]"]),
    ]:
        before = Path("a.yaml").read_text()
        done = column(*arguments)
        assert done.exit_code == 0, done.exception
        assert [line for line in lines if line not in changed_lines(before)] == [], changed_lines(before)
    config = load_pod("a.yaml").data_config
    assert config.ignore_cols == ("age",)
    assert config.bounds == {}


def test_what_is_published_then_is_told() -> None:
    assert json.loads(column("stage", "--kind", "continuous", "--json").stdout)["publishes"] == {
        "name": "stage",
        "kind": "continuous",
        "low": 0.0,
        "high": 4.0,
        "integer": True,
    }
    assert "0 to 300 kg, whole" in column("age", "--unit", "kg", "--bounds", "0,300").output
    assert load_pod("a.yaml").data_config.units == {"age": "kg"}
    assert "nothing of it leaves the pod" in column("sex", "--ignore").output


def test_text_among_numbers_is_quoted_to_the_owner_and_the_file_is_untouched() -> None:
    before = Path("a.yaml").read_text()
    error = column("tsh", "--kind", "continuous").exception
    assert isinstance(error, DataError)
    assert "'<0.1' (10 times" in error.full_text
    assert Path("a.yaml").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere", "--ignore"), "nowhere"),
        (("nowhere", "--kind", "auto"), "no column 'nowhere'"),
        (("sex", "--bounds", "0,1"), "categorical"),
        (("age", "--bounds", "5,1"), "low below high"),
        (("age", "--bounds", "five"), "least and the greatest"),
        (("age", "--bounds", "2000-01-01,2001-01-01"), "least and the greatest"),
        (("seen", "--bounds", "0,5"), "dates.seen.bounds[0]: must be a date such as"),
        (("seen", "--bounds", "2001-01-01,2000-01-01"), "dates.seen: the bounds must be [first, last]"),
        (("seen", "--unit", "weeks"), "dates.seen.unit: should be 'days', 'hours', 'minutes' or 'seconds'"),
        (("seen", "--parts", "year"), "dates.seen.parts"),
        (("age", "--parts", "month"), "'age' is no date, and has no parts"),
        (("age",), "say what to change"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], told: str) -> None:
    before = Path("a.yaml").read_text()
    error = column(*arguments).exception
    assert isinstance(error, UsageError), error
    assert told in str(error)
    assert Path("a.yaml").read_text() == before


def test_a_file_in_python_is_not_changed() -> None:
    Path("p.py").write_text("from fl_app import CSVSource, Pod\npod = Pod(name='p', datasource=CSVSource('a.csv'))\n")
    error = CliRunner().invoke(pod, ["column", "p.py", "age", "--ignore"]).exception
    assert "written in Python" in str(error)


def test_a_date_has_its_settings_in_one_place() -> None:
    assert "    seen: {unit: days, bounds: [2024-01-01, 2032-01-01]}" in Path("a.yaml").read_text()
    for arguments, line in [
        (("--unit", "hours"), "    seen: {unit: hours, bounds: [2024-01-01, 2032-01-01]}"),
        (
            ("--parts", "month, weekday"),
            "    seen: {unit: hours, bounds: [2024-01-01, 2032-01-01], parts: [month, weekday]}",
        ),
        (
            ("--bounds", "2024-01-01,2025-01-01", "--parts", ""),
            "    seen: {unit: hours, bounds: [2024-01-01, 2025-01-01], parts: []}",
        ),
    ]:
        done = column("seen", *arguments)
        assert done.exit_code == 0, done.exception
        assert line in Path("a.yaml").read_text().splitlines()
    assert "2024-01-01 to 2025-01-01 in hours since 1970-01-01" in done.output
    assert column("seen", "--kind", "categorical").exit_code == 0
    config = load_pod("a.yaml").data_config
    assert (dict(config.dates), config.force_stypes) == ({}, {"categorical": ("seen",)})
    assert column("seen", "--kind", "date", "--unit", "days").exit_code == 0
    assert load_pod("a.yaml").data_config.dates["seen"].unit == "days"
    assert column("seen", "--ignore").exit_code == 0
    assert not load_pod("a.yaml").data_config.dates
    refused = column("sex", "--kind", "date").exception
    assert isinstance(refused, DataError)
    assert "'f' (50 times, first in data row 1)" in refused.full_text
