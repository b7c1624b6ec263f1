"""A pod's part in permutation importance: whether its owner allows it, and how it shuffles a column among its rows.

The order is the pod's own secret: who knew it, or chose it, could ask of one row at a time what it holds. It follows
from the table, the column and which rows are counted, and is not drawn anew in each run: each order shows other pairs
of a value and a row, and many together what all pairs are in the mean.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.app.grouped import Scored
from client.app.pod_table import PodTable
from client.app.repeated_noise import noise_secret, repeated_order
from fl_app.config import RunConfig
from fl_app.errors import DataError
from fl_app.identity.key_file import Identity
from fl_app.pod.definition import Pod
from fl_app.secagg.errors import PolicyRefused
from fl_app.system.home import ENCODED_DIRECTORY, pod_home
from fl_app.tabular.encoding import Encoded
from fl_app.tabular.importance import (
    IMPORTANCE,
    RowErrors,
    class_errors,
    no_rises,
    number_errors,
    rises_of,
    table_columns,
)
from fl_app.tabular.thin_classes import counted


def check_importance(pod: Pod, config: RunConfig) -> None:
    """Raise `PolicyRefused` if a run asks for the importance of columns, and the owner does not allow it."""
    if config.importance and not pod.policy.evaluation_importance:
        raise PolicyRefused(
            f"pod '{pod.name}' does not tell how much worse a model is with a column shuffled among its rows: its "
            "owner does not allow it (evaluation_importance)"
        )


def importance_sums(task: Scored, pod: Pod, home: Path | None, rows: Encoded | None) -> dict[str, Any]:
    """Return what the pod's test rows add to the importance of each column, as metrics; zeros where ``rows`` is None.

    Raises
    ------
    PolicyRefused
        If its owner does not allow it, by now.
    """
    if not task.config.importance:
        return {}
    check_importance(pod, task.config)
    rises = no_rises(task.encoding)
    if rows is not None:
        held = _held(task, rows)
        orders = _orders(task, held, pod, home)
        rises = rises_of(held, task.encoding, lambda part: _errors(task, part), orders)
    return {IMPORTANCE: rises.ravel().tolist()}


def _held(task: Scored, rows: Encoded) -> Encoded:
    """Return the rows that are counted in the loss of an evaluation."""
    if rows.labels is None:
        return rows
    held = counted(rows.labels, task.ways("test"))
    return replace(
        rows,
        numbers=rows.numbers[held],
        bins=rows.bins[held],
        codes=rows.codes[held],
        labels=rows.labels[held],
        places=None if rows.places is None else rows.places[held],
    )


def _errors(task: Scored, rows: Encoded) -> RowErrors:
    from fl_app.tabular.training import predict_numbers, predict_proba

    if (numeric := task.encoding.numeric) and rows.values is not None:
        return number_errors(rows.values, predict_numbers(task.network, rows, numeric), numeric)
    if rows.labels is None:
        raise DataError("rows without their target cannot be evaluated")
    return class_errors(rows.labels, predict_proba(task.network, rows))


def order_of(secret: bytes, frame: str, column: str, places: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the order in which a pod shuffles a column among rows: whose value each has, int64 [n].

    Parameters
    ----------
    secret : bytes
        The pod's, see `noise_secret`.
    frame : str
        The digest of its table, see `PodTable.frame`.
    places : integers [n]
        Which rows of the part these are.
    """
    which = hashlib.sha256(places.astype("<i8").tobytes()).digest()
    return repeated_order(len(places), secret, IMPORTANCE, column, frame, which)


def _orders(task: Scored, rows: Encoded, pod: Pod, home: Path | None) -> Iterator[NDArray[np.int64]]:
    """Yield the order of the rows for each column."""
    own = pod_home(pod.name, home)
    secret, frame = noise_secret(Identity.load(own), pod.name), PodTable.of(pod).frame(own / ENCODED_DIRECTORY)
    places = np.arange(len(rows)) if rows.places is None else rows.places
    for column in table_columns(task.encoding):
        yield order_of(secret, frame, column, places)
