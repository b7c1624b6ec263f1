"""Figures by group: those of the pooled rows, where owners allow them and groups and rest are large enough."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from client.app.row_split import split_rows
from fl_app.config import RunConfig
from fl_app.errors import RunFailed, UsageError
from fl_app.privacy.settings import Privacy
from fl_app.tabular.column_spec import ColumnSpec, ProposedColumn
from fl_app.tabular.folds import Fold
from fl_app.tabular.intervals import wilson
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure
from server.app.group_result import GroupResult
from server.app.run_directory import RunDirectory
from server.display.groups import groups_told
from server.display.report import write_report
from server.modeller.launch import fit
from tests.support.small_federation import PODS, small_federation, table

ALLOWED = "evaluation_groups: [sex, age], "


def people(rows: int, seed: int, shares: Mapping[str, float]) -> pd.DataFrame:
    rng = np.random.default_rng(seed + 100)
    sex = rng.choice(list(shares), rows, p=np.array(list(shares.values())) / sum(shares.values()))
    return table(rows, seed).assign(sex=sex)


def trained(
    work: Path, *shares: Mapping[str, float], rows: int = 900, blank: int = 0, allowed: str = ALLOWED, **settings: Any
) -> RunDirectory:
    federation = small_federation(work)
    for seed, name in enumerate(PODS):
        frame = people(rows, seed, shares[seed % len(shares)])
        frame.loc[split_rows(rows, name)[2][:blank], "sex"] = "?"
        frame.to_csv(work / f"{name}.csv", index=False)
        path = work / f"{name}.yaml"
        path.write_text(path.read_text().replace("policy: {", f"policy: {{{allowed}"))
    given = {
        "pods": PODS,
        "datastructure": DataStructure(target="outcome", ignore_cols=("sex",)),
        "rounds": 2,
        "local_epochs": 2,
        "batch_size": 64,
        "group_by": "sex",
        **settings,
    }
    without = federation.model_copy(update={"test_file": None, "test_target": None})
    return fit(RunConfig(**given), without, runs=work / "runs")


def scored(work: Path, run: RunDirectory) -> pd.DataFrame:
    """Return the pods' test rows, each with its pod, whether it is of the second class, and its score."""
    parts = []
    for name in PODS:
        rows = pd.read_csv(work / f"{name}.csv", na_values=["?"])
        parts.append(rows.iloc[split_rows(len(rows), name)[2]].assign(pod=name))
    rows = pd.concat(parts, ignore_index=True)
    scores = TrainedModel.load(run.model_path()).predict_proba(rows)[:, 1]
    return rows.assign(true=rows["outcome"] == "yes", score=scores)


def told(run: RunDirectory) -> GroupResult:
    groups = run.results().groups
    assert groups is not None
    return groups


def assert_exact(result: GroupResult, sets: Mapping[str | None, pd.DataFrame]) -> None:
    """Compare the figures with those of these rows, by the value of each group."""
    assert {group.value: group.rows for group in result.groups} == {value: len(rows) for value, rows in sets.items()}
    for group in result.groups:
        rows = sets[group.value]
        true, named = rows["true"].to_numpy(), (rows["score"] > 0.5).to_numpy()
        assert np.array_equal(group.confusion, metrics.confusion_matrix(true, named, labels=[False, True]))
        exact = {
            "accuracy": (true == named).mean(),
            "selection_rate": named.mean(),
            "tpr": named[true].mean(),
            "fpr": named[~true].mean(),
        }
        assert {name: getattr(group, name) for name in exact} == pytest.approx(exact)
        assert group.auc == pytest.approx(metrics.roc_auc_score(true, rows["score"]), abs=(group.auc_error or 0) + 1e-6)
        assert group.intervals["tpr"] == pytest.approx(wilson(named[true].sum(), true.sum()))
        assert group.intervals["fpr"] == pytest.approx(wilson(named[~true].sum(), (~true).sum()))
        assert set(group.intervals) == {*exact, "auc"}


def test_figures_by_group_are_those_of_the_pooled_rows_of_a_column_that_is_not_learnt_from(work: Path) -> None:
    run = trained(work, {"f": 0.4, "m": 0.4, "x": 0.2})
    rows, result = scored(work, run), told(run)
    assert (result.column, result.positive, result.not_told) == ("sex", "yes", ())
    assert_exact(result, {value: rows[rows["sex"] == value] for value in ("f", "m", "x")})
    assert "sex" not in [column.name for column in TrainedModel.load(run.model_path()).encoding.features]
    page = write_report(run)[0].read_text()
    assert "Figures by sex" in page
    for group in result.groups:
        assert f"{group.tpr:.4f}" in page


def test_what_is_too_small_is_told_with_all_others(work: Path) -> None:
    """A group that one pod alone has enough of is not told, and its rows are with those without a value."""
    run = trained(work, {"f": 0.4, "m": 0.4, "x": 0.2, "?": 0.2}, {"f": 0.4, "m": 0.4, "?": 0.2})
    rows, result = scored(work, run), told(run)
    known = rows["sex"].isin(["f", "m"])
    assert_exact(result, {"f": rows[rows["sex"] == "f"], "m": rows[rows["sex"] == "m"], None: rows[~known]})
    assert result.not_told == ("x",)
    assert any("'x'" in text and "all others" in text for text in groups_told(result))


def test_a_rest_of_few_rows_takes_a_group_with_it(work: Path) -> None:
    """All rows less those of f and m would be the two without a value."""
    run = trained(work, {"f": 0.6, "m": 0.4}, blank=2)
    rows, result = scored(work, run), told(run)
    assert rows["sex"].isna().sum() == 2 * len(PODS)
    assert_exact(result, {"f": rows[rows["sex"] == "f"], None: rows[rows["sex"] != "f"]})
    assert result.not_told == ("m",)


def test_where_no_group_is_large_enough_there_are_none(work: Path) -> None:
    run = trained(work, {"f": 0.5, "m": 0.5}, {"a": 0.5, "b": 0.5})
    result = told(run)
    assert result.groups == ()
    assert "no figures by sex" in " ".join(groups_told(result))
    final = run.results().final
    assert final is not None
    assert final.num_examples == 180


def test_a_pod_whose_owner_does_not_allow_the_column_takes_no_part(work: Path) -> None:
    with pytest.raises(RunFailed, match=r"pod 'north' tells no counts of its rows apart.*\(evaluation_groups\)"):
        trained(work, {"f": 0.5, "m": 0.5}, allowed="evaluation_groups: [colour], ")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"group_by": "age"}, "column 'age' is a number"),
        ({"group_by": "sex", "datastructure": DataStructure(target="age")}, "group_by: the target 'age' is a number"),
    ],
)
def test_a_column_or_target_without_categories_is_told(work: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RunFailed, match=said):
        trained(work, {"f": 0.5, "m": 0.5}, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"group_by": "outcome"}, "'outcome' is the target"),
        ({"privacy": Privacy(epsilon=1.0)}, "no part of a run with privacy"),
        ({"fold": Fold(number=1, of=2)}, "no part of a run with privacy or a fold"),
        ({"columns": ColumnSpec(columns={"sex": ProposedColumn(missing=("f",))})}, "nothing may be proposed for 'sex'"),
    ],
)
def test_settings_with_which_there_are_no_groups(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RunConfig(**{"pods": PODS, "datastructure": DataStructure(target="outcome"), "group_by": "sex", **settings})


def test_figures_are_written_as_json(work: Path) -> None:
    run = trained(work, {"f": 0.5, "m": 0.5})
    document = json.loads((run.path / "results.json").read_text())["groups"]
    assert [group["value"] for group in document["groups"]] == ["f", "m"]
