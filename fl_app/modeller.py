"""What a modeller works with: ask pods for their schemas, train over them, keep and use the model.

::

    schema = combine_pod_schemas(["hospital-a", "hospital-b"])
    model = PyTorchTabularClassifier(DataStructure(target="outcome"), schema, epochs=10)
    results = model.fit(["hospital-a", "hospital-b"])
    model.serialize("outcome.pt")

Everything that takes time runs in other processes, so that all of it works under a running event loop too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from fl_app.aggregators import Aggregator, FederatedAveraging, SecureAggregator
from fl_app.config import RunConfig
from fl_app.doors import open_door
from fl_app.errors import DataError, UsageError
from fl_app.federation import Federation, find_federation
from fl_app.loggers import progress_console, setup_loggers
from fl_app.tabular.datastructure import DataStructure
from fl_app.tabular.optimizer import Optimizer
from fl_app.tabular.schema import CombinedSchema, Schema, combine
from fl_app.tabular.scoring import read_rows

if TYPE_CHECKING:
    from fl_app.tabular.model_file import TrainedModel

__all__ = [
    "DataStructure",
    "FederatedAveraging",
    "Optimizer",
    "PyTorchTabularClassifier",
    "Schema",
    "SecureAggregator",
    "combine_pod_schemas",
    "get_pod_schema",
    "setup_loggers",
]

_STEPS_BETWEEN_UPDATES = 100


def get_pod_schema(pod_identifier: str, federation: str | Federation | None = None, *, timeout: float = 60.0) -> Schema:
    """Return the schema that a pod publishes now; see `combine_pod_schemas`."""
    return _ask([pod_identifier], federation, timeout)[0]


def combine_pod_schemas(
    pod_identifiers: Sequence[str],
    federation: str | Federation | None = None,
    *,
    ignore_cols: Sequence[str] = (),
    timeout: float = 60.0,
) -> CombinedSchema:
    """Ask pods for their schemas, and make one of them: categories united, bounds widened.

    Parameters
    ----------
    pod_identifiers
        The pods' names.
    federation
        A federation, or its name as ``--federation`` takes it; None: the nearest, see `find_federation`.
    ignore_cols
        Columns to leave out, such as those that are of different types in different pods.
    timeout
        Seconds for the pods to connect and answer.

    Raises
    ------
    RunFailed
        If a pod does not answer.
    SchemaMismatch
        If the schemas do not go together; it names pods, column and types.
    """
    return combine(_ask(pod_identifiers, federation, timeout), ignore_cols=ignore_cols)


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
        pod_identifiers: Sequence[str],
        aggregator: Aggregator | None = None,
        federation: str | Federation | None = None,
        *,
        epochs_between_parameter_updates: int = 1,
        steps_between_parameter_updates: int | None = None,
        strategy: str = "FedAvg",
        strategy_params: Mapping[str, float] | None = None,
        lr_decay: float = 1.0,
        test_file: str | Path | None = None,
        runs: str | Path = "runs",
        hello_timeout: float = 60.0,
        step_timeout: float = 600.0,
        resume: str | Path | None = None,
    ) -> list[dict[str, float]]:
        """Train over the pods named, from the start or on, and return one dictionary of metrics for each round.

        A round ends when the pods' updates are averaged. Its metrics are those of all pods' validation rows together
        ("accuracy", "auc", "f1", "recall", "precision", "brier", "loss", "num_examples"), the mean training loss,
        and, with a test file, the same of its rows ("test_auc" and so on). What no row defines is NaN.

        Parameters
        ----------
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
        _check_tables(self.datastructure, pod_identifiers)
        settings: dict[str, Any] = {
            **self._extent(epochs_between_parameter_updates, steps_between_parameter_updates),
            **({"optimizer": self.optimizer} if self.optimizer else {}),
            **(aggregator or SecureAggregator()).settings(),
            "strategy": strategy,
        }
        config = RunConfig(
            pods=tuple(pod_identifiers),
            datastructure=self.datastructure,
            architecture=self.architecture,
            batch_size=self.batch_size,
            seed=self.seed,
            lr_decay=lr_decay,
            strategy_params=dict(strategy_params or {}),
            hello_timeout=hello_timeout,
            step_timeout=step_timeout,
            **settings,
        )
        with open_door("modeller.progress")(progress_console()) as progress:
            if resume is not None:
                found = None if federation is None else _federation(federation)
                run = open_door("modeller.resume")(resume, found, config, runs=Path(runs), follow=progress)
            else:
                run = open_door("modeller.fit")(
                    config,
                    _federation(federation),
                    runs=Path(runs),
                    test_file=None if test_file is None else Path(test_file),
                    schema=self.schema,
                    follow=progress,
                )
        self._load(run.model_path())
        self.run_directory, self.results = run.path, run.results()
        return [_figures(entry) for entry in self.results["rounds"]]

    def predict(self, rows: pd.DataFrame | str | Path) -> pd.DataFrame:
        """Return the probability of each class, a column each, for every row of a table, CSV or Parquet file."""
        frame = _frame(rows)
        model = self._model
        return pd.DataFrame(model.predict_proba(frame), index=frame.index, columns=list(model.classes))

    def evaluate(self, rows: pd.DataFrame | str | Path) -> dict[str, float]:
        """Return the metrics on labelled rows of one's own; rows whose label the model does not know are left out."""
        return self._model.evaluate(_frame(rows))

    def serialize(self, path: str | Path) -> None:
        """Write the model, with all that is needed to use it, to a ``.pt`` or ``.safetensors`` file."""
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


def _ask(names: Sequence[str], federation: str | Federation | None, timeout: float) -> list[Schema]:
    if not names:
        raise UsageError("name at least one pod")
    found = _federation(federation)
    progress_console().print(f"asking for schemas: {', '.join(names)} ({found.kind})", highlight=False)
    published = open_door("modeller.schemas")(names, found, timeout)
    return [published[name].schema for name in names]


def _federation(given: str | Federation | None) -> Federation:
    return find_federation(given, Path.cwd()) if given is None or isinstance(given, str) else given


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


def _figures(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers in one round's results, those of the test file as ``test_...``."""
    flat = {**entry, **{f"test_{name}": value for name, value in entry.get("test", {}).items()}}
    return {
        name: float("nan") if value is None else value
        for name, value in flat.items()
        if value is None or isinstance(value, int | float)
    }
