"""Descriptions asked by a hostile modeller: with other settings, of few pods or few rows, or as something else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_app.config import RunConfig
from fl_app.flower.names import STATISTICS, TRAIN
from fl_app.replica.columns import COLUMNS
from fl_app.replica.description import described_in
from fl_app.secagg.messages import ElementClass, StepPlan
from fl_app.tabular.balance import balance_variance
from fl_app.tabular.description import BALANCE, CATEGORIES
from fl_app.tabular.label_counts import LABELS
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import HISTOGRAM, MOMENTS, VARIANCE
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import NUMBERS, PODS, ROWS, TARGET, Pods, census, table

Parts = dict[str, NDArray[Any]]


def describing(target: str = "", pods: tuple[str, ...] = PODS, **columns: Any) -> RunConfig:
    return settings(datastructure=DataStructure(target=target, **columns), describes=True, pods=pods, rounds=1)


def asked(pods: Pods, config: RunConfig) -> tuple[Run, Parts]:
    """Return a run after its sums, and these by their names."""
    run = Run(pods, config).join()
    replica = run.rule.begin(run.settings, run.published)
    total = run.honest(STATISTICS).total
    assert total is not None
    run.replica = replica
    return run, {name.removeprefix(f"{STATISTICS}."): values for name, values in total.values.items()}


def joint(pods: Pods, target: str, **columns: Any) -> dict[str, NDArray[np.int64]]:
    """Return the counts by class of each column."""
    run, parts = asked(pods, describing(target, **columns))
    return described_in(run.replica).joint(parts[BALANCE])


def test_what_training_asks_too_has_the_same_noise(tmp_path: Path) -> None:
    pods = census(tmp_path)
    _, told = asked(pods, describing())
    for target in (TARGET, "sex"):
        _, trained = asked(pods, settings(datastructure=DataStructure(target=target)))
        run, again = asked(pods, describing(target, selected_cols=("age", "sex")))
        assert (trained[MOMENTS] == told[MOMENTS]).all()
        assert (trained[HISTOGRAM] == told[HISTOGRAM]).all()
        assert (again[MOMENTS] == told[MOMENTS][:3]).all()
        size = len(trained[LABELS])
        assert described_in(run.replica).categories[0].name == target
        assert (again[CATEGORIES][:size] == trained[LABELS]).all()


def test_counts_by_class_asked_in_other_ways_have_the_same_noise(tmp_path: Path) -> None:
    pods = census(tmp_path)
    first = joint(pods, TARGET)
    assert set(first) >= {*NUMBERS, "sex", "country"}
    fewer = joint(pods, TARGET, selected_cols=("age", "sex"), ignore_cols=("gain", "loss", "hours"))
    assert (fewer["age"] == first["age"]).all()
    assert (fewer["sex"] == first["sex"]).all()
    turned = joint(pods, "sex", selected_cols=(TARGET,))
    assert (turned[TARGET] == first["sex"].T).all()


def test_all_counts_by_class_averaged_tell_no_more_than_one_more_count(tmp_path: Path) -> None:
    pods = census(tmp_path)
    run, _ = asked(pods, describing(TARGET))
    columns = int(str(run.replica.facts[COLUMNS]))
    assert columns == len(pods.tables["north"].columns)
    # Each table of a class counts its rows once more, by four places or more, each with noise of its own.
    tables = [
        len(rows) for rows in described_in(run.replica).joint(asked(pods, describing(TARGET))[1][BALANCE]).values()
    ]
    assert min(tables) >= 4
    told = sum(1 / (places * balance_variance(columns)) for places in tables)
    assert told <= 1 / VARIANCE


def test_a_column_of_one_pod_is_not_described(tmp_path: Path) -> None:
    badges = np.random.default_rng(1).permutation(8000)[: ROWS["north"]]
    pods = census(tmp_path, north=table(ROWS["north"], 0).assign(badge=badges))
    path = tmp_path / "north.yaml"
    path.write_text(path.read_text().replace("data_config: {", "data_config: {optional: [badge], "))
    run, _ = asked(pods, describing(TARGET))
    described = described_in(run.replica)
    assert "badge" not in {column.name for column in (*described.numbers, *described.categories)}
    assert "age" in {column.name for column in described.numbers}


def test_a_category_of_one_pod_is_not_counted_by_class(tmp_path: Path) -> None:
    north = table(ROWS["north"], 0)
    north.loc[:200, "workclass"] = "fisher"
    pods = census(tmp_path, north=north)
    run, parts = asked(pods, describing(TARGET))
    described = described_in(run.replica)
    (column,) = (column for column in described.balanced if column.name == "workclass")
    assert "fisher" not in column.values
    assert len(column.values) > 2
    assert len(described.joint(parts[BALANCE])["workclass"]) == 2 + len(column.values)
    turned = described_in(asked(pods, describing("workclass"))[0].replica)
    assert turned.classes is not None
    assert turned.classes.values == column.values
    # How many rows have it in all is told as it is of any label.
    assert "fisher" in next(c for c in described.categories if c.name == "workclass").values


def test_a_description_of_fewer_pods_than_an_owner_wants_is_refused(tmp_path: Path) -> None:
    run = Run(census(tmp_path), describing(pods=("north", "south"))).join()
    assert len(run.refusals) == 2
    assert all("at least 3 pods" in refused.text for refused in run.refusals.values())


def test_a_description_that_declares_training_is_refused(tmp_path: Path) -> None:
    run = Run(census(tmp_path), describing())
    training = StepPlan(TRAIN, 1, (ElementClass("update", "update", 8.0),))
    run.declare(steps=(*run.parameters.steps, training)).join()
    assert len(run.refusals) == len(PODS)
    assert all("steps" in refused.text for refused in run.refusals.values())


def test_a_second_question_in_a_description_is_refused(tmp_path: Path) -> None:
    run = Run(census(tmp_path), describing())
    again = replace(run.parameters.steps[0], rounds=2)
    run.declare(steps=(again,)).join()
    assert len(run.refusals) == len(PODS)


def test_few_rows_of_a_class_are_in_no_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, which would hide them too."""
    monkeypatch.setattr("client.app.noised_sums.discrete_gaussian", lambda variance, size, _: np.zeros(size, int))
    least = 10  # minimum_category_count
    pods = census(tmp_path)
    run, parts = asked(pods, describing(TARGET))
    described = described_in(run.replica)
    assert described.classes is not None
    (country,) = (column for column in described.balanced if column.name == "country")
    seen, rare = described.joint(parts[BALANCE])["country"], 0
    for row, value in enumerate(country.values, start=2):
        for place, label in enumerate(described.classes.values, start=2):
            held = [int(((t["country"] == value) & (t[TARGET] == label)).sum()) for t in pods.tables.values()]
            assert seen[row, place] == sum(count for count in held if count >= least)
            rare += any(0 < count < least for count in held)
    assert rare  # else this test shows nothing
