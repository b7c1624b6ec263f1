"""What a replica knows of the pods' columns: their schemas as one, the target, and which pods publish which feature."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fl_app.errors import DataError
from fl_app.flower.records import Published
from fl_app.replica.declared import Declared
from fl_app.replica.state import Replica
from fl_app.tabular.schema import CombinedSchema, Schema
from fl_app.tabular.settings import DataStructure

SCHEMA, DATASTRUCTURE, LEFT_OUT, FEATURES = "schema", "datastructure", "left-out", "features"
COLUMNS, SHARED = "columns", "shared-values"
"""Of a description: how many columns the pods' tables have, those that are left out too; and of each column the values
by which rows are counted by class."""


def schemas_of(pods: Sequence[str], published: Mapping[str, Published]) -> list[Schema]:
    """Return the pods' schemas; raises `DataError` if one is published under another pod's name."""
    schemas = []
    for pod in pods:
        schema = Schema.from_json(published[pod].schema)
        if schema.name != pod:
            raise DataError(f"pod '{pod}' publishes a schema under the name of '{schema.name}'")
        schemas.append(schema)
    return schemas


def thin(
    held: Mapping[str, Sequence[str]], declared: Mapping[str, Declared], selected: Collection[str]
) -> dict[str, str]:
    """Return the columns that fewer pods publish than some owner wants in a sum, each with a sentence that says so.

    Parameters
    ----------
    held : mapping
        The pods that publish each column.
    selected : collection of str
        Those that are not to be left out.

    Raises
    ------
    DataError
        If one of them was selected by name.
    """
    strictest = max(declared, key=lambda pod: declared[pod].minimum_cohort)
    least = declared[strictest].minimum_cohort
    few = {
        name: f"{name}: left out, since only {len(pods)} of {len(declared)} pods publish it, and the owner of "
        f"{strictest} wants at least {least} in each sum (minimum_cohort)"
        for name, pods in held.items()
        if len(pods) < least
    }
    if unusable := [why for name, why in few.items() if name in selected]:
        raise DataError(f"a selected column cannot be used: {'; '.join(unusable)}")
    return few


def objection(replica: Replica, pods: Collection[str], least: int) -> str:
    """Name a feature that too few of the pods publish that are left in the session, "" if there is none."""
    features: Any = replica.facts[FEATURES]
    for name, held in features.items():
        if len(set(held) & set(pods)) < least:
            return (
                f"column '{name}' is published by {len(set(held) & set(pods))} of these pods, and its owner wants "
                f"at least {least} in each sum (minimum_cohort); leave the column out (ignore_cols)"
            )
    return ""


def datastructure_of(replica: Replica) -> DataStructure:
    """Return the target and the features of a run; without those that too few pods publish."""
    return DataStructure.from_json(str(replica.facts[DATASTRUCTURE]))


def differences_of(replica: Replica) -> tuple[str, ...]:
    """Return in what the pods' tables differ, and which features are left out because of it."""
    left_out: Any = replica.facts[LEFT_OUT]
    return (*schema_of(replica).differences, *left_out)


def schema_of(replica: Replica) -> CombinedSchema:
    """Return the pods' schemas as one."""
    return CombinedSchema.from_json(str(replica.facts[SCHEMA]))
