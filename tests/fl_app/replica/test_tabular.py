"""The tabular app's rule: what a run's replica is made of, and that every processor makes the same one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl_app.config import RunConfig, Settled
from fl_app.errors import DataError, UsageError
from fl_app.flower import names
from fl_app.flower.records import Published
from fl_app.privacy.settings import Privacy
from fl_app.replica.columns import differences_of
from fl_app.replica.declared import Declared
from fl_app.replica.state import Replica
from fl_app.replica.tabular import TabularRule, adding, encoding_of, ends_of, rows_of, settled, ways_in
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.errors import SessionRefused
from fl_app.secagg.field import FIELD_31
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.regime import regime_for
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import NOISE_TAIL

RULE, PODS = TabularRule(), ("north", "south", "west")
AGE = Column(name="age", kind="continuous", low=0, high=128, integer=True)
INCOME = Column(name="income", kind="continuous", low=0, high=2**17)
SHARE = Column(name="share", kind="continuous", low=-1, high=1)
COLOUR = Column(name="colour", kind="categorical", values=("blue", "red"))
OUTCOME = Column(name="outcome", kind="categorical", values=("no", "yes"))
COLUMNS = (AGE, INCOME, SHARE, COLOUR, OUTCOME)


def settings(**others: Any) -> str:
    datastructure = others.pop("datastructure", DataStructure(target="outcome"))
    return RunConfig(pods=PODS, datastructure=datastructure, local_epochs=1, **others).to_json()


def published(
    pod: str, columns: tuple[Column, ...] = COLUMNS, least: int = 3, rows: int = 10, enough: bool = True
) -> Published:
    declared = Declared(minimum_cohort=least, least_rows=rows, validation=enough, test=enough)
    return Published(Schema(name=pod, columns=columns).to_json(), (), (), declared.to_json())


def cohort(**others: Published) -> dict[str, Published]:
    return {pod: others.get(pod, published(pod)) for pod in PODS}


def sums(kind: str, sizes: dict[str, int], seed: int) -> Aggregate:
    """Return sums of a step as pods could make them."""
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {}
    for name, size in sizes.items():
        if name.endswith(("histogram", "histograms", "positions", "labels", "confusion")):
            values[name] = rng.integers(0, 40, size)
        elif name == names.UPDATE:
            values[name] = rng.normal(scale=0.01, size=size)
        else:
            values[name] = np.abs(rng.normal(size=size)) * 100
    if kind == names.STATISTICS:
        moments = values["statistics.moments"].reshape(-1, 3)
        moments[:] = np.array([100.5, 900.25, 3000.0]) + np.arange(len(moments))[:, None]
    for prefix in ("", names.TEST_PREFIX):
        values |= {f"evaluate.{prefix}{name}": np.array([12.5]) for name in ("loss_sum", "brier_sum")}
    return Aggregate(3, 3000, 0, values)


def after(replica: Replica, kind: str, number: int, given: str, seed: int = 0) -> Replica:
    return RULE.after(given, replica, kind, number, sums(kind, RULE.sizes(given, replica, kind), seed))


def followed(given: str, **others: Published) -> Replica:
    """Return a replica after statistics, two rounds and an evaluation."""
    replica = after(RULE.begin(given, cohort(**others)), names.STATISTICS, 1, given)
    for number in (1, 2):
        replica = after(replica, names.TRAIN, number, given, number)
    return after(replica, names.EVALUATE, 1, given, 3)


# --- where it begins


def test_a_feature_that_too_few_pods_publish_is_left_out_and_told() -> None:
    without = tuple(column for column in COLUMNS if column is not SHARE)
    optional = tuple(column.model_copy(update={"optional": column is SHARE}) for column in COLUMNS)
    given = cohort(north=published("north", optional), south=published("south", without))
    replica = RULE.begin(settings(), given)
    assert any(text.startswith("share: left out, since only 2 of 3 pods") for text in differences_of(replica))
    replica = after(replica, names.STATISTICS, 1, settings())
    assert [column.name for column in encoding_of(replica).features] == ["age", "income", "colour"]
    # Where every owner is content with two, it is used; where it was named, nobody leaves it out unasked.
    content = {pod: published(pod, optional if pod == "north" else without, least=2) for pod in ("north", "south")}
    content["west"] = published("west", COLUMNS, least=2)
    assert differences_of(RULE.begin(settings(), content))[-1].startswith("share: south lacks")
    selected = DataStructure(target="outcome", selected_cols=["age", "share"])
    with pytest.raises(DataError, match="a selected column cannot be used: share: left out"):
        RULE.begin(settings(datastructure=selected), given)


def test_a_session_that_has_lost_a_contributor_is_objected_to() -> None:
    replica = RULE.begin(settings(), cohort())
    assert RULE.objection(replica, PODS, 3) == ""
    assert "column 'age' is published by 2 of these pods" in RULE.objection(replica, ("north", "west"), 3)
    assert RULE.objection(replica, ("north", "west"), 2) == ""


def test_bins_hold_as_many_rows_as_the_strictest_owner_says() -> None:
    def floor(given: str, **others: Published) -> object:
        return RULE.begin(given, cohort(**others)).facts["least-rows"]

    assert floor(settings()) == 10
    assert floor(settings(min_bin_rows=40)) == 40
    assert floor(settings(min_bin_rows=1), west=published("west", rows=25)) == 25


def test_pods_add_to_an_evaluation_together_or_not_at_all() -> None:
    replica = RULE.begin(settings(), cohort(west=published("west", enough=False)))
    assert adding(replica, "validation", PODS) == ()
    lenient = {pod: published(pod, least=2, enough=pod != "west") for pod in PODS}
    replica = RULE.begin(settings(), lenient)
    assert adding(replica, "validation", PODS) == ("north", "south")
    assert adding(replica, "test", ("north", "west")) == ()


def test_a_class_that_too_few_pods_publish_has_no_counts_of_its_own() -> None:
    more = (*COLUMNS[:-1], OUTCOME.model_copy(update={"values": ("no", "perhaps", "yes")}))
    replica = RULE.begin(settings(), cohort(north=published("north", more)))
    assert adding(replica, "validation", PODS) == PODS
    assert ways_in(replica, "validation", PODS) == ("apart", "not", "apart")
    replica = after(replica, names.STATISTICS, 1, settings())
    told = RULE.request(settings(), replica, names.EVALUATE, 1, PODS).config_records["config"]
    assert told[names.WAYS] == told[names.TEST_WAYS] == "apart,not,apart"
    assert encoding_of(replica).labels == ("no", "perhaps", "yes")


def test_a_schema_under_another_name_and_a_declaration_that_is_none_are_refused() -> None:
    with pytest.raises(DataError, match="publishes a schema under the name of 'south'"):
        RULE.begin(settings(), cohort(north=published("south")))
    spoilt = Published(published("north").schema, (), (), "{}")
    with pytest.raises(DataError, match="what pod 'north' declares with its hello cannot be read"):
        RULE.begin(settings(), cohort(north=spoilt))


# --- a numeric target


AIM = DataStructure(target="income")


def test_the_kind_of_the_target_decides_what_is_learnt() -> None:
    replica = after(RULE.begin(settings(datastructure=AIM), cohort()), names.STATISTICS, 1, settings(datastructure=AIM))
    encoding = encoding_of(replica)
    assert [column.name for column in encoding.features] == ["age", "share", "colour", "outcome"]
    assert encoding.numeric is not None
    assert encoding.numeric.loss == "squared"
    assert encoding.numeric.groups[-1] == 2**17
    assert encoding_of(after(RULE.begin(settings(), cohort()), names.STATISTICS, 1, settings())).numeric is None
    # Of few whole numbers, which are classes, only where the modeller names an error of numbers.
    few = {
        pod: published(pod, (AGE.model_copy(update={"values": ("1", "2")}), INCOME, SHARE, COLOUR, OUTCOME))
        for pod in PODS
    }
    for loss in (None, "absolute"):
        given = settings(datastructure=DataStructure(target="age"), loss=loss)
        numeric = encoding_of(after(RULE.begin(given, few), names.STATISTICS, 1, given)).numeric
        assert (numeric and numeric.loss) == loss


def test_few_whole_numbers_at_one_pod_and_many_at_another_are_classes_to_nobody() -> None:
    few = (AGE.model_copy(update={"values": ("1", "2")}), INCOME, SHARE, COLOUR, OUTCOME)
    mixed = cohort(north=published("north", few))
    with pytest.raises(DataError, match="a few whole numbers in 'north', which may be classes, and others in 'south'"):
        RULE.begin(settings(datastructure=DataStructure(target="age")), mixed)
    RULE.begin(settings(datastructure=DataStructure(target="age"), loss="squared"), mixed)


def test_the_scale_of_a_target_follows_from_the_sums_of_its_own_column() -> None:
    given = settings(datastructure=AIM)
    replica = RULE.begin(given, cohort())
    sizes, others = (
        RULE.sizes(given, replica, names.STATISTICS),
        RULE.sizes(settings(), RULE.begin(settings(), cohort()), names.STATISTICS),
    )
    assert sizes["statistics.moments"] == others["statistics.moments"] == 9  # age, share, income
    made = sums(names.STATISTICS, sizes, 0)
    numeric = encoding_of(RULE.after(given, replica, names.STATISTICS, 1, made)).numeric
    assert numeric is not None
    moments = made.values["statistics.moments"][-3:]
    assert np.isclose(numeric.mean, 2**16 * (1 + moments[0] / moments[2]))


def test_an_evaluation_of_numbers_sums_errors_and_no_classes() -> None:
    given = settings(datastructure=AIM)
    replica = after(RULE.begin(given, cohort()), names.STATISTICS, 1, given)
    sizes = RULE.sizes(given, replica, names.EVALUATE)
    numeric = encoding_of(replica).numeric
    assert numeric is not None
    groups = len(numeric.groups) - 1
    assert {name: size for name, size in sizes.items() if size} == {
        f"evaluate.{prefix}{name}": size
        for prefix in ("", names.TEST_PREFIX)
        for name, size in (("errors", 9), ("pairs", groups**2))
    }
    for number in (1, 2):
        update = {name: np.zeros(size) for name, size in RULE.sizes(given, replica, names.TRAIN).items()}
        replica = RULE.after(given, replica, names.TRAIN, number, Aggregate(3, 3000, 0, update))
    assert ends_of(replica).size == 0


def test_each_pod_adds_to_an_evaluation_of_numbers_that_has_rows_enough() -> None:
    lenient = {pod: published(pod, least=2, enough=pod != "west") for pod in PODS}
    assert adding(RULE.begin(settings(datastructure=AIM), lenient), "test", PODS) == ("north", "south")


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"privacy": Privacy(epsilon=3)}, "privacy: the target 'income' is a number"),
        ({"positive": "yes"}, "positive: the target 'income' is a number, and has no class 'yes'"),
        ({"prime_q": FIELD_31.prime}, "compact: the target 'income' is a number"),
        ({"early_stopping": EarlyStopping(metric="auc")}, "early stopping follows auc, and the target 'income' is a"),
    ],
)
def test_settings_that_do_not_go_with_a_number_are_refused(others: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        RULE.begin(settings(datastructure=AIM, **others), cohort())
    for metric in ("loss", "mae", "rmse", "r2"):
        RULE.begin(settings(datastructure=AIM, early_stopping=EarlyStopping(metric=metric)), cohort())


def test_settings_of_numbers_are_refused_where_the_target_has_classes() -> None:
    with pytest.raises(DataError, match="the target 'outcome' is categorical, and has no squared error"):
        RULE.begin(settings(loss="squared"), cohort())
    with pytest.raises(UsageError, match="early stopping follows r2, and the target 'outcome' has classes"):
        RULE.begin(settings(early_stopping=EarlyStopping(metric="r2")), cohort())


def test_a_number_that_some_pod_has_not_is_no_target() -> None:
    without = tuple(column for column in COLUMNS if column is not INCOME)
    alone = {**cohort(), **{pod: published(pod, without) for pod in ("south", "west")}}
    with pytest.raises(DataError, match="'income' of 'north' is missing in 'south', 'west'"):
        RULE.begin(settings(datastructure=AIM), alone)
    optional = tuple(column.model_copy(update={"optional": column is INCOME}) for column in COLUMNS)
    with pytest.raises(DataError, match="the target 'income' holds no number in 'south', 'west'"):
        RULE.begin(settings(datastructure=AIM), {**alone, "north": published("north", optional)})
    blank = tuple(column.model_copy(update={"empty": column is INCOME}) for column in COLUMNS)
    with pytest.raises(DataError, match="the target 'income' holds no number in 'west'"):
        RULE.begin(settings(datastructure=AIM), cohort(west=published("west", blank)))


# --- how it goes on


def test_statistics_come_first_and_once() -> None:
    replica = RULE.begin(settings(), cohort())
    with pytest.raises(SessionRefused, match="come first"):
        RULE.request(settings(), replica, names.TRAIN, 1, PODS)
    replica = after(replica, names.STATISTICS, 1, settings())
    with pytest.raises(SessionRefused, match="and once"):
        RULE.sizes(settings(), replica, names.STATISTICS)


def test_a_round_moves_model_history_and_score_cells() -> None:
    begun = after(RULE.begin(settings(), cohort()), names.STATISTICS, 1, settings())
    replica = followed(settings())
    assert (replica.place, replica.completed, list(replica.history)) == (4, 2, [1, 2])
    assert not (ends_of(replica) == ends_of(begun)).all()
    request = RULE.request(settings(), replica, names.TRAIN, 3, PODS)
    told = request.config_records["config"]
    assert (told[names.SERVER_ROUND], told[names.COMPLETED_ROUNDS]) == (3, 2)
    assert told[names.CONTRIBUTORS] == "north,south,west"
    assert names.PROXIMAL_MU not in told
    proximal = settings(strategy="FedProx", strategy_params={"proximal_mu": 0.5})
    assert RULE.request(proximal, replica, names.TRAIN, 3, PODS).config_records["config"][names.PROXIMAL_MU] == 0.5


def test_what_a_run_leaves_open_follows_from_the_counts_that_were_summed() -> None:
    given = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome")).to_json()
    begun = RULE.begin(given, cohort())
    assert RULE.request(given, begun, names.STATISTICS, 1, PODS).config_records["config"][names.RUN] == given
    for rows, noise in ((120, 0), (50_000, 7)):
        counted = sums(names.STATISTICS, RULE.sizes(given, begun, names.STATISTICS), 0)
        labels = counted.values[names.segment(names.STATISTICS, "labels")]
        labels[:] = 3 * NOISE_TAIL
        labels[-2:] += np.array([rows // 3 + noise, rows - rows // 3])
        replica = RULE.after(given, begun, names.STATISTICS, 1, counted)
        assert rows_of(replica) == rows + noise
        told = RULE.request(given, replica, names.TRAIN, 1, PODS).config_records["config"]
        assert (told[names.RUN], told[names.LABELLED_ROWS]) == (given, rows + noise)
        config = RunConfig.from_json(given)
        assert settled(config, replica) == Settled.of(config, regime_for(rows + noise))
        assert replica.digest != begun.digest


# --- the same bits everywhere

_PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from tests.fl_app.replica.test_tabular import followed, settings
for name, more in (("FedAvg", {{}}), ("FedAdam", {{"eta": 0.01}})):
    for architecture in ("mlp", "periodic", "tabm", "tutorial"):
        replica = followed(settings(strategy=name, strategy_params=more, architecture=architecture))
        print(name, architecture, replica.digest.hex())
"""


def digests(**environment: str) -> list[str]:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(root=str(root))],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.splitlines()


def test_a_processor_without_vector_instructions_makes_the_same_replica() -> None:
    simd: Any = np.show_config(mode="dicts")
    has = simd["SIMD Extensions"].get("found", [])
    usual = digests()
    assert len(usual) == 8
    plain = digests(NPY_DISABLE_CPU_FEATURES=" ".join(has), ATEN_CPU_CAPABILITY="default", OMP_NUM_THREADS="1")
    assert plain == usual
