"""What a hostile modeller reads of three pods under their owners' default policy, line by line of the list of attacks.

Before pods answered only questions that they could have asked themselves, each of these attacks read what the test
beside it says.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from client.app.masked_app import MaskedApp
from tests.adversary.hostile import counts, limits, records, refusals, statistics
from tests.adversary.hostile.tables import ROWS, census, table


@pytest.mark.parametrize("way", records.WAYS)
def test_a_crafted_model_reads_no_record(tmp_path: Path, way: str) -> None:
    pods = census(tmp_path)
    found, why = records.crafted_model(pods, way)
    assert records.true_rows(found, pods.pooled("train")) == 0  # 200 of 200 in 4 rounds
    assert why or way == "in another run", "no pod has found anything wrong"


def test_refusals_tell_nothing(tmp_path: Path) -> None:
    assert refusals.oracle(census(tmp_path), "north") == []  # 15 bits in 15 rounds


def test_refusals_tell_one_bit_a_run_even_of_a_model_of_the_servers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MaskedApp, "_follower", lambda *_, **__: None)
    pods = census(tmp_path)
    bits = refusals.oracle(pods, "north")
    assert [bit.said for bit in bits] == [True]
    assert bits[0].holds(pods.rows("north", "train"))  # else this test shows nothing


def test_a_declared_weight_tells_nothing_of_a_pods_rows(tmp_path: Path) -> None:
    pods = census(tmp_path)
    assert refusals.weight_bisection(pods, "north") == (1, 1 << 10)  # 600 to 600


@pytest.mark.parametrize("way", statistics.WAYS)
def test_bounds_of_the_servers_own_show_no_value(tmp_path: Path, way: str) -> None:
    assert statistics.own_bounds(census(tmp_path), way) == {}  # all 158 distinct gains below 32,000, with their counts


@pytest.mark.parametrize("way", statistics.WAYS)
def test_a_column_of_one_pod_is_not_summed(tmp_path: Path, way: str) -> None:
    north = table(ROWS["north"], 0).assign(badge=np.random.default_rng(1).permutation(8000)[: ROWS["north"]])
    pods = census(tmp_path, north=north)
    assert statistics.optional_column(pods, way, "badge") == {}  # all 600 values


@pytest.mark.parametrize("way", statistics.WAYS)
def test_labels_of_the_servers_own_are_not_counted(tmp_path: Path, way: str) -> None:
    assert statistics.own_labels(census(tmp_path), way) == {}  # 40 ages, of which no pod publishes one


def test_a_class_that_one_pod_has_gives_no_matrix_of_that_pod(tmp_path: Path) -> None:
    # Night shifts are 30 rows of each of the others, who would have to send zeros.
    found = counts.of_classes(census(tmp_path, "{minimum_rows_per_class: 50}", **shifts(0.03)), "shift")
    assert found["confusion"].tolist() == [0, 0, 0, 0]  # 219 and 81 rows, all of one pod


def test_a_number_that_one_pod_has_rows_enough_of_gives_no_errors_of_that_pod(tmp_path: Path) -> None:
    # The others have some 30 rows each, and would have to send zeros.
    pods = census(tmp_path, "{minimum_evaluation_rows: 50}", **rents(sparse=0.9))
    errors = counts.lone_numbers(pods, "rent")
    assert errors.tolist() == [0] * 9  # those of 300 rows, all of one pod


def test_a_number_that_one_pod_alone_has_is_not_summed_as_the_target(tmp_path: Path) -> None:
    assert statistics.lone_target(census(tmp_path, **rents(sparse=1.0)), "rent") == []  # sums over 600 rows of one pod


@pytest.mark.parametrize("way", statistics.WAYS)
def test_bounds_of_the_servers_own_show_no_value_of_a_target(tmp_path: Path, way: str) -> None:
    assert statistics.target_bounds(census(tmp_path), way) == {}  # all distinct gains below 32,000, with their counts


def rents(sparse: float) -> dict[str, pd.DataFrame]:
    """Return the usual tables with a number that all pods but one lack in this share of their rows."""
    tables = {}
    for seed, (name, rows) in enumerate(ROWS.items()):
        rng = np.random.default_rng(seed)
        rent = pd.Series(rng.gamma(4.0, 200.0, rows).round(1))
        tables[name] = table(rows, seed).assign(rent=rent.mask((name != "north") & (rng.random(rows) < sparse)))
    return tables


def test_a_class_that_one_pod_publishes_is_not_counted(tmp_path: Path) -> None:
    pods = census(tmp_path, **shifts(0.003))
    found = counts.of_classes(pods, "shift")
    day, night = (pods.pooled("validation")["shift"] == name for name in ("day", "night"))
    assert night.sum() > 50
    assert found["confusion"].reshape(2, 2).sum(axis=1).tolist() == [day.sum(), 0]
    assert found["together"].tolist() == [0, 0]  # there is no other such class to hide among


def test_a_class_that_all_pods_publish_is_counted_over_all_of_them(tmp_path: Path) -> None:
    pods = census(tmp_path, **shifts(0.03))
    found = counts.of_classes(pods, "shift")
    assert found["confusion"].reshape(2, 2).sum(axis=1).tolist() == [
        (pods.pooled("validation")["shift"] == name).sum() for name in ("day", "night")
    ]
    assert min((pods.rows(name, "validation")["shift"] == "night").sum() for name in ROWS) > 0


def test_a_class_that_two_pods_have_is_counted_with_another_or_not_at_all(tmp_path: Path) -> None:
    lacking = {"north": "evening", "south": "morning", "west": "night"}
    tables = {}
    for seed, (name, rows) in enumerate(ROWS.items()):
        shift = np.random.default_rng(seed).choice(["day", *(set(lacking.values()) - {lacking[name]})], rows)
        tables[name] = table(rows, seed).assign(shift=shift)
    pods = census(tmp_path, **tables)
    found = counts.of_classes(pods, "shift")
    rows = pods.pooled("validation")["shift"].value_counts()
    assert found["confusion"].reshape(4, 4).sum(axis=1).tolist() == [rows["day"], 0, 0, 0]
    assert found["together"].sum() == rows.drop("day").sum()


def test_a_pod_with_few_held_out_rows_adds_none(tmp_path: Path) -> None:
    few = table(13, 5).assign(workclass="workclass-00")
    pods = census(tmp_path, "{minimum_category_count: 2}", west=few)
    assert len(pods.rows("west", "validation")) == 4
    assert counts.of_classes(pods, "income")["confusion"].tolist() == [0, 0, 0, 0]  # the other two alone are too few


def shifts(share: float) -> dict[str, pd.DataFrame]:
    """Return the usual tables with a column of two values, one of them frequent at one pod alone."""
    tables = {}
    for seed, (name, rows) in enumerate(ROWS.items()):
        night = np.random.default_rng(seed).random(rows) < (0.3 if name == "north" else share)
        tables[name] = table(rows, seed).assign(shift=np.where(night, "night", "day"))
    return tables


def test_limits_bind_where_a_session_is_bound_to_no_settings(tmp_path: Path) -> None:
    pods = census(tmp_path, "{maximum_local_steps: 1, maximum_local_epochs: 1}")
    assert limits.unbound_steps(pods, 200) == 0  # 119 at least


@pytest.mark.parametrize("way", counts.WAYS)
def test_score_cells_of_the_servers_own_count_no_rows(tmp_path: Path, way: str) -> None:
    assert counts.score_cells(census(tmp_path), way) == {}  # 202 triples of age, sex and label, 52 of them of one row


@pytest.mark.parametrize("way", counts.WAYS)
def test_a_crafted_model_counts_no_rows_when_it_is_evaluated(tmp_path: Path, way: str) -> None:
    asked = {"sex": ("sex-01",), "occupation": ("occupation-03",), "age": range(60, 91)}
    assert counts.counted(census(tmp_path), way, asked) == {}  # the two there are, and their label
