"""The rule of a description: which columns it describes, what it asks, and that it asks once."""

from typing import Any

import pytest

from fl_app.config import RunConfig
from fl_app.errors import DataError, UsageError
from fl_app.flower import names
from fl_app.privacy.settings import Privacy
from fl_app.replica.columns import COLUMNS as ALL_COLUMNS
from fl_app.replica.columns import differences_of
from fl_app.replica.description import described_in
from fl_app.replica.state import Replica
from fl_app.run_plan import implied_parameters
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.errors import SessionRefused
from fl_app.tabular.combining import SchemaMismatch
from fl_app.tabular.schema import Column
from fl_app.tabular.settings import DataStructure
from tests.fl_app.replica.test_tabular import AGE, COLOUR, COLUMNS, OUTCOME, PODS, RULE, SHARE, cohort, published


def settings(target: str = "outcome", **columns: Any) -> str:
    structure = DataStructure(target=target, **columns)
    return RunConfig(pods=PODS, datastructure=structure, local_epochs=1, describes=True).to_json()


def named(replica: Replica) -> tuple[list[str], list[str]]:
    described = described_in(replica)
    return [c.name for c in described.numbers], [c.name for c in described.categories]


def test_all_columns_are_described_the_target_first() -> None:
    replica = RULE.begin(settings(), cohort())
    assert named(replica) == (["age", "income", "share"], ["outcome", "colour"])
    assert [c.name for c in described_in(replica).balanced] == ["age", "income", "share", "colour"]
    assert named(RULE.begin(settings(""), cohort())) == (["age", "income", "share"], ["colour", "outcome"])
    assert described_in(RULE.begin(settings(""), cohort())).balanced == ()


def test_columns_that_do_not_fit_or_are_thin_are_left_out_and_told() -> None:
    without = tuple(column for column in COLUMNS if column is not SHARE)
    optional = tuple(column.model_copy(update={"optional": column is SHARE}) for column in COLUMNS)
    words = Column(name="income", kind="categorical", values=("high", "low"))
    other = tuple(words if column.name == "income" else column for column in COLUMNS)
    given = cohort(north=published("north", optional), south=published("south", without), west=published("west", other))
    replica = RULE.begin(settings(), given)
    assert named(replica) == (["age"], ["outcome", "colour"])
    told = " ".join(differences_of(replica))
    assert "income: left out, since" in told
    assert "share: left out, since only 2 of 3 pods publish it" in told
    assert replica.facts[ALL_COLUMNS] == len(COLUMNS)
    with pytest.raises(SchemaMismatch):
        RULE.begin(settings("income"), given)
    with pytest.raises(DataError, match="a selected column cannot be used: share: left out"):
        RULE.begin(settings(selected_cols=["share", "age"]), given)


def test_a_session_that_has_lost_a_contributor_is_objected_to() -> None:
    replica = RULE.begin(settings(), cohort())
    assert RULE.objection(replica, PODS, 3) == ""
    assert "is published by 2 of these pods" in RULE.objection(replica, ("north", "west"), 3)


@pytest.mark.parametrize(
    ("target", "why"),
    [("age", "fewer than two published values"), ("nowhere", "has no column 'nowhere'")],
)
def test_a_target_that_cannot_be_one(target: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        RULE.begin(settings(target), cohort())


def test_values_that_few_pods_publish_are_not_counted_by_class() -> None:
    green = COLOUR.model_copy(update={"values": ("blue", "green", "red")})
    wide = tuple(green if column is COLOUR else column for column in COLUMNS)
    replica = RULE.begin(settings(), cohort(north=published("north", wide), south=published("south", wide)))
    described = described_in(replica)
    assert [c.values for c in described.balanced if c.name == "colour"] == [("blue", "red")]
    assert [c.values for c in described.categories] == [OUTCOME.values, green.values]
    content = {pod: published(pod, wide if pod != "west" else COLUMNS, least=2) for pod in PODS}
    assert [c.values for c in described_in(RULE.begin(settings(), content)).balanced if c.name == "colour"] == [
        green.values
    ]
    maybe = OUTCOME.model_copy(update={"values": ("maybe", "no", "yes")})
    more = tuple(maybe if column is OUTCOME else column for column in COLUMNS)
    classes = described_in(RULE.begin(settings(), cohort(north=published("north", more)))).classes
    assert classes is not None
    assert classes.values == OUTCOME.values


def test_nothing_to_describe() -> None:
    with pytest.raises(DataError, match="no column is left to describe"):
        RULE.begin(settings("", ignore_cols=[column.name for column in COLUMNS]), cohort())


def test_sizes_follow_from_the_schemas_and_not_from_what_is_asked_for_beside() -> None:
    replica = RULE.begin(settings(selected_cols=["age", "colour"]), cohort())
    sizes = RULE.sizes(settings(), replica, names.STATISTICS)
    assert sizes["statistics.moments"] == 3
    assert sizes["statistics.categories"] == (2 + len(OUTCOME.values)) + (2 + len(COLOUR.values))
    assert sizes["statistics.rows"] == 2
    stretches = -(-(AGE.bounds[1] + 1) // -(-(AGE.bounds[1] + 1) // 8))
    assert sizes["statistics.balance"] == 4 * (1 + stretches + 4)
    alone = RULE.begin(settings(""), cohort())
    assert RULE.sizes(settings(""), alone, names.STATISTICS)["statistics.balance"] == 0


def test_sums_are_asked_for_once_and_nothing_else_is() -> None:
    replica = RULE.begin(settings(), cohort())
    told = RULE.request(settings(), replica, names.STATISTICS, 1, PODS).config_records[names.CONFIG_RECORD]
    assert told[names.COLUMNS] == len(COLUMNS)
    after = RULE.after(settings(), replica, names.STATISTICS, 1, Aggregate(3, 0, 0, {}))
    for kind, known in ((names.STATISTICS, after), (names.TRAIN, replica), (names.EVALUATE, after)):
        with pytest.raises(SessionRefused, match="asks for sums once"):
            RULE.request(settings(), known, kind, 1, PODS)
        with pytest.raises(SessionRefused, match="asks for sums once"):
            RULE.sizes(settings(), known, kind)


def test_a_session_has_one_step_whatever_it_declares() -> None:
    for declared in (0, 5):
        (step,) = implied_parameters(settings(), declared, 0)["steps"]
        assert (step.kind, step.rounds) == (names.STATISTICS, 1)
        assert {c.name for c in step.classes} == {
            f"statistics.{name}" for name in ("moments", "histogram", "categories", "rows", "balance")
        }


def test_settings_that_make_no_description() -> None:
    common: dict[str, Any] = {"pods": PODS, "local_epochs": 1}
    with pytest.raises(UsageError, match="a description has no privacy"):
        RunConfig(datastructure=DataStructure(target=""), describes=True, privacy=Privacy(epsilon=1), **common)
    with pytest.raises(UsageError, match="name the target"):
        RunConfig(datastructure=DataStructure(target=""), **common)
