"""A table such as hospitals have, from `pod init` on without an edit: two sites with differences that are bridged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from client.app.pod_table import PodTable
from client.commands.group import pod
from fl_app.pod.pod_file import load_pod
from fl_app.tabular.combining import check_target, combine
from fl_app.tabular.schema import CombinedSchema, Schema
from fl_app.tabular.settings import DataStructure


def site(seed: int, rows: int = 400) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"P{seed}-{n}" for n in range(rows)],
            "age": draw.integers(18, 90, rows),
            "stage": draw.integers(1, 5, rows),
            "site": f"site {seed}",
            "smoker": draw.choice(["yes", "no", ""], rows),
            "died": draw.integers(0, 2, rows),
        }
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    return tmp_path


def combined(**tables: pd.DataFrame) -> CombinedSchema:
    """Make a pod of each table with `pod init`, unedited, and combine what they publish."""
    schemas = []
    for name, table in tables.items():
        table.to_csv(f"{name}.csv", index=False)
        assert CliRunner().invoke(pod, ["init", f"{name}.csv"]).exit_code == 0
        schemas.append(Schema.from_json(PodTable.of(load_pod(f"{name}.yaml")).schema()))
    check_target(schemas, "died")
    return combine(schemas, ignore_cols=["id"])


@pytest.mark.usefixtures("place")
def test_columns_that_are_constant_or_empty_or_hold_few_values_at_one_site_fit() -> None:
    north, south = site(1), site(2)
    south["stage"] = 2
    south["smoker"] = ""
    south.loc[:, "died"] = 0
    schema = combined(north=north, south=south)
    features = DataStructure(target="died", ignore_cols=["id"]).features(schema)
    assert features == ("age", "stage", "site", "smoker")
    assert schema.column("died").values == ("0", "1")
    assert schema.column("stage").values == ("1", "2", "3", "4")


@pytest.mark.usefixtures("place")
def test_the_same_table_as_a_spreadsheet_writes_it_elsewhere_gives_the_same_schema(place: Path) -> None:
    frame = site(1)
    frame["dose"] = np.random.default_rng(5).normal(5, 1, len(frame)).round(2)
    frame["town"] = np.where(frame["age"] > 50, "Zürich", "Genève")
    frame.to_csv("plain.csv", index=False)
    frame.to_csv("german.csv", index=False, sep=";", decimal=",", encoding="cp1252")
    frame.to_csv("utf16.csv", index=False, sep="\t", encoding="utf-16")
    frame.to_parquet("parquet.parquet")
    schemas = {}
    for file in ("plain.csv", "german.csv", "utf16.csv", "parquet.parquet"):
        name = file.partition(".")[0]
        assert CliRunner().invoke(pod, ["init", file]).exit_code == 0
        schemas[name] = Schema.from_json(PodTable.of(load_pod(place / f"{name}.yaml")).schema()).columns
    assert schemas["german"] == schemas["plain"] == schemas["utf16"] == schemas["parquet"]
