"""Counts by group as an attack: of a column that an owner keeps to itself, of few rows, of few pods."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from client.app import grouped
from fl_app.errors import UsageError
from fl_app.flower import names
from fl_app.pod.pod_file import load_pod
from fl_app.replica.groups import column_of, counts_in
from fl_app.tabular.column_spec import ColumnSpec, ProposedColumn
from fl_app.tabular.settings import DataStructure
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import PODS, ROWS, TARGET, Pods, census, table

ALLOWED = "{evaluation_groups: [sex, shift]}"


def asked(pods: Pods, column: str = "shift", **changes: Any) -> Run:
    """Begin a run by whose settings counts are told apart by a column."""
    learnt = DataStructure(target=TARGET, selected_cols=("age",))
    return Run(pods, settings(rounds=1, datastructure=learnt, group_by=column, **changes)).join()


def confusions(run: Run) -> dict[str, int]:
    """Return how many test rows of each group a final evaluation counts; "" for all others."""
    run.honest(names.STATISTICS)
    total = run.honest(names.EVALUATE).total
    column = column_of(run.replica)
    assert total is not None
    assert column is not None
    counts = counts_in(total, run.replica, 2).confusion.sum(axis=(1, 2)).tolist()
    return dict(zip((*column.values, ""), counts, strict=True))


def shifts(**values: list[str]) -> dict[str, pd.DataFrame]:
    """Return the usual tables with a column that holds at each pod these values in turn."""
    return {
        name: table(ROWS[name], seed).assign(shift=np.resize(values[name], ROWS[name]))
        for seed, name in enumerate(PODS)
    }


def test_a_column_that_an_owner_does_not_allow_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    pods = census(tmp_path)
    run = asked(pods, "sex")
    assert {name: "(evaluation_groups)" in refused.text for name, refused in run.refusals.items()} == dict.fromkeys(
        PODS, True
    )


def test_an_owner_who_withdraws_the_column_tells_no_counts_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = census(tmp_path, ALLOWED)
    run = asked(pods, "sex")
    run.honest(names.STATISTICS)
    file = tmp_path / "north.yaml"
    file.write_text(file.read_text().replace("[sex, shift]", "[shift]"))
    outcome = run.honest(names.EVALUATE)
    assert outcome.total is None
    assert "(evaluation_groups)" in outcome.refusals["north"].text


def test_a_group_of_one_pod_is_not_told(tmp_path: Path) -> None:
    pods = census(tmp_path, ALLOWED, **shifts(north=["day", "night"], south=["day"], west=["day"]))
    assert confusions(asked(pods)) == {"day": 0, "night": 0, "": len(pods.pooled("test"))}  # some 50 of north


def test_a_group_of_all_pods_beside_few_rows_is_not_told(tmp_path: Path) -> None:
    """All test rows less those of the group would be two rows of each pod."""
    tables = shifts(north=["day"], south=["day"], west=["day"])
    pods = census(tmp_path, ALLOWED, **tables)
    for name in PODS:
        tables[name].loc[pods.rows(name, "test").index[:2], "shift"] = ""
    (tmp_path / "with").mkdir()
    pods = census(tmp_path / "with", ALLOWED, **tables)
    assert confusions(asked(pods)) == {"day": 0, "": len(pods.pooled("test"))}


def test_groups_of_many_rows_at_all_pods_are_told(tmp_path: Path) -> None:
    pods = census(tmp_path, ALLOWED, **shifts(**{name: ["day", "night"] for name in PODS}))
    rows = pods.pooled("test")["shift"].value_counts()
    assert confusions(asked(pods)) == {"day": rows["day"], "night": rows["night"], "": 0}


def test_a_series_tells_apart_the_groups_of_one_column(tmp_path: Path) -> None:
    pods = census(tmp_path, ALLOWED, **shifts(**{name: ["day", "night"] for name in PODS}))
    run = asked(pods)
    run.honest(names.STATISTICS)
    learnt = DataStructure(target=TARGET, selected_cols=("age",))
    going = Run(pods, settings(rounds=1, datastructure=learnt, group_by="sex"), series=run.parameters.series)
    going.replica, going.proof = run.replica, run.proof
    outcome = going.join().honest(names.EVALUATE)
    assert outcome.total is None
    assert all("another column" in refused.text for refused in outcome.refusals.values())
    assert len(outcome.refusals) == len(PODS)


def test_nothing_is_proposed_for_a_column_by_which_rows_are_told_apart() -> None:
    """Were a group read as missing in one run, two runs would tell what is beside the groups by their difference."""
    proposal = ColumnSpec(columns={"shift": ProposedColumn(missing=("night",))})
    with pytest.raises(UsageError, match="nothing may be proposed for 'shift'"):
        settings(group_by="shift", columns=proposal)


def test_a_group_of_few_rows_at_a_pod_is_not_told(tmp_path: Path) -> None:
    few = ["day"] * 60 + ["night"]
    pods = census(tmp_path, ALLOWED, **shifts(north=few, south=["day", "night"], west=["day", "night"]))
    north = load_pod(tmp_path / "north.yaml")
    held = (pods.rows("north", "test")["shift"] == "night").sum()
    assert 0 < held < north.policy.minimum_evaluation_rows
    told = grouped.own_groups(north, settings(group_by="shift"), tmp_path / "home")
    assert "night" not in told["groups"]
    assert confusions(asked(pods))["night"] == 0  # those of the two others, and of the few rows by the difference
