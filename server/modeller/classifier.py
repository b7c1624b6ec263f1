"""The classifier that a modeller works with: train it over pods, look at it, keep it, use it.

Everything that takes time runs in other processes, so that all of it works under a running event loop too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from fl_app.config import Aggregator, RunConfig, SecureAggregator
from fl_app.errors import DataError, UsageError
from fl_app.federation.kinds import Federation
from fl_app.tabular.columns import read_rows
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.schema import Schema
from fl_app.tabular.settings import DataStructure, Optimizer
from server.display.progress import Progress
from server.modeller.callbacks import Callback, check_callbacks, figures
from server.modeller.launch import fit as carry_out_fit
from server.modeller.loggers import progress_console
from server.modeller.resume import resume_named
from server.modeller.schemas import federation_of

if TYPE_CHECKING:
    from fl_app.tabular.model_file import TrainedModel

_STEPS_BETWEEN_UPDATES = 100


class PyTorchTabularClassifier:
    """A classifier of the rows of a table, trained over pods.

    Parameters
    ----------
    datastructure
        The target, and the columns to learn from.
    schema
        What the pods publish, from `combine_pod_schemas`; training stops at once if they now publish another.
    epochs, steps
        How long each pod trains, in passes over its rows or in batches; exactly one of the two.
    batch_size
        Rows in a batch.
    optimizer
        The pods' optimiser; AdamW at 0.001 if left out.
    architecture
        "mlp" (piecewise-linear numbers), "periodic" (periodic ones), "tabm" (an ensemble; some ten times slower), or
        "tutorial" for the network with hidden layers of 1000 and 500.
    seed
        What the network's first parameters and the order of rows are drawn from.

    Attributes
    ----------
    results : dict
        All that the last `fit` came to: the content of its results.json.
    run_directory : Path or None
        Where the last `fit` left its files.
    """

    def __init__(
        self,
        datastructure: DataStructure,
        schema: Schema,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 256,
        optimizer: Optimizer | None = None,
        architecture: str = "mlp",
        seed: int = 0,
    ) -> None:
        if (epochs is None) == (steps is None):
            raise UsageError("PyTorchTabularClassifier: give exactly one of epochs and steps")
        if (epochs or steps or 0) < 1:
            raise UsageError("PyTorchTabularClassifier: epochs or steps must be 1 or more")
        datastructure.features(schema)  # what is wrong with the two together is said here, not by the pods
        self.datastructure, self.schema = datastructure, schema
        self.epochs, self.steps, self.batch_size = epochs, steps, batch_size
        self.optimizer, self.architecture, self.seed = optimizer, architecture, seed
        self.results: dict[str, Any] = {}
        self.run_directory: Path | None = None
        self._trained: TrainedModel | None = None

    def fit(
        self,
        pod_identifiers: Sequence[str] | None = None,
        aggregator: Aggregator | None = None,
        federation: str | Federation | None = None,
        *,
        epochs_between_parameter_updates: int = 1,
        steps_between_parameter_updates: int | None = None,
        strategy: str = "FedAvg",
        strategy_params: Mapping[str, float] | None = None,
        lr_decay: float = 1.0,
        early_stopping: EarlyStopping | None = None,
        callbacks: Sequence[Callback] = (),
        test_file: str | Path | None = None,
        runs: str | Path = "runs",
        hello_timeout: float = 60.0,
        step_timeout: float = 600.0,
        resume: str | Path | None = None,
    ) -> list[dict[str, float]]:
        """Train over the pods named, from the start or on, and return one dictionary of metrics for each round.

        A round ends when the pods' updates are averaged. Its metrics are those of all pods' validation rows together
        ("accuracy", "auc", "f1", "recall", "precision", "brier", "loss", "num_examples"), the mean training loss,
        and, with a test file, the same of its rows ("test_auc" and so on). What no row defines is NaN, as are the
        metrics of a last round whose model is not the one that is kept.

        Parameters
        ----------
        pod_identifiers
            The pods' names; None: all of the federation's.
        aggregator
            `SecureAggregator()` if left out.
        federation
            A federation, or its name as ``--federation`` takes it; None: the nearest, see `find_federation`.
        epochs_between_parameter_updates, steps_between_parameter_updates
            Epochs or batches in a round, of which ``epochs`` or ``steps`` must be a multiple; batches: 100, or all of
            them if they are fewer.
        strategy, strategy_params
            FedAvg, FedAdam, FedAvgM or FedProx, and its own parameters.
        lr_decay
            What the learning rate has fallen to in the last round, as a part of itself.
        early_stopping
            When to end before the last round; None: never.
        callbacks
            Code of one's own that looks at the run while it goes on, and may ask it to end. What a callback raises
            stops the run, and is raised here.
        test_file
            Public rows of the modeller's own to score every round on; None: the federation's, if it has any.
        runs
            Where the run's directory is made.
        hello_timeout, step_timeout
            Seconds for the pods to connect, and to answer each step.
        resume
            A run that ended too early, by its name or directory, to go on with after its last completed round; all
            other settings are those it began with, but for ``federation``, the deadlines and more rounds.

        Raises
        ------
        UsageError
            If the settings are wrong, or the run cannot be resumed.
        DataError
            If the pods' schemas do not go together, or are not the one given.
        RunFailed
            If the run ended without a model, with the reason: a pod refuses, is missing or was lost.
        """
        check_callbacks(callbacks)
        found = federation_of(federation)
        names = found.pod_identifiers if pod_identifiers is None else tuple(pod_identifiers)
        _check_tables(self.datastructure, names)
        settings: dict[str, Any] = {
            **self._extent(epochs_between_parameter_updates, steps_between_parameter_updates),
            **({"optimizer": self.optimizer} if self.optimizer else {}),
            **(aggregator or SecureAggregator()).settings(),
            "strategy": strategy,
        }
        config = RunConfig(
            pods=names,
            datastructure=self.datastructure,
            architecture=self.architecture,
            batch_size=self.batch_size,
            seed=self.seed,
            lr_decay=lr_decay,
            strategy_params=dict(strategy_params or {}),
            early_stopping=early_stopping,
            hello_timeout=hello_timeout,
            step_timeout=step_timeout,
            **settings,
        )
        with Progress(progress_console()) as progress:
            followed: dict[str, Any] = {"runs": Path(runs), "follow": progress, "callbacks": callbacks}
            if resume is not None:
                elsewhere = None if federation is None else found
                run = resume_named(resume, elsewhere, config, **followed)
            else:
                test = None if test_file is None else Path(test_file)
                run = carry_out_fit(config, found, test_file=test, schema=self.schema, **followed)
        self._load(run.model_path())
        results = run.results()
        self.run_directory, self.results = run.path, results.document()
        return [figures(entry) for entry in results.rounds]

    def predict(self, rows: pd.DataFrame | str | Path) -> pd.DataFrame:
        """Return the probability of each class for every row.

        Parameters
        ----------
        rows
            A table, or the path of a CSV or Parquet file, with the columns that the model learnt from; others, and
            the target, are not looked at. Values that are missing, or that no pod has published, may be there.

        Returns
        -------
        DataFrame
            float64 [rows, classes], with the index of ``rows`` and the classes as columns; each row sums to 1.

        Raises
        ------
        UsageError
            If there is no trained model yet.
        DataError
            If the file cannot be read, or a column is missing, or holds text or infinite numbers in place of numbers.
        """
        frame = _frame(rows)
        model = self._model
        return pd.DataFrame(model.predict_proba(frame), index=frame.index, columns=list(model.classes))

    def evaluate(self, rows: pd.DataFrame | str | Path) -> dict[str, float]:
        """Return the metrics on labelled rows of one's own; rows whose label the model does not know are left out.

        Parameters
        ----------
        rows
            As for `predict`, and the target.

        Returns
        -------
        dict
            "accuracy", "auc", "f1", "recall", "precision", "brier", "loss" (nats a row) and "num_examples"; those that
            the rows do not define are NaN.

        Raises
        ------
        UsageError
            If there is no trained model yet.
        DataError
            As `predict`; and if no row has a label that the model knows.
        """
        return self._model.evaluate(_frame(rows))

    def serialize(self, path: str | Path) -> None:
        """Write the model, with all that is needed to use it, to a ``.pt`` or ``.safetensors`` file.

        Raises
        ------
        UsageError
            If there is no trained model yet, the name ends in neither, or the file cannot be written.
        """
        self._model.save(path)

    def deserialize(self, path: str | Path) -> None:
        """Take over the model in a file, in place of one's own.

        Raises
        ------
        DataError
            If it is not a model file, or one of another target or of columns that the schema does not have.
        """
        self._load(Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the classifier that a file holds, with the settings it was trained by.

        Raises
        ------
        UsageError, DataError
            If there is no such file, or it is not a model that `fit` made.
        """
        from fl_app.tabular.model_file import TrainedModel

        trained = TrainedModel.load(path)
        try:
            config = RunConfig(**trained.extra["settings"])
        except (KeyError, TypeError, UsageError) as error:
            raise DataError(f"{path} does not say how it was trained; deserialize takes it: {error}") from error
        encoding = trained.encoding
        made = cls(
            config.datastructure,
            Schema(name=" + ".join(config.pods), columns=(*encoding.features, encoding.target)),
            epochs=config.local_epochs and config.local_epochs * config.rounds,
            steps=config.local_steps and config.local_steps * config.rounds,
            batch_size=config.batch_size,
            optimizer=config.optimizer,
            architecture=config.architecture,
            seed=config.seed,
        )
        made._trained = trained
        return made

    def _extent(self, epochs_between: int, steps_between: int | None) -> dict[str, int]:
        """Return the number of rounds, and how far each pod trains in one, as fields of a `RunConfig`."""
        if self.epochs is not None:
            unit, total, between = "epochs", self.epochs, epochs_between
        else:
            unit, total = "steps", self.steps or 0
            between = min(total, _STEPS_BETWEEN_UPDATES) if steps_between is None else steps_between
        if between < 1 or total % between:
            raise UsageError(f"{unit}={total} is not a multiple of {unit}_between_parameter_updates={between}")
        return {"rounds": total // between, f"local_{unit}": between}

    @property
    def _model(self) -> "TrainedModel":
        if self._trained is None:
            raise UsageError("there is no trained model yet: call fit, or deserialize one")
        return self._trained

    def _load(self, path: Path) -> None:
        from fl_app.tabular.model_file import TrainedModel

        trained = TrainedModel.load(path)
        encoding = trained.encoding
        if encoding.target.name != self.datastructure.target:
            raise DataError(f"{path} predicts '{encoding.target.name}', not '{self.datastructure.target}'")
        for column in encoding.features:
            self.schema.column(column.name)
        self._trained = trained


def _check_tables(datastructure: DataStructure, pods: Sequence[str]) -> None:
    """Raise unless the tables named are those of the pods: each has one, which bears the pod's name."""
    tables = datastructure.table
    if isinstance(tables, dict):
        for pod in pods:
            if tables.get(pod) != pod:
                named = f"'{tables[pod]}'" if pod in tables else "none"
                raise UsageError(f"DataStructure.table: the table of pod '{pod}' is '{pod}', but it names {named}")


def _frame(rows: pd.DataFrame | str | Path) -> pd.DataFrame:
    return rows if isinstance(rows, pd.DataFrame) else read_rows(rows)
