"""The regressor that a modeller works with: as the classifier, for a target that is a number."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fl_app.config import RunConfig
from fl_app.errors import DataError, UsageError
from fl_app.tabular.encoding import MIN_BIN_ROWS, Encoding
from fl_app.tabular.regression import DEFAULT_LOSS, LOSSES, Loss
from fl_app.tabular.schema import Schema
from fl_app.tabular.settings import DataStructure, Optimizer
from server.exports.about import predicted_column
from server.modeller.classifier import PyTorchTabularClassifier, read_own_rows

if TYPE_CHECKING:
    from fl_app.tabular.model_file import TrainedModel


class PyTorchTabularRegressor(PyTorchTabularClassifier):
    """A model that predicts a number for the rows of a table, trained over pods as a `PyTorchTabularClassifier` is.

    Its metrics are "mae" and "rmse", in the target's unit, "r2" and "loss", the mean error in standard deviations of
    the target. Early stopping may follow any of them. There are no runs with privacy.

    Parameters
    ----------
    datastructure
        The target, and the columns to learn from.
    schema
        The schema that the pods publish, from `combine_pod_schemas`; the target is continuous in it.
    epochs, steps, batch_size, optimizer, architecture, seed, min_bin_rows
        As for `PyTorchTabularClassifier`.
    loss
        What training makes small: "squared" error, whose best prediction is the mean, or "absolute", the median.
    """

    def __init__(
        self,
        datastructure: DataStructure,
        schema: Schema,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        optimizer: Optimizer | None = None,
        architecture: str | None = None,
        seed: int = 0,
        min_bin_rows: int = MIN_BIN_ROWS,
        loss: Loss = DEFAULT_LOSS,
    ) -> None:
        if loss not in LOSSES:
            raise UsageError(f"PyTorchTabularRegressor: unknown loss {loss!r}; allowed are {', '.join(LOSSES)}")
        self._loss = loss
        super().__init__(
            datastructure,
            schema,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            optimizer=optimizer,
            architecture=architecture,
            seed=seed,
            min_bin_rows=min_bin_rows,
        )

    def predict(
        self, rows: pd.DataFrame | str | Path, *, read_options: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return the predicted number for every row.

        Parameters
        ----------
        rows, read_options
            As for `PyTorchTabularClassifier.predict`.

        Returns
        -------
        DataFrame
            float64 [rows, 1], in the target's unit and within its public bounds, with the index of ``rows``; the column
            is named for the target, and its unit where owners name one.
        """
        return predicted_numbers(self._model, rows, read_options)

    def evaluate(
        self, rows: pd.DataFrame | str | Path, *, read_options: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """Return the metrics on your own rows with the target; rows without a number in it are left out.

        Returns
        -------
        dict
            "mae", "rmse", "r2", "loss" and "num_examples"; "left_out" is the number of rows that were left out.
        """
        return super().evaluate(rows, read_options=read_options)

    @classmethod
    def _own_settings(cls, config: RunConfig) -> dict[str, Any]:
        return {"architecture": config.architecture, "loss": config.loss or DEFAULT_LOSS}

    def _check_target(self) -> None:
        if self.schema.column(self.datastructure.target).kind == "categorical":
            raise UsageError(
                f"PyTorchTabularRegressor: the target '{self.datastructure.target}' is categorical: use "
                "PyTorchTabularClassifier"
            )

    def _check_model(self, encoding: Encoding, path: Path) -> None:
        if not encoding.numeric:
            raise DataError(f"{path} tells classes apart: use PyTorchTabularClassifier")


def predicted_numbers(
    model: "TrainedModel", rows: pd.DataFrame | str | Path, read_options: Mapping[str, Any] | None
) -> pd.DataFrame:
    """Return what a model of a numeric target predicts, see `PyTorchTabularRegressor.predict`."""
    index = rows.index if isinstance(rows, pd.DataFrame) else None
    predicted = model.predict(read_own_rows(rows, model.encoding, read_options))
    return pd.DataFrame({predicted_column(model.encoding): predicted}, index=index)
