"""`fl-app pod init`: the file it writes loads, says what was found, and overwrites nothing."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.app.pod_table import PodTable
from client.commands.group import pod
from client.site.approved_apps import Apps, hash_of
from client.site.pod_approval import enter
from client.site.pod_template import pod_text
from client.site.table_description import TableDescription, describe_table
from fl_app.errors import DataError, UsageError
from fl_app.host.bundle import build
from fl_app.host.card import Card
from fl_app.pod.datasource import CSVSource
from fl_app.pod.pod_file import load_pod
from fl_app.pod.policy import Policy
from fl_app.tabular.combining import combine
from fl_app.tabular.schema import Schema

ROWS = 300
EXAMPLES = {name: field.examples[0] for name, field in Policy.model_fields.items() if field.examples}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    return tmp_path


def frame() -> pd.DataFrame:
    draw = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "patient_id": range(5000, 5000 + ROWS),
            "age": draw.integers(18, 90, ROWS),
            "stage": draw.integers(1, 5, ROWS),
            "bmi": draw.normal(25, 3, ROWS).round(2),
            "sex": draw.choice(["f", "m"], ROWS),
            "note": [f"seen by doctor {n % 200} on day {n % 5}" for n in range(ROWS)],
            "site": "A",
            "empty": np.nan,
            "dead": draw.integers(0, 2, ROWS),
        }
    )


def init(*arguments: str) -> Result:
    return CliRunner().invoke(pod, ["init", *arguments])


def test_one_command_makes_a_pod_that_is_ready_but_for_the_approvals(place: Path) -> None:
    frame().to_csv("a.csv", index=False)
    done = init("a.csv", "--name", "hospital-a")
    assert done.exit_code == 0, done.output
    made = load_pod(place / "hospital-a.yaml")
    assert made.name == "hospital-a"
    assert made.datasource.path == place / "a.csv"
    assert made.policy == Policy()
    assert made.approved_pods == ()
    assert Card.load(place / "hospital-a.card").fingerprint in done.output
    assert Apps(place / "home" / "pods" / "hospital-a").approved(hash_of(build()))
    assert "the one installed here" in done.output
    looked = json.loads(CliRunner().invoke(pod, ["check", "hospital-a.yaml", "--json"]).stdout)
    assert [one["about"] for one in looked["findings"] if not one["ok"]] == ["cohort"]
    assert enter(place / "hospital-a.yaml", "hospital-b")
    assert load_pod(place / "hospital-a.yaml").approved_pods == ("hospital-b",)


def test_what_was_found_is_proposed(place: Path) -> None:
    frame().to_csv("a.csv", index=False)
    init("a.csv", "--name", "a")
    config, text = load_pod(place / "a.yaml").data_config, (place / "a.yaml").read_text()
    assert config.ignore_cols == ()
    assert config.bounds == {"age": (0, 128), "bmi": (0, 64)}
    for column, why in {"patient_id": "identifier", "note": "text"}.items():
        assert re.search(f"#  - {column}  # .*{why}", text), column
    for column, why in {
        "age": "a number, with public bounds 0 to 128",
        "stage": "4 whole numbers, published by value: a number, or a target",
        "sex": "a category, 2 values published",
        "site": "the same value in every row here; other pods may differ",
        "empty": "no value in any row here; other pods may have some",
        "dead": "2 whole numbers",
    }.items():
        assert f"  #   {column}: {why}" in text, column


def test_no_kind_is_forced_so_that_a_column_is_described_by_its_own_values_at_every_pod(place: Path) -> None:
    """Two pods of which one holds 0 and 1, the other 0 alone, publish kinds that go together."""
    schemas = []
    for name, values in {"a": [0, 1], "b": [0, 0]}.items():
        pd.DataFrame({"flag": values * 50, "age": range(100)}).to_csv(f"{name}.csv", index=False)
        init(f"{name}.csv")
        schemas.append(Schema.from_json(PodTable.of(load_pod(place / f"{name}.yaml")).schema()))
    assert combine(schemas).column("flag").values == ("0", "1")


def test_the_proposals_can_be_taken_as_they_stand(place: Path) -> None:
    frame().to_csv("a.csv", index=False)
    init("a.csv", "--name", "a")
    file = place / "a.yaml"
    text = file.read_text().replace("ignore_cols: []", "ignore_cols:").replace("  #  - ", "    - ")
    file.write_text(re.sub(r"  # ((minimum_\w+|maximum_\w+|epsilon|honest_pods): )", r"  \1", text))
    made = load_pod(file)
    assert set(made.data_config.ignore_cols) == {"patient_id", "note"}
    assert made.policy == Policy(**EXAMPLES)
    looked = json.loads(CliRunner().invoke(pod, ["check", "a.yaml", "--json"]).stdout)
    assert [one["about"] for one in looked["findings"] if not one["ok"]] == ["cohort"]


def test_what_is_said_on_the_command_line_is_written(place: Path) -> None:
    frame().to_csv("a.csv", index=False)
    done = init(
        *("a.csv", "--name", "a", "--minimum-cohort", "2", "--epsilon", "3", "--ignore", "patient_id, note"),
        *("-o", "p.yaml", "--json"),
    )
    document = json.loads(done.stdout)
    assert document["file"] == "p.yaml"
    assert document["rows"] == ROWS
    assert "patient_id" not in document["columns"]
    made = load_pod(place / "p.yaml")
    assert made.policy == Policy(minimum_cohort=2, epsilon=3.0)
    assert made.data_config.ignore_cols == ("patient_id", "note")


@pytest.mark.parametrize("epsilon", ["0", "-1", "inf", "nan", "much"])
def test_a_budget_that_is_no_number_above_zero_makes_no_pod(place: Path, epsilon: str) -> None:
    frame().to_csv("a.csv", index=False)
    done = init("a.csv", "--name", "a", "--epsilon", epsilon)
    assert done.exit_code == 2 or isinstance(done.exception, UsageError)
    assert not (place / "a.yaml").exists()


def test_every_term_of_the_policy_is_explained() -> None:
    assert all(field.description for field in Policy.model_fields.values())
    assert EXAMPLES.keys() == {name for name, value in Policy().model_dump().items() if value is None}
    text = pod_text(TableDescription(CSVSource("a.csv"), 1, Schema(name="a", columns=())), "a", "a.csv", {})
    for name, field in Policy.model_fields.items():
        assert re.search(rf"^  (# )?{name}: .+  # {re.escape(str(field.description))}$", text, re.MULTILINE), name


def test_a_file_that_exists_is_not_touched_and_nothing_is_made(place: Path) -> None:
    frame().to_csv("a.csv", index=False)
    for name in ("a.yaml", "b.card"):
        (place / name).write_text("mine")
    for name in ("a", "b"):
        done = init("a.csv", "--name", name)
        assert isinstance(done.exception, UsageError)
        assert "not overwritten" in str(done.exception)
    assert (place / "a.yaml").read_text() == (place / "b.card").read_text() == "mine"
    assert not (place / "b.yaml").exists()
    assert not (place / "home").exists()


def test_the_name_comes_from_the_table_or_must_be_given(place: Path) -> None:
    frame().to_csv("Ward 7.csv", index=False)
    assert init("Ward 7.csv").exit_code == 0
    assert load_pod(place / "ward-7.yaml").name == "ward-7"
    assert isinstance(init("Ward 7.csv", "--name", "Ward 7").exception, UsageError)


def test_other_separators_and_formats(place: Path) -> None:
    table = frame()[["age", "bmi", "sex"]]
    table.to_csv("a.csv", index=False, sep=";", decimal=",")
    assert init("a.csv").exit_code == 0
    made = load_pod(place / "a.yaml")
    assert made.datasource.read_options == {"sep": ";", "decimal": ","}
    assert set(made.data_config.bounds) == {"age", "bmi"}
    table.to_csv("b.tsv.gz", index=False, sep="\t")
    assert init("b.tsv.gz").exit_code == 0
    assert load_pod(place / "b.yaml").datasource.read_options == {"sep": "\t"}
    table.to_parquet("c.parquet")
    assert init("c.parquet").exit_code == 0
    assert load_pod(place / "c.yaml").datasource.kind == "parquet"


def test_a_table_elsewhere_is_named_by_its_whole_path(place: Path) -> None:
    (place / "here").mkdir()
    frame().to_csv("a.csv", index=False)
    assert init("a.csv", "-o", "here/a.yaml").exit_code == 0
    assert f"path: {place / 'a.csv'}" in (place / "here" / "a.yaml").read_text()


@pytest.mark.parametrize("content", ["", "a,b\n", "\x00\x01\x02"])
def test_a_table_that_cannot_be_used_leaves_nothing(place: Path, content: str) -> None:
    (place / "a.csv").write_text(content)
    assert isinstance(init("a.csv").exception, (DataError, UsageError))
    assert not (place / "a.yaml").exists()
    assert not (place / "home").exists()


def test_an_ignored_column_must_exist(place: Path) -> None:
    frame().to_csv("a.csv", index=False)
    assert "--ignore names nowhere" in str(init("a.csv", "--ignore", "nowhere").exception)


@pytest.mark.parametrize("given", [["--ignore", "Weight, kg"], ["--ignore", '"Weight, kg",age'], ["--ignore", "age"]])
def test_a_column_whose_name_holds_a_comma_can_be_ignored(place: Path, given: list[str]) -> None:
    pd.DataFrame({"Weight, kg": range(40), "age": range(40), "sex": ["f", "m"] * 20, "x": 1}).to_csv(
        "a.csv", index=False
    )
    assert init("a.csv", *given, "--ignore", "x").exit_code == 0
    ignored = load_pod(place / "a.yaml").data_config.ignore_cols
    assert ignored[-1] == "x"
    assert ("Weight, kg" in ignored) == ("Weight" in given[1])
    assert ("age" in ignored) == ("age" in given[1])


def test_nested_columns_are_named_in_one_line_and_can_be_ignored(place: Path) -> None:
    pd.DataFrame({"y": ["a", "b"] * 20, "x": range(40), "codes": [["p"]] * 40, "raw": [b"p"] * 40}).to_parquet(
        "a.parquet"
    )
    error = init("a.parquet").exception
    assert str(error).endswith("--ignore codes,raw")
    assert init("a.parquet", "--ignore", "codes,raw").exit_code == 0
    looked = json.loads(CliRunner().invoke(pod, ["check", "a.yaml", "--json"]).stdout)
    assert looked["columns"] == {"y": "categorical", "x": "continuous"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("A11 6 A34\nA12 48 A32\nA14 12 A34\n", "one column only.*Spaces separate 3 fields.*header: null"),
        ("a  b\n1  2\n3  4\n", "one column only.*several spaces"),
        ("a\n1\n2\n", "one column only: is the separator right"),
        ("3,3,x\n1,2,y\n2,3,z\n", "two columns have the same name"),
    ],
)
def test_a_file_that_seems_to_be_read_wrongly_is_refused_with_advice(place: Path, content: str, told: str) -> None:
    (place / "a.csv").write_text(content)
    error = init("a.csv").exception
    assert isinstance(error, DataError)
    assert re.search(told, str(error))


def test_the_advice_for_a_file_without_a_header_works(place: Path) -> None:
    (place / "a.csv").write_text("A11 6 A34\nA12 48 A32\nA14 12 A34\n")
    done = init("a.csv", "--read-options", 'sep: " ", header: null', "--json")
    assert list(json.loads(done.stdout)["columns"]) == ["0", "1", "2"]
    (place / "b.csv").write_text("3,1,x\n1,2,y\n2,3,z\n")
    assert any("looks like data" in remark for remark in json.loads(init("b.csv", "--json").stdout)["remarks"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), min_size=1), min_size=2))
def test_a_column_of_any_name_can_be_written(place: Path, names: list[str]) -> None:
    columns = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    table = pd.DataFrame({name: range(30) for name in columns})
    for name in {"whole", "half"} - set(columns):  # a file of one column is refused
        table.insert(0, name, [f"v{n % 3}" for n in range(30)])
    table.to_parquet("any.parquet")
    description = describe_table(Path("any.parquet"), "a")
    file = place / "any.yaml"
    file.write_text(pod_text(description, "a", "any.parquet", {}), "utf-8")
    assert load_pod(file).datasource.path == place / "any.parquet"
