"""The importance of columns as an attack: where an owner keeps it back, of other columns, again and again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict
from numpy.typing import NDArray

from client.app import shuffled
from client.app.pod_table import PodTable
from client.app.repeated_noise import noise_secret
from client.app.shuffled import order_of
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.flower import names
from fl_app.identity.key_file import Identity
from fl_app.pod.pod_file import load_pod
from fl_app.privacy.settings import Privacy
from fl_app.replica.tabular import counts_in, encoding_of, rises_in
from fl_app.system.home import pod_home
from fl_app.tabular.column_spec import ColumnSpec, ProposedColumn
from fl_app.tabular.folds import Fold
from fl_app.tabular.importance import IMPORTANCE, Rises
from fl_app.tabular.settings import DataStructure, Optimizer
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Outcome, Run
from tests.adversary.hostile.tables import CLASSES, PODS, ROWS, TARGET, Pods, census, table

FORBIDDEN = "{evaluation_importance: false}"
COLUMNS = ("age", "sex")


def asked(pods: Pods, columns: tuple[str, ...] = COLUMNS, **changes: Any) -> Run:
    """Begin a run by whose settings the importance of these columns is told."""
    given = {
        "rounds": 1,
        "datastructure": DataStructure(target=TARGET, selected_cols=columns),
        "architecture": "linear",
        "local_steps": 30,
        "optimizer": Optimizer(name="SGD", params={"lr": 2.0}),
        "importance": True,
        **changes,
    }
    return Run(pods, settings(**given)).join()


def trained(pods: Pods, **changes: Any) -> Run:
    """Go on with such a run to its final evaluation."""
    run = asked(pods, **changes)
    run.honest(names.STATISTICS)
    run.honest(names.TRAIN)
    return run


def rises(run: Run, outcome: Outcome) -> Rises:
    """Return the sums of an evaluation that was answered."""
    assert outcome.total is not None, outcome.refusals
    return rises_in(outcome.total, encoding_of(run.replica))


def own_order(pods: Pods, name: str, column: str) -> list[int]:
    """Return the order in which a pod shuffles a column among its test rows."""
    pod, home = load_pod(pods.directory / f"{name}.yaml"), pod_home(name, pods.directory / "home")
    secret = noise_secret(Identity.load(home), name)
    return order_of(secret, PodTable.of(pod).frame(), column, np.arange(len(pods.rows(name, "test")))).tolist()


def test_an_owner_who_does_not_allow_it_refuses_before_anything_is_computed(tmp_path: Path) -> None:
    run = asked(census(tmp_path, FORBIDDEN))
    assert {name: "(evaluation_importance)" in refused.text for name, refused in run.refusals.items()} == dict.fromkeys(
        PODS, True
    )


def test_an_owner_who_withdraws_it_tells_no_importance(tmp_path: Path) -> None:
    run = trained(census(tmp_path))
    file = tmp_path / "north.yaml"
    file.write_text(file.read_text().replace("policy: {}", f"policy: {FORBIDDEN}"))
    outcome = run.honest(names.EVALUATE)
    assert outcome.total is None
    assert "(evaluation_importance)" in outcome.refusals["north"].text


def test_it_is_not_asked_for_beside_settings_that_do_not_name_it(tmp_path: Path) -> None:
    """Where all owners allow it too: what a run sums, all parties read in its settings."""
    pods = census(tmp_path)
    with_it = asked(pods).parameters
    run = Run(pods, settings(rounds=1, datastructure=DataStructure(target=TARGET, selected_cols=COLUMNS)))
    own = names.segment(names.EVALUATE, IMPORTANCE)
    assert own in [declared.name for declared in with_it.step(names.EVALUATE).classes]
    run.declare(steps=with_it.steps).join()
    assert set(run.refusals) == set(PODS)


def test_of_other_columns_than_those_learnt_from_nothing_is_told(tmp_path: Path) -> None:
    run = trained(census(tmp_path))
    sizes = dict(run.rule.sizes(run.settings, run.replica, names.EVALUATE))
    own = names.segment(names.EVALUATE, IMPORTANCE)
    assert sizes[own] == 4 * len(COLUMNS)
    outcome = run.step(names.EVALUATE, 1, RecordDict(), {**sizes, own: sizes[own] + 4})
    assert outcome.total is None
    assert all("size that follows from the run" in refused.text for refused in outcome.refusals.values())
    assert set(outcome.refusals) == set(PODS)


def test_pods_with_few_held_out_rows_add_none(tmp_path: Path) -> None:
    run = trained(census(tmp_path, "{minimum_evaluation_rows: 200}"))
    assert not rises(run, run.honest(names.EVALUATE)).any()


def test_no_private_run_and_no_fold_has_it() -> None:
    for other in ({"privacy": Privacy(epsilon=1.0)}, {"fold": Fold(number=1, of=2)}):
        with pytest.raises(UsageError, match="importance: no part of"):
            RunConfig(pods=PODS, datastructure=DataStructure(target=TARGET), importance=True, **other)


def test_nobody_proposes_which_rows_are_shuffled() -> None:
    given: Any = {"pods": PODS, "datastructure": DataStructure(target=TARGET), "importance": True}
    RunConfig(**given, columns=ColumnSpec(columns={TARGET: ProposedColumn(kind="categorical")}))
    with pytest.raises(UsageError, match="importance: no spellings of missing values"):
        RunConfig(**given, columns=ColumnSpec(columns={TARGET: ProposedColumn(missing=("yes",))}))


def test_asked_twice_or_in_another_run_it_tells_no_more(tmp_path: Path) -> None:
    pods = census(tmp_path)
    run = trained(pods)
    first = rises(run, run.honest(names.EVALUATE, 1))
    assert (first[:, 0, 1] > 0).all()
    assert np.array_equal(rises(run, run.honest(names.EVALUATE, 2)), first)
    assert set(run.honest(names.EVALUATE, 3).refusals) == set(PODS)
    again = trained(pods)
    assert np.array_equal(rises(again, again.honest(names.EVALUATE)), first)


def test_for_another_model_the_rows_are_shuffled_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pods, drawn = census(tmp_path), list[tuple[str, tuple[int, ...]]]()

    def watched(secret: bytes, frame: str, column: str, places: NDArray[np.int32]) -> NDArray[np.int64]:
        order = order_of(secret, frame, column, places)
        drawn.append((column, tuple(order)))
        return order

    monkeypatch.setattr(shuffled, "order_of", watched)
    for changes in ({}, {"columns": ("race", "age"), "seed": 7, "min_bin_rows": 40, "architecture": "mlp"}):
        run = trained(pods, **changes)
        rises(run, run.honest(names.EVALUATE))
    assert [column for column, _ in drawn] == ["age", "sex"] * len(PODS) + ["age", "race"] * len(PODS)
    of_age = [order for column, order in drawn if column == "age"]
    assert of_age[: len(PODS)] == of_age[len(PODS) :]
    assert len(set(of_age)) == len(PODS)


def test_the_order_is_one_that_nobody_else_can_compute_and_another_for_each_table(tmp_path: Path) -> None:
    """Who knew it could tell which row a value came from; and by the difference of two tables, a row that changed."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pods, alike = census(tmp_path / "a"), census(tmp_path / "b")  # the same tables, and other keys
    order = own_order(pods, "north", "age")
    assert sorted(order) == list(range(len(order)))
    assert order != own_order(alike, "north", "age")
    assert order != own_order(pods, "north", "sex")
    path = tmp_path / "a" / "north.csv"
    path.write_text(path.read_text().replace("sex-00", "sex-01", 1))
    moved = own_order(pods, "north", "age")
    assert sum(before == after for before, after in zip(order, moved, strict=True)) < len(order) / 10


def test_a_value_that_one_pod_alone_has_tells_the_share_of_a_class_there(tmp_path: Path) -> None:
    """What is not stopped: such a value stands beside other rows of its pod then, and so marks them."""
    tables, rng = {}, np.random.default_rng(1)
    for seed, name in enumerate(PODS):
        rows = table(ROWS[name], seed)
        night = rng.random(len(rows)) < (0.5 if name == "north" else 0.0)
        high = night | (rng.random(len(rows)) < (0.2 if name == "north" else 0.05))
        tables[name] = rows.assign(shift=np.where(night, "night", "day"), **{TARGET: np.where(high, *CLASSES[::-1])})
    pods = census(tmp_path, **tables)
    run = trained(pods, columns=("shift",))
    outcome = run.honest(names.EVALUATE)
    ((wrong_more, _),) = rises(run, outcome)[:, 1]
    assert outcome.total is not None
    (low_right, low_wrong), (_, high_right) = counts_in(outcome.total, names.TEST_PREFIX).confusion
    night = low_wrong + high_right  # the model says of just these that they are of the class
    high_among_others = (low_right + high_right - wrong_more - (low_right + low_wrong) + night) / 2
    north, pooled = pods.rows("north", "test"), pods.pooled("test")
    marks = (north["shift"] == "night").to_numpy()[own_order(pods, "north", "shift")]
    high = (north[TARGET] == CLASSES[1]).to_numpy()
    assert night == marks.sum() > 30
    assert high_among_others == high[marks].sum()  # of rows at random of this pod's: about half of night have the class
    assert high.mean() > (pooled[TARGET] == CLASSES[1]).mean() + 0.2
