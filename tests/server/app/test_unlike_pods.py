"""Pods whose tables differ train together, or the modeller is told exactly why not: whole runs in this process."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from fl_app.config import RunConfig
from fl_app.errors import FlAppError
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure, Optimizer
from server.app.run_directory import RunDirectory
from server.display.report import write_report
from server.modeller.launch import UnfitData, fit
from tests.support.small_federation import PODS, small_federation, table


def trained(
    directory: Path, tables: tuple[pd.DataFrame, pd.DataFrame], **data_config: dict[str, Any]
) -> tuple[TrainedModel, dict[str, Any]]:
    """Train over north and south with these tables; ``data_config`` is by pod. Returns the model and the results."""
    federation = small_federation(directory)
    for name, frame in zip(PODS, tables, strict=True):
        frame.to_csv(directory / f"{name}.csv", index=False)
        path = directory / f"{name}.yaml"
        pod = yaml.safe_load(path.read_text()) | {"data_config": data_config.get(name, {})}
        path.write_text(yaml.safe_dump(pod))
    config = RunConfig(
        pods=PODS,
        datastructure=DataStructure(target="outcome"),
        rounds=3,
        local_epochs=3,
        batch_size=64,
        optimizer=Optimizer(name="AdamW", params={"lr": 0.01}),
    )
    run = fit(config, federation, runs=directory / "runs")
    return TrainedModel.load(run.model_path()), run.results().document()


def learnt(model: TrainedModel, test: pd.DataFrame, least: float = 0.9) -> None:
    assert model.evaluate(test)["auc"] > least


def test_a_pod_with_categories_that_others_lack(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    south["colour"] = south["colour"].replace({"red": "crimson"})
    model, results = trained(work, (north, south))
    (colour,) = model.encoding.categorical
    assert colour.values == ("blue", "crimson", "green", "red")
    assert results["schema_differences"] == [
        "colour: north does not publish crimson",
        "colour: south does not publish red",
    ]
    fresh = table(400, 5)
    learnt(model, fresh)
    learnt(model, fresh.assign(colour=fresh["colour"].replace({"red": "crimson"})))


def test_a_pod_that_knows_one_class_only(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    model, results = trained(work, (north, south[south["outcome"] == "yes"]))
    assert model.classes == ("no", "yes")
    assert results["schema_differences"] == ["outcome: south does not publish no"]
    learnt(model, table(400, 5))


@pytest.mark.parametrize("missing", ["age", "colour"])
def test_an_optional_column_that_a_pod_lacks(work: Path, missing: str) -> None:
    north, south = table(600, 0), table(600, 1)
    model, results = trained(work, (north, south.drop(columns=missing)), north={"optional": [missing]})
    lacks, left_out = results["schema_differences"]
    assert lacks == f"{missing}: south lacks this optional column"
    assert left_out.startswith(f"{missing}: left out, since only 1 of 2 pods publish it, and the owner of ")
    assert missing not in [column.name for column in model.encoding.features]
    fresh = table(400, 5)
    learnt(model, fresh, 0.6)
    learnt(model, fresh.drop(columns=missing), 0.6)


def test_another_order_of_columns(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    model, results = trained(work, (north, south[["outcome", "colour", "age"]]))
    same, _ = trained(work, (north, south))
    assert results["schema_differences"] == []
    assert model.encoding == same.encoding
    for name, array in same.state.items():
        np.testing.assert_allclose(model.state[name], array, atol=1e-6)


def test_whole_numbers_here_and_fractions_there(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    south["age"] += 0.25
    model, _ = trained(work, (north, south))
    (age,) = model.encoding.continuous
    assert not age.integer
    learnt(model, table(400, 5))


def test_numbers_as_text_where_the_owner_says_they_are_numbers(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    south["age"] = south["age"].map(lambda age: "" if np.isnan(age) else f"{age:g} ")
    south.loc[7, "age"] = "?"
    model, results = trained(work, (north, south), south={"force_stypes": {"continuous": ["age"]}})
    assert results["schema_differences"] == []
    learnt(model, table(400, 5))


def test_numbers_that_stand_for_categories(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    codes = {"red": 1, "green": 2, "blue": 3}
    north["colour"] = north["colour"].map(codes)  # with gaps: 1.0, 2.0, 3.0
    south["colour"] = south["colour"].map(codes).fillna(3).astype(int)
    forced = {"force_stypes": {"categorical": ["colour"]}}
    model, results = trained(work, (north, south), north=forced, south=forced)
    assert results["schema_differences"] == []
    (colour,) = model.encoding.categorical
    assert colour.values == ("1", "2", "3")
    learnt(model, north)


def test_pods_that_keep_no_rows_for_a_test(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    sparing = {"validation_percent": 5, "test_percent": 0}
    model, results = trained(work, (north, south), north=sparing)
    assert results["rounds"][0]["weight"] == 600 * 95 // 100 + 600 * 80 // 100
    assert results["rounds"][-1]["num_examples"] == 30 + 60
    assert results["final"]["num_examples"] == 0  # the other pod's rows would be alone in their sum
    learnt(model, table(400, 5))
    _, results = trained(work, (north, south), north=sparing, south=sparing)
    assert results["status"] == "completed"
    assert results["final"]["num_examples"] == 0
    assert results["final"]["auc"] is None
    report, _ = write_report(RunDirectory.find(work / "runs" / results["run_id"]))
    assert "test rows" in report.read_text("utf-8")


def refused(directory: Path, tables: tuple[pd.DataFrame, pd.DataFrame], **data_config: dict[str, Any]) -> str:
    with pytest.raises(FlAppError) as caught:
        trained(directory, tables, **data_config)
    assert isinstance(caught.value, UnfitData)
    return str(caught.value)


def test_a_column_that_is_text_here_and_numbers_there_is_refused_by_name(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    text = refused(work, (north, south.assign(age=np.where(south["age"] > 50, "old", "young"))))
    assert "column 'age' is categorical in 'south' but continuous in 'north'" in text
    assert "force_stypes" in text


def test_a_required_column_that_a_pod_lacks_is_refused_by_name(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    text = refused(work, (north, south.rename(columns={"colour": "Colour"})))
    assert "'colour' of 'north' is missing in 'south' (which has 'Colour'); declare it optional" in text


def test_the_target_cannot_be_optional(work: Path) -> None:
    north, south = table(600, 0), table(600, 1)
    text = refused(work, (north, south.drop(columns="outcome")), north={"optional": ["outcome"]})
    assert "the target 'outcome' is declared optional, and every pod needs it" in text
