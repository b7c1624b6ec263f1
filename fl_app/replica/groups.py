"""What a replica knows of the column by whose categories a final evaluation's counts are told apart."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.flower import names
from fl_app.replica.contributors import contributors
from fl_app.replica.declared import Declared
from fl_app.replica.state import Replica
from fl_app.secagg.canonical import Value
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.errors import SessionRefused
from fl_app.tabular.cell_text import key_of
from fl_app.tabular.combining import Columns, combine, names_of
from fl_app.tabular.groups import CONFUSIONS, HISTOGRAMS, GroupCounts, group_column, told_apart
from fl_app.tabular.schema import Column, Schema

GROUPS = "groups"
APART, REST = "apart", "rest"


def begun(config: RunConfig, schemas: Sequence[Schema], declared: Mapping[str, Declared]) -> dict[str, Value]:
    """Return the facts about groups with which a series begins; none where no groups are told apart.

    Raises
    ------
    DataError
        If the pods' columns do not fit together, or have no categories, or too many.
    UsageError
        If no pod publishes the column.
    """
    name = config.group_by
    if name is None:
        return {}
    if not Columns(schemas).held_by(name):
        raise UsageError(f"group_by: no pod publishes a column {name!r}")
    others = [other for other in names_of(schemas, ()) if other != name]
    column = group_column(name, combine(schemas, ignore_cols=others).column(name))
    own = {pod: set(map(key_of, terms.groups)) for pod, terms in declared.items()}
    publishers = [[pod for pod in declared if key_of(value) in own[pod]] for value in column.values]
    rest = [pod for pod, terms in declared.items() if terms.rest]
    return {GROUPS: {"column": column.to_json(), "publishers": publishers, "rest": rest}}


def check_same(config: RunConfig, replica: Replica) -> None:
    """Raise `SessionRefused` if the settings name another column than those with which the series began."""
    known = column_of(replica)
    if config.group_by != (known and known.name):
        raise SessionRefused("the run tells apart the groups of another column than its series began with")


def column_of(replica: Replica) -> Column | None:
    """Return the column whose groups are told apart, None for none."""
    facts: Any = replica.facts.get(GROUPS)
    return Column.from_json(facts["column"]) if facts else None


def apart_in(replica: Replica, minima: Mapping[str, int], pods: Collection[str]) -> tuple[bool, ...]:
    """Return for each category whether it has counts of its own in a session of these pods.

    ``minima`` are the pods with test rows enough, each with its owner's ``minimum_cohort``.
    """
    facts: Any = replica.facts[GROUPS]
    adding = contributors(minima, pods)
    return told_apart(facts["publishers"], facts["rest"], adding, max((minima[pod] for pod in adding), default=0))


def told(replica: Replica, minima: Mapping[str, int], pods: Collection[str]) -> dict[str, str]:
    """Return what the evaluation's handler is given of it."""
    if (column := column_of(replica)) is None:
        return {}
    ways = ",".join(APART if apart else REST for apart in apart_in(replica, minima, pods))
    return {names.GROUP_COLUMN: column.to_json(), names.GROUP_WAYS: ways}


def sizes(replica: Replica, classes: int) -> dict[str, int]:
    """Return the number of elements of what is summed by group."""
    if (column := column_of(replica)) is None:
        return {}
    return {name: array.size for name, array in GroupCounts.zeros(len(column.values), classes).arrays().items()}


def counts_in(sums: Aggregate, replica: Replica, classes: int) -> GroupCounts:
    """Return the counts by group in the sums of a final evaluation."""
    column = column_of(replica)
    parts = {name: sums.values[names.segment(names.EVALUATE, name)] for name in (CONFUSIONS, HISTOGRAMS)}
    return GroupCounts.from_arrays(parts, len(column.values) if column else 0, classes)
