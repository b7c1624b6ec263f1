"""A pod's part in counts by group: whether its owner allows the column, and of which groups it has test rows enough."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from flwr.app import ConfigRecord
from numpy.typing import NDArray

from client.app.pod_table import PodTable
from fl_app.config import RunConfig, Settled
from fl_app.errors import DataError
from fl_app.flower import names
from fl_app.pod.definition import Pod
from fl_app.replica.groups import APART
from fl_app.secagg.errors import PolicyRefused
from fl_app.system.home import ENCODED_DIRECTORY, pod_home
from fl_app.tabular.cell_text import key_of
from fl_app.tabular.encoding import FIRST_VALUE, Encoded, Encoding, codes_of
from fl_app.tabular.groups import GroupCounts, count_groups
from fl_app.tabular.schema import Column, Schema
from fl_app.tabular.score_cells import Edges

if TYPE_CHECKING:
    from torch import nn


def check_group(pod: Pod, column: str) -> None:
    """Raise `PolicyRefused` unless the owner lets counts be told apart by this column."""
    if column not in pod.policy.evaluation_groups:
        raise PolicyRefused(
            f"pod '{pod.name}' tells no counts of its rows apart by the column that the run names: its owner does not "
            "list it (evaluation_groups)"
        )


def own_groups(pod: Pod, config: RunConfig, home: Path | None) -> dict[str, Any]:
    """Return what a pod declares of its groups, as fields of a `Declared`; nothing where none are asked for.

    Raises
    ------
    PolicyRefused
        If its owner does not allow the column.
    """
    if config.group_by is None:
        return {}
    check_group(pod, config.group_by)
    asked = (config.datastructure.target, config.group_by, _proposal(config), _directory(pod, home))
    groups, rest = PodTable.of(pod).groups(*asked)
    return {"groups": groups, "rest": rest}


class Scored(Protocol):
    """What a request to evaluate describes, as far as counts by group need it; see `client.app.main.Task`."""

    @property
    def settings(self) -> ConfigRecord:
        """What the pod's replica tells of the run."""

    @property
    def config(self) -> Settled:
        """The settings of the run."""

    @property
    def encoding(self) -> Encoding:
        """How rows are encoded."""

    @property
    def network(self) -> "nn.Module":
        """The network."""

    @property
    def edges(self) -> Edges:
        """The cells in which scores are counted."""

    def ways(self, part: str) -> list[str]:
        """Return how the rows of each class are counted."""


def counts_by_group(task: Scored, pod: Pod, home: Path | None, rows: Encoded | None) -> dict[str, Any]:
    """Return the counts of the pod's test rows by group, as metrics; zeros where it adds none: ``rows`` is None then.

    Raises
    ------
    PolicyRefused
        If its owner does not allow the column, by now.
    """
    from fl_app.tabular.training import predict_proba

    if task.config.group_by is None:
        return {}
    column = Column.from_json(str(task.settings[names.GROUP_COLUMN]))
    size = len(column.values)
    counts = GroupCounts.zeros(size, len(task.encoding.labels))
    if rows is not None:
        if rows.labels is None or rows.places is None:
            raise DataError("rows without labels are of no class, and are not counted by group")
        groups = _groups_of(task, pod, home, column)[rows.places]
        scores = predict_proba(task.network, rows)
        counts = count_groups(rows.labels, scores, task.edges, task.ways("test"), groups, size)
    return {name: array.tolist() for name, array in counts.arrays().items()}


def _groups_of(task: Scored, pod: Pod, home: Path | None, column: Column) -> NDArray[np.int64]:
    """Return the group of each of the pod's test rows by its place in the column's values; behind them the rest.

    Cells are read as the pod's owner says, and only groups that the pod has declared are told apart. Raises
    `PolicyRefused` if the owner does not allow the column by now.
    """
    declared = set(map(key_of, own_groups(pod, task.config, home)["groups"]))
    table, rest, apart = PodTable.of(pod), len(column.values), str(task.settings[names.GROUP_WAYS]).split(",")
    rows, published = table.rows("test"), Schema.from_json(table.schema(_proposal(task.config), _directory(pod, home)))
    if column.name not in published.names:
        return np.full(len(rows), rest)
    places = {key_of(value): place for place, value in enumerate(column.values) if apart[place] == APART}
    own = published.column(column.name).as_categories()
    groups = [places.get(key_of(value), rest) if key_of(value) in declared else rest for value in own.values]
    return np.array([*[rest] * FIRST_VALUE, *groups])[codes_of(rows, own)]


def _proposal(config: RunConfig) -> str:
    return config.columns.to_json() if config.columns else ""


def _directory(pod: Pod, home: Path | None) -> Path:
    return pod_home(pod.name, home) / ENCODED_DIRECTORY
