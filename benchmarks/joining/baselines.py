"""What federating is measured against: a pod by itself, and the same network where all rows lie in one place."""

from collections.abc import Sequence

import numpy as np

from client.app.main import lr_factor
from client.app.pod_table import PodTable
from fl_app.config import Settled
from fl_app.tabular.encoding import Encoded, Encoding, statistic_sums
from fl_app.tabular.evaluation import metrics_of
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.network import build_network, load_state, state_of
from fl_app.tabular.schema import Schema
from fl_app.tabular.training import evaluate, train

ALONE_STEPS = 600


def pooled(tables: Sequence[PodTable], encoding: Encoding, config: Settled) -> TrainedModel:
    """Train on all pods' training rows together, as long and by the same schedule as the federation."""
    parts = [encoding.encode(table.rows("train")) for table in tables]
    labels = np.concatenate([part.labels for part in parts if part.labels is not None])
    numbers, bins, codes = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("numbers", "bins", "codes")
    )
    rows = Encoded(numbers, bins, codes, labels)
    epochs = config.rounds * (config.local_epochs or 1)
    return _trained(encoding, config, rows, None, epochs)


def alone(table: PodTable, config: Settled) -> TrainedModel | None:
    """Train on one pod's rows with an encoding of its own; None for a pod that publishes only one class.

    It trains as many epochs as in the federation, or more until ``ALONE_STEPS`` batches are reached, and keeps the
    epoch with the least loss on its own validation rows: a lone pod is free to.
    """
    schema = Schema.from_json(table.schema())
    if len(schema.column(config.datastructure.target).values) < 2:
        return None
    train_rows = table.rows("train")
    statistics = statistic_sums(train_rows, schema, config.datastructure)
    encoding = Encoding.of(schema, config.datastructure, statistics, min_bin_rows=config.min_bin_rows)
    rows, validation = encoding.encode(train_rows), encoding.encode(table.rows("validation"))
    batches = -(-len(rows) // config.batch_size)
    epochs = max(config.rounds * (config.local_epochs or 1), -(-ALONE_STEPS // batches))
    return _trained(encoding, config, rows, validation, epochs)


def _trained(
    encoding: Encoding, config: Settled, rows: Encoded, validation: Encoded | None, epochs: int
) -> TrainedModel:
    network = build_network(encoding, config.architecture, config.seed)
    best, least = state_of(network), float("inf")
    for epoch in range(1, epochs + 1):
        factor = lr_factor(epoch, epochs, config.lr_decay)
        seed = config.seed * 100_000 + epoch
        train(
            network,
            rows,
            optimizer=config.optimizer,
            epochs=1,
            batch_size=config.batch_size,
            seed=seed,
            lr_factor=factor,
        )
        if validation and (loss := metrics_of(evaluate(network, validation))["loss"]) < least:
            best, least = state_of(network), loss
    if validation is None:
        best = state_of(network)
    load_state(network, best)
    return TrainedModel(encoding, config.architecture, best)
