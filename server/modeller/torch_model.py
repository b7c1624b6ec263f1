"""A network of the modeller's own, trained over pods as the product's own are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pandas as pd

from fl_app.config import RunConfig
from fl_app.errors import DataError, UsageError
from fl_app.tabular.class_weights import ClassWeight
from fl_app.tabular.encoding import MIN_BIN_ROWS, Encoding
from fl_app.tabular.network_source import read_source
from fl_app.tabular.regression import LOSSES, Loss
from fl_app.tabular.schema import Schema
from fl_app.tabular.settings import OWN_ARCHITECTURE, DataStructure, Optimizer
from fl_app.tabular.threshold import ThresholdRule
from server.app.own_network import try_out
from server.modeller.classifier import PyTorchTabularClassifier
from server.modeller.regressor import predicted_numbers


class TorchModel(PyTorchTabularClassifier):
    """A model whose network is the modeller's own: a `torch.nn.Module` that one Python file makes.

    The file is code that pods run. It travels in the app of the run, whose owners approve it as any version of the app,
    with all that has changed before their eyes. docs/own-network.md has the whole of it.

    A target of classes is learnt as by a `PyTorchTabularClassifier`, a number as by a `PyTorchTabularRegressor`, with
    their metrics. There are no runs with privacy, and `tune` does not try networks of one's own.

    Parameters
    ----------
    network
        The file. It defines ``build(inputs)``, which returns the module, and may define ``loss(outputs, targets,
        weights)``: see `fl_app.tabular.own_module`.
    datastructure, schema, epochs, steps, batch_size, optimizer, seed, min_bin_rows, positive, class_weight, threshold
        As for `PyTorchTabularClassifier`.
    loss
        Of a target that is a number: "squared" or "absolute", by which the run is judged, and what training makes small
        unless the file defines a loss. A target of a few whole numbers is learnt as a number only where it is given.

    Raises
    ------
    UsageError
        If the file cannot be run, or its network cannot be trained over pods on a table with this schema.
    """

    def __init__(
        self,
        network: str | Path,
        datastructure: DataStructure,
        schema: Schema,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        optimizer: Optimizer | None = None,
        seed: int = 0,
        min_bin_rows: int = MIN_BIN_ROWS,
        positive: str | None = None,
        class_weight: ClassWeight | None = None,
        threshold: ThresholdRule = "0.5",
        loss: Loss | None = None,
    ) -> None:
        if loss is not None and loss not in LOSSES:
            raise UsageError(f"TorchModel: unknown loss {loss!r}; allowed are {', '.join(LOSSES)}")
        self._loss = loss
        super().__init__(
            datastructure,
            schema,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            optimizer=optimizer,
            architecture=OWN_ARCHITECTURE,
            seed=seed,
            min_bin_rows=min_bin_rows,
            positive=positive,
            class_weight=class_weight,
            threshold=threshold,
        )
        self._source = read_source(network)
        columns = [
            column.model_copy(update={"values": ()}) if loss and column.name == datastructure.target else column
            for column in schema.columns
        ]
        try_out(self._source, Schema(name=schema.name, columns=tuple(columns)), datastructure, loss)

    def predict(
        self, rows: pd.DataFrame | str | Path, *, read_options: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return the probability of each class for every row, or the predicted number.

        Parameters
        ----------
        rows, read_options
            As for `PyTorchTabularClassifier.predict`.

        Returns
        -------
        DataFrame
            As of `PyTorchTabularClassifier.predict` or `PyTorchTabularRegressor.predict`.
        """
        if self._model.encoding.numeric:
            return predicted_numbers(self._model, rows, read_options)
        return super().predict(rows, read_options=read_options)

    @classmethod
    def load(cls, path: str | Path, network: str | Path | None = None) -> Self:
        """Return the model in a file, with the settings it was trained with.

        Parameters
        ----------
        network
            The file with the source of its network, which is run. The model file holds a copy, and that never is:
            `fl-app export MODEL -o network.py` writes it out, to be read first.

        Raises
        ------
        UsageError, DataError
            If the network is not that of the model, or as for `PyTorchTabularClassifier.load`.
        """
        if network is None:
            raise UsageError(
                f"TorchModel.load: give network, the source of the network of {path}: no code in a model file is run"
            )
        return cls._restored(path, read_source(network), network=network)

    @classmethod
    def _own_settings(cls, config: RunConfig) -> dict[str, Any]:
        names = {"positive": "positive", "class_weight": "class_weight", "threshold": "decision", "loss": "loss"}
        return {argument: getattr(config, name) for argument, name in names.items()}

    def _check_target(self) -> None:
        if self._loss and self.schema.column(self.datastructure.target).kind == "categorical":
            raise UsageError(
                f"TorchModel: the target '{self.datastructure.target}' is categorical, and has no {self._loss} error"
            )

    def _check_model(self, encoding: Encoding, path: Path) -> None:
        numeric = bool(self._loss) or self.schema.column(self.datastructure.target).numeric
        if numeric != (encoding.numeric is not None):
            does = "tells classes apart" if numeric else "predicts a number"
            raise DataError(f"{path} {does}, and the schema's target is of the other kind")
