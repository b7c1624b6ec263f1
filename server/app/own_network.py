"""Whether a network of the modeller's own fits a table, asked before anything of the table is summed."""

from fl_app.config import RunConfig
from fl_app.tabular.encoding import Encoding, summed_columns
from fl_app.tabular.regression import DEFAULT_LOSS, Loss
from fl_app.tabular.schema import Schema
from fl_app.tabular.settings import DataStructure
from fl_app.tabular.statistics import Statistics


def try_named(config: RunConfig, schema: Schema) -> None:
    """Try the network out that a run's settings name, if they name one, on the pods' schema; see `try_out`."""
    if config.network:
        from fl_app.tabular.network_source import find_source

        try_out(find_source(config.network), schema, config.datastructure, config.loss)


def try_out(source: str, schema: Schema, datastructure: DataStructure, loss: Loss | None) -> None:
    """Run a network's source, and give the network a few blank rows of a table.

    Parameters
    ----------
    source : str
        It defines ``build``, and may define ``loss``.
    schema, datastructure
        The table, with the target as it is learnt. How many bins its numbers have is not known yet: here they have one.
    loss : str or None
        As for `fl_app.config.Training`.

    Raises
    ------
    UsageError
        If the network cannot be trained over pods.
    """
    from fl_app.tabular.own_module import OwnNetwork  # torch

    blank = Statistics.zeros(summed_columns(schema, datastructure))
    OwnNetwork.of(source).try_out(Encoding.of(schema, datastructure, blank, loss=loss or DEFAULT_LOSS))
