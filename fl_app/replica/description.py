"""The rule of a run that describes the pods' tables and trains nothing: one step of sums, and then it is over."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flwr.app import ConfigRecord, RecordDict

from fl_app.config import RunConfig
from fl_app.flower import names
from fl_app.replica.columns import COLUMNS, DATASTRUCTURE, FEATURES, LEFT_OUT, SCHEMA, SHARED, thin
from fl_app.replica.declared import Declared
from fl_app.replica.state import Replica
from fl_app.secagg.errors import SessionRefused
from fl_app.tabular.cell_text import key_of
from fl_app.tabular.combining import Columns, check_target, combine, misfits, names_of
from fl_app.tabular.description import Described, names_in
from fl_app.tabular.schema import Column, CombinedSchema, Schema
from fl_app.tabular.settings import DataStructure


def begun(config: RunConfig, schemas: list[Schema], declared: Mapping[str, Declared]) -> Replica:
    """Return the replica before the step; columns that do not fit, or that too few pods publish, are left out.

    Raises
    ------
    DataError
        If the target or a selected column is among these, or no column is left.
    """
    given = config.datastructure
    problems = misfits(schemas, ignore_cols=given.ignore_cols)
    required = {given.target, *(given.selected_cols or ())}
    ignored = (*given.ignore_cols, *(name for name in problems if name not in required))
    combined = combine(schemas, ignore_cols=ignored)
    if given.target:
        check_target(schemas, given.target)
    columns = Columns(schemas)
    datastructure = given.model_copy(update={"ignore_cols": ignored})
    wanted = [*([given.target] if given.target else ()), *names_in(combined, datastructure)]
    held = {name: [pod for pod, column in columns.held_by(name).items() if not column.empty] for name in wanted}
    few = thin(held, declared, required)
    datastructure = datastructure.model_copy(update={"ignore_cols": (*ignored, *few)})
    names_in(combined, datastructure)
    return Replica(
        facts={
            SCHEMA: combined.to_json(),
            DATASTRUCTURE: datastructure.to_json(),
            LEFT_OUT: [
                *(f"{name}: left out, since {why}" for name, why in problems.items() if name not in required),
                *few.values(),
            ],
            FEATURES: {name: pods for name, pods in held.items() if name not in few},
            COLUMNS: len(names_of(schemas, ())),
            SHARED: {
                name: _shared(combined.column(name).values, columns.held_by(name), declared)
                for name in held
                if combined.column(name).values
            },
        }
    )


def _shared(values: Sequence[str], held: Mapping[str, Column], declared: Mapping[str, Declared]) -> list[str]:
    """Return the values that as many pods publish as each owner wants in a sum."""
    least = max(terms.minimum_cohort for terms in declared.values())
    publishers = Counter(key_of(value) for column in held.values() for value in column.values)
    return [value for value in values if publishers[key_of(value)] >= least]


def described_in(replica: Replica) -> Described:
    """Return the columns that are described."""
    schema = CombinedSchema.from_json(str(replica.facts[SCHEMA]))
    shared: Any = replica.facts[SHARED]
    return Described.of(schema, DataStructure.from_json(str(replica.facts[DATASTRUCTURE])), shared)


def request(settings: str, replica: Replica, kind: str) -> RecordDict:
    """Return what the handler is given."""
    check_order(replica, kind)
    told = {name: str(replica.facts[name]) for name in (names.SCHEMA, names.DATASTRUCTURE)}
    columns = int(str(replica.facts[COLUMNS]))
    shared = json.dumps(replica.facts[SHARED])
    record = ConfigRecord({names.RUN: settings, **told, names.COLUMNS: columns, names.SHARED: shared})
    return RecordDict({names.CONFIG_RECORD: record})


def sizes(replica: Replica, kind: str) -> dict[str, int]:
    """Return the number of elements of each segment."""
    check_order(replica, kind)
    return {names.segment(names.STATISTICS, name): size for name, size in described_in(replica).sizes().items()}


def check_order(replica: Replica, kind: str) -> None:
    """Raise `SessionRefused` for any step but the first sums."""
    if kind != names.STATISTICS or replica.place:
        raise SessionRefused("a description asks for sums once, and for nothing else")
