"""How the sums of a final evaluation become figures by group."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from fl_app.replica.groups import apart_in, column_of, counts_in
from fl_app.replica.state import Replica
from fl_app.replica.tabular import encoding_of, minima_of
from fl_app.secagg.codec import Aggregate
from fl_app.tabular.evaluation import Counts, metrics_of
from fl_app.tabular.intervals import intervals_of, wilson
from fl_app.tabular.score_cells import Edges, auc_error
from server.app.group_result import GroupResult, GroupRow


def groups_of(
    replica: Replica, sums: Aggregate, edges: Edges, pods: Collection[str], positive: int | None
) -> GroupResult:
    """Return the figures by group in the sums of a final evaluation.

    Parameters
    ----------
    replica : Replica
        That on which it was asked.
    edges : float64 [K, cells + 1]
        The cells in which scores were counted.
    pods : collection of str
        The pods of the session.
    positive : int or None
        The class that the modeller has named.
    """
    column, labels = column_of(replica), encoding_of(replica).labels
    if column is None:
        return GroupResult(why="no column was named")
    counts = counts_in(sums, replica, len(labels))
    apart = apart_in(replica, minima_of(replica, "test"), pods)
    place = 1 if positive is None and len(labels) == 2 else positive
    told = [(name, index) for index, name in enumerate(column.values) if apart[index]]
    rows = [
        _row(name, counts.confusion[index], counts.histograms[index] if len(counts.histograms) else None, edges, place)
        for name, index in (*told, (None, len(column.values)))
        if name is not None or (told and counts.confusion[index].any())
    ]
    return GroupResult(
        column=column.name,
        positive=None if place is None else labels[place],
        groups=tuple(rows),
        not_told=tuple(name for index, name in enumerate(column.values) if not apart[index]),
        why="" if told else "no group, or none beside which there are rows enough, has enough pods with rows enough",
    )


def _row(
    value: str | None,
    confusion: NDArray[np.int64],
    histograms: NDArray[np.int64] | None,
    edges: Edges,
    positive: int | None,
) -> GroupRow:
    nothing = np.zeros((len(edges), 2, 1), np.int64)
    counts = Counts(confusion, nothing if histograms is None else histograms, nothing, 0.0, 0.0)
    metrics = metrics_of(counts, positive)
    auc = None if np.isnan(metrics["auc"]) else metrics["auc"]
    row = GroupRow(
        value=value,
        rows=counts.rows,
        accuracy=metrics["accuracy"] if counts.rows else None,
        auc=auc,
        auc_error=None if auc is None or histograms is None else round(auc_error(edges, histograms), 6),
        confusion=confusion.tolist(),
    )
    own = intervals_of(counts, auc, positive)
    intervals = {name: ends for name, ends in own.items() if name in ("accuracy", "auc")}
    if positive is None or not counts.rows:
        return row.changed(intervals=intervals)
    named, true = int(confusion[:, positive].sum()), int(confusion[positive].sum())
    right, rows = int(confusion[positive, positive]), counts.rows
    shares = {"selection_rate": (named, rows), "tpr": (right, true), "fpr": (named - right, rows - true)}
    known = {name: part for name, part in shares.items() if part[1]}
    intervals |= {name: wilson(*part) for name, part in known.items()}
    return row.changed(intervals=intervals, **{name: hits / of for name, (hits, of) in known.items()})
