"""The classifier that a modeller works with: train it over pods, evaluate it, save it, use it.

Everything that takes time runs in other processes, so it also works under a running event loop, as in a notebook.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import pandas as pd

from fl_app.config import Aggregator, RunConfig, SecureAggregator, Settled, StrategyName
from fl_app.errors import DataError, UsageError
from fl_app.federation.kinds import Federation
from fl_app.flower.protocol_settings import Timing
from fl_app.privacy.settings import Privacy
from fl_app.tabular.cells import Table
from fl_app.tabular.class_weights import ClassWeight
from fl_app.tabular.column_spec import ColumnSpec
from fl_app.tabular.early_stopping import EarlyStopping, StoppingMetric
from fl_app.tabular.encoding import MIN_BIN_ROWS, Encoding
from fl_app.tabular.label_counts import left_out
from fl_app.tabular.network_source import digest_of
from fl_app.tabular.regression import Loss
from fl_app.tabular.schema import Schema
from fl_app.tabular.settings import DataStructure, Optimizer
from fl_app.tabular.table_file import read_rows
from fl_app.tabular.threshold import ThresholdRule
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.display.folds.progress import FoldsProgress
from server.display.progress import Progress
from server.display.tuning.progress import TuningProgress
from server.exports.unseen import unseen
from server.modeller.callbacks import Callback, check_callbacks, figures
from server.modeller.folds.carry_out import carry_out as carry_out_folds
from server.modeller.folds.carry_out import plan as plan_folds
from server.modeller.folds.directory import FOLDS_FILE, CrossValidation, FoldsDirectory
from server.modeller.launch import fit as carry_out_fit
from server.modeller.loggers import PROGRESS, progress_console
from server.modeller.resume import resume_named
from server.modeller.schema_discovery import federation_of
from server.modeller.tuning.carry_out import DEFAULT_ETA, DEFAULT_ROUNDS, DEFAULT_TRIALS, plan
from server.modeller.tuning.carry_out import carry_out as carry_out_tuning
from server.modeller.tuning.directory import Tuning, TuningDirectory
from server.modeller.tuning.space import TuningSpace, read_space

if TYPE_CHECKING:
    from fl_app.tabular.model_file import TrainedModel

_STEPS_BETWEEN_UPDATES = 100
_UNFIT_OF_SUMS = {"weighting", "update_bound"}
_NO_PART = (
    "no part of a run with privacy, whose rounds are one step of gradient descent each, over all rows, at a rate that "
    "follows from epsilon"
)


class _Extent(NamedTuple):
    """The number of rounds, and how long each pod trains in one, in one of two ways; None: as the table suggests."""

    rounds: int | None
    local_epochs: int | None
    local_steps: int | None


class PyTorchTabularClassifier:
    """A classifier of the rows of a table, trained over pods.

    Parameters
    ----------
    datastructure
        The target, and the columns to learn from.
    schema
        The schema that the pods publish, from `combine_pod_schemas`; training stops at once if it has changed.
    epochs, steps
        Length of each pod's training, in passes over its rows or in batches; at most one of the two. Without either it
        follows from the table. With privacy each round is one pass: by default 80 rounds, or 120 from an epsilon of 2
        on.
    batch_size
        Rows in a batch; by default it follows from the table. Not with privacy.
    optimizer
        The pods' optimizer; by default it follows from the table. Not with privacy.
    architecture
        "mlp" (numbers in piecewise-linear encoding), "periodic" (in periodic encoding), "tabm" (an ensemble, about ten
        times slower), "tutorial" (hidden layers of 1000 and 500), "linear" (a number for each bin and category, and
        their sum), "additive" (a slope for each number as well), "pair" (the mean of "mlp" and "additive"), or "auto"
        (one of these three, by the pods' validation rows). By default it follows from the table, and is "linear" with
        privacy.
    seed
        Seed of the network's first parameters and of the order of rows.
    min_bin_rows
        Fewest rows, of all pods together, in one bin of a number; fewer show rarer values in the model.
    positive
        The class that precision, recall and F1 are of; None: the second of two, the mean of more.
    class_weight
        "balanced": rows count in training so that every class weighs the same; None: all alike. Not with privacy.
    threshold
        How the score is chosen from which on a row is of the second of two classes: "youden" or "f1", the best for
        balanced accuracy or F1 on the pods' validation rows, or "0.5". Not with privacy.
    privacy
        How much the run may tell of any one row; None: nothing is promised. A private round is one step of gradient
        descent over all rows, whose rate follows from epsilon.

    Attributes
    ----------
    results : dict
        The results of the last `fit`: the content of its results.json.
    run_directory : Path or None
        The directory of the last `fit`.
    """

    _loss: Loss | None = None
    _source: str | None = None
    """Of a network of the modeller's own."""

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
        positive: str | None = None,
        class_weight: ClassWeight | None = None,
        threshold: ThresholdRule = "0.5",
        privacy: Privacy | None = None,
    ) -> None:
        if privacy and steps is not None:
            raise UsageError("PyTorchTabularClassifier: with privacy give epochs, of one round each, or neither")
        if privacy and (unfit := _named(batch_size=batch_size, optimizer=optimizer)):
            raise UsageError(f"PyTorchTabularClassifier: {unfit}: {_NO_PART}")
        if epochs is not None and steps is not None:
            raise UsageError("PyTorchTabularClassifier: give one of epochs and steps, not both")
        if any(length is not None and length < 1 for length in (epochs, steps)):
            raise UsageError("PyTorchTabularClassifier: epochs or steps must be 1 or more")
        datastructure.features(schema)  # an error in the two together is raised here, not by the pods
        self.datastructure, self.schema = datastructure, schema
        self._check_target()
        self.epochs, self.steps = epochs, steps
        self.batch_size = batch_size
        self.optimizer, self.architecture, self.seed = optimizer, architecture, seed
        self.positive, self.threshold, self.privacy = positive, threshold, privacy
        self.class_weight = class_weight
        self.min_bin_rows = min_bin_rows
        self.results: dict[str, Any] = {}
        self.run_directory: Path | None = None
        self._trained: TrainedModel | None = None

    def fit(
        self,
        pod_identifiers: Sequence[str] | None = None,
        aggregator: Aggregator | None = None,
        federation: str | Federation | None = None,
        *,
        epochs_between_parameter_updates: int | None = None,
        steps_between_parameter_updates: int | None = None,
        strategy: StrategyName = "FedAvg",
        strategy_params: Mapping[str, float] | None = None,
        lr_decay: float | None = None,
        early_stopping: EarlyStopping | Literal["auto"] | None = "auto",
        callbacks: Sequence[Callback] = (),
        columns: ColumnSpec | None = None,
        group_by: str | None = None,
        importance: bool = False,
        test_file: str | Path | None = None,
        runs: str | Path = "runs",
        hello_timeout: float = Timing.hello,
        step_timeout: float = Timing.step,
        resume: str | Path | None = None,
    ) -> list[dict[str, float]]:
        """Train over the named pods, or resume a run, and return one dictionary of metrics for each round.

        A round ends when the pods' updates have been averaged. Its metrics are those over all pods' validation rows
        ("accuracy", "auc", "f1", "recall", "precision", "brier", "loss", "num_examples"), the mean training loss, and,
        with a test file, the same metrics over its rows ("test_auc" and so on). Metrics that the rows do not define
        are NaN, as are those of a last round whose model is not the one kept; `kept` has those of the one that is.
        With privacy the pods evaluate the last round alone, and their figures carry noise: ``results["final"]`` has
        its standard deviations.

        Parameters
        ----------
        pod_identifiers
            The pods' names; None: all of the federation's.
        aggregator
            `SecureAggregator()` by default.
        federation
            A federation, or its name as for ``--federation``; None: the nearest, see `find_federation`.
        epochs_between_parameter_updates, steps_between_parameter_updates
            Epochs or batches in a round; ``epochs`` or ``steps`` must be a multiple of it. By default one epoch, or
            100 batches, or all of them if they are fewer; without ``epochs`` and ``steps`` it follows from the table.
        strategy, strategy_params
            FedAvg, FedAdam, FedAvgM or FedProx, and its own parameters; not with privacy.
        lr_decay
            The learning rate in the last round, as a fraction of that in the first; 1: it stays. By default it
            follows from the table.
        early_stopping
            When to stop before the last round; "auto": it follows from the table; None: never. Not with privacy.
        callbacks
            Your own code that watches the run and may ask it to stop. An exception in a callback stops the run and is
            raised here.
        columns
            What is proposed to the pods for their columns, as to `combine_pod_schemas`.
        group_by
            The column by whose categories the figures on the pods' test rows are told apart too, in
            ``results["groups"]``; each pod's owner must allow it. It need not be learnt from. Not with privacy.
        importance
            Whether to tell too how much worse the model is on the pods' test rows once a column's values are shuffled
            among them, for each column, in ``results["importance"]``; each pod's owner must allow it. Not with privacy.
        test_file
            Your own public rows on which every round is scored; None: the federation's, if it has any.
        runs
            The directory in which the run directory is made.
        hello_timeout, step_timeout
            Seconds to wait for the pods to connect, and for their replies in each step.
        resume
            The name or directory of a run that ended early, to be resumed after its last completed round. All other
            settings must be those it began with, except ``federation``, the time limits and a larger number of rounds.

        Raises
        ------
        UsageError
            If the settings are wrong, or the run cannot be resumed.
        DataError
            If the pods' schemas contradict each other or the one given.
        RunFailed
            If the run ended without a model, with the reason: a pod refuses, is missing or was lost.
        """
        check_callbacks(callbacks)
        over = federation_of(federation)
        config = self._config_of(
            over,
            pod_identifiers,
            aggregator,
            extent=(epochs_between_parameter_updates, steps_between_parameter_updates),
            strategy=strategy,
            strategy_params=strategy_params,
            lr_decay=lr_decay,
            early_stopping=early_stopping,
            columns=columns,
            group_by=group_by,
            importance=importance,
            timeouts=(hello_timeout, step_timeout),
        )
        with Progress(progress_console()) as progress:
            if resume is not None:
                elsewhere = None if federation is None else over
                run = resume_named(resume, elsewhere, config, runs=Path(runs), follow=progress, callbacks=callbacks)
            else:
                run = carry_out_fit(
                    config,
                    over,
                    runs=Path(runs),
                    test_file=None if test_file is None else Path(test_file),
                    schema=self.schema,
                    network=self._source,
                    follow=progress,
                    callbacks=callbacks,
                )
        self._load(run.model_path())
        results = run.results()
        self.run_directory, self.results = run.path, results.document()
        return [figures(entry) for entry in results.rounds]

    def tune(
        self,
        pod_identifiers: Sequence[str] | None = None,
        aggregator: Aggregator | None = None,
        federation: str | Federation | None = None,
        *,
        space: TuningSpace | str | Path | None = None,
        trials: int = DEFAULT_TRIALS,
        min_rounds: int = DEFAULT_ROUNDS,
        eta: int = DEFAULT_ETA,
        budget_rounds: int | None = None,
        metric: StoppingMetric = "loss",
        final: bool = True,
        columns: ColumnSpec | None = None,
        test_file: str | Path | None = None,
        runs: str | Path = "runs",
        hello_timeout: float = Timing.hello,
        step_timeout: float = Timing.step,
        resume: str | Path | None = None,
    ) -> Tuning:
        """Try settings in short runs, the better ones in longer runs, and train the best: successive halving.

        Of this model's own settings only the target and the columns, the seed, ``positive`` and ``min_bin_rows`` count:
        a trial gives all others. With ``final``, the model is then that of the final run, as after `fit`.

        Parameters
        ----------
        pod_identifiers, aggregator, federation, columns, test_file, runs, hello_timeout, step_timeout
            As for `fit`. No trial is scored on the test file.
        space
            The values to try, or a file with them; None: those of `TuningSpace`.
        trials, min_rounds, eta
            How many settings are tried, for how many rounds at first, and of how many one goes on, for so many times
            as many rounds.
        budget_rounds
            Most rounds of all runs together: as many trials as fit into it, up to ``trials``. None: no limit.
        metric
            What is compared, on all pods' validation rows.
        final
            Whether the best settings are trained for the most rounds.
        resume
            The name or directory of a tuning that ended early: what it has run is not run again. All else is as it
            began, but for ``federation`` and a ``final`` that was left out.

        Returns
        -------
        Tuning
            Its ``trials``, the ``best`` settings, and the run called ``final``; the content of its tune.json. Where a
            pod's owner allows no more on this day, its ``status`` is "stopped", and ``why`` says so.

        Raises
        ------
        UsageError
            If an argument is wrong, or the model has privacy.
        DataError
            If no pod adds validation rows, or the pods' schemas contradict each other or the one given.
        RunFailed
            If a run failed for another reason than its settings; the tuning can be gone on with.
        """
        if self._source is not None:
            raise UsageError("tune tries fl-app's own networks: compare settings of yours by fitting it with each")
        over = federation_of(federation)
        if resume is not None:
            directory = TuningDirectory.find(resume, Path(runs))
        else:
            base = RunConfig(
                pods=over.pod_identifiers if pod_identifiers is None else tuple(pod_identifiers),
                datastructure=self.datastructure,
                columns=columns,
                positive=self.positive,
                loss=self._loss,
                privacy=self.privacy,
                min_bin_rows=self.min_bin_rows,
                local_epochs=1,
                early_stopping=None,
                seed=self.seed,
                hello_timeout=hello_timeout,
                step_timeout=step_timeout,
                **(aggregator or SecureAggregator()).settings(),
            )
            directory = plan(
                Path(runs),
                base,
                over,
                space=read_space(Path(space)) if isinstance(space, str | Path) else space,
                trials=trials,
                rounds=min_rounds,
                eta=eta,
                budget_rounds=budget_rounds,
                metric=metric,
                final=final,
                test_file=None if test_file is None else Path(test_file),
                schema=self.schema,
            )
        with TuningProgress(progress_console()) as progress:
            progress.begin(directory.read())
            elsewhere = over if resume is None or federation is not None else None
            tuning = carry_out_tuning(directory, elsewhere, final=True if resume and final else None, follow=progress)
            progress.ended(tuning)
        if tuning.final:
            run = RunDirectory(directory.runs / tuning.final)
            self._load(run.model_path())
            self.run_directory, self.results = run.path, run.results().document()
        return tuning

    def cross_validate(
        self,
        folds: int = 5,
        pod_identifiers: Sequence[str] | None = None,
        aggregator: Aggregator | None = None,
        federation: str | Federation | None = None,
        *,
        epochs_between_parameter_updates: int | None = None,
        steps_between_parameter_updates: int | None = None,
        strategy: StrategyName = "FedAvg",
        strategy_params: Mapping[str, float] | None = None,
        lr_decay: float | None = None,
        early_stopping: EarlyStopping | Literal["auto"] | None = "auto",
        columns: ColumnSpec | None = None,
        runs: str | Path = "runs",
        hello_timeout: float = Timing.hello,
        step_timeout: float = Timing.step,
        resume: str | Path | None = None,
    ) -> CrossValidation:
        """Train as many models as there are folds, each without one fold of every pod's rows, which it is scored on.

        The model of this object stays as it is: call `fit` for one to use.

        Parameters
        ----------
        folds
            2, 5 or 10.
        resume
            The name or directory of a cross-validation that ended early: what it has run is not run again. All else is
            as it began, but for ``federation``.
        pod_identifiers, aggregator, federation
            As for `fit`, and so are all other arguments.

        Returns
        -------
        CrossValidation
            ``metrics`` has for each the ``mean`` and ``std`` of the folds' figures, and what is ``pooled``: the figure
            of all rows, each scored by the model that has not seen it. The content of its folds.json. Where a pod's
            owner allows no more on this day, its ``status`` is "stopped", and ``why`` says so.

        Raises
        ------
        UsageError
            If an argument is wrong, or the model has privacy.
        DataError
            If too few pods hold out rows enough, or the pods' schemas contradict each other or the one given.
        RunFailed
            If a run failed for another reason; the cross-validation can be gone on with.
        """
        over = federation_of(federation)
        if resume is None:
            config = self._config_of(
                over,
                pod_identifiers,
                aggregator,
                extent=(epochs_between_parameter_updates, steps_between_parameter_updates),
                strategy=strategy,
                strategy_params=strategy_params,
                lr_decay=lr_decay,
                early_stopping=early_stopping,
                columns=columns,
                timeouts=(hello_timeout, step_timeout),
            )
            directory = plan_folds(Path(runs), config, over, folds, schema=self.schema, network=self._source)
        elif (found := FoldsDirectory.find(resume, Path(runs))) is None:
            raise UsageError(f"{resume}: no directory of a cross-validation (it would hold {FOLDS_FILE})")
        else:
            directory = found
        with FoldsProgress(progress_console()) as progress:
            progress.begin(directory.read())
            elsewhere = over if resume is None or federation is not None else None
            validation = carry_out_folds(directory, elsewhere, follow=progress)
            progress.ended(validation)
        return validation

    @property
    def kept(self) -> dict[str, float]:
        """The metrics of the round whose model the last `fit` kept, in the form in which `fit` returns them.

        Raises
        ------
        UsageError
            If `fit` has not been called.
        """
        results = Results(**self.results)
        for entry in results.rounds:
            if entry.round == results.kept:
                return figures(entry)
        raise UsageError("there is no round yet whose model was kept: call fit")

    def predict(
        self, rows: pd.DataFrame | str | Path, *, read_options: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return the probability of each class for every row.

        Parameters
        ----------
        rows
            A table, or the path of a CSV or Parquet file, with the columns that the model was trained on. Other columns
            and the target are ignored. Values may be missing, or be ones that no pod has published, which the logger
            ``fl_app`` tells of: as a warning where a column holds nothing else.
        read_options
            How the file is written, as in a pod's datasource; by default as the pods' files are, with the separator
            that its header shows.

        Returns
        -------
        DataFrame
            float64 [rows, classes], with the index of ``rows`` and the classes as columns; each row sums to 1.

        Raises
        ------
        UsageError
            If there is no trained model yet.
        DataError
            If the file cannot be read, a column is missing, or a column of numbers holds text or infinite numbers.
        """
        model = self._model
        index = rows.index if isinstance(rows, pd.DataFrame) else None
        scores = model.predict_proba(read_own_rows(rows, model.encoding, read_options))
        return pd.DataFrame(scores, index=index, columns=list(model.classes))

    def evaluate(
        self, rows: pd.DataFrame | str | Path, *, read_options: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """Return the metrics on your own labelled rows; rows whose label the model does not know are left out.

        Parameters
        ----------
        rows
            As for `predict`, with the target.
        read_options
            As for `predict`.

        Returns
        -------
        dict
            "accuracy", "auc", "f1", "recall", "precision", "brier", "loss" (nats a row) and "num_examples"; NaN where
            the rows do not define one. "left_out" is the number of rows that were left out.

        Raises
        ------
        UsageError
            If there is no trained model yet.
        DataError
            As for `predict`, or if no row has a label that the model knows.
        """
        table, target = read_own_rows(rows, self._model.encoding, read_options), self._model.encoding.target
        return self._model.evaluate(table) | {"left_out": sum(left_out(table, target).values())}

    def serialize(self, path: str | Path) -> None:
        """Write the model, with everything needed to use it, to a ``.pt`` or ``.safetensors`` file.

        Raises
        ------
        UsageError
            If there is no trained model yet, the name ends in neither, or the file cannot be written.
        """
        self._model.save(path)

    def deserialize(self, path: str | Path) -> None:
        """Replace the trained model by the one in a file.

        Raises
        ------
        DataError
            If it is not a model file, or its model has another target or columns that the schema does not have.
        """
        self._load(Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the classifier in a file, with the settings it was trained with.

        Raises
        ------
        UsageError, DataError
            If there is no such file, or its model was not made by `fit`.
        """
        return cls._restored(path, None)

    @classmethod
    def _restored(cls, path: str | Path, source: str | None, **given: Any) -> Self:
        """Return the model in a file; ``source`` is that of its network, where that is the modeller's own."""
        from fl_app.tabular.model_file import TrainedModel

        trained = TrainedModel.load(path, source)
        try:
            config = Settled(**trained.extra["settings"])
        except (KeyError, TypeError, UsageError) as error:
            raise DataError(
                f"{path} does not hold the settings it was trained with; use deserialize for it: {error}"
            ) from error
        encoding = trained.encoding
        made = cls(
            datastructure=config.datastructure,
            schema=Schema(name=" + ".join(config.pods), columns=(*encoding.features, encoding.target)),
            epochs=config.local_epochs and config.local_epochs * config.rounds,
            steps=config.local_steps and config.local_steps * config.rounds,
            batch_size=None if config.privacy else config.batch_size,
            optimizer=None if config.privacy else config.optimizer,
            seed=config.seed,
            min_bin_rows=config.min_bin_rows,
            **cls._own_settings(config),
            **given,
        )
        made._trained = trained
        return made

    @classmethod
    def _own_settings(cls, config: RunConfig) -> dict[str, Any]:
        """Return those arguments of the constructor that other kinds of models do not have."""
        names = {
            "architecture": "architecture",
            "positive": "positive",
            "class_weight": "class_weight",
            "threshold": "decision",
            "privacy": "privacy",
        }
        return {argument: getattr(config, name) for argument, name in names.items()}

    def _check_target(self) -> None:
        """Raise `UsageError` if the target is not of the kind that this class learns."""
        if self.schema.column(self.datastructure.target).numeric:
            raise UsageError(
                f"PyTorchTabularClassifier: the target '{self.datastructure.target}' is a number: use "
                "PyTorchTabularRegressor, or have its owners declare it categorical"
            )

    def _check_model(self, encoding: Encoding, path: Path) -> None:
        """Raise `DataError` if a file's model is not of the kind that this class learns."""
        if encoding.numeric:
            raise DataError(f"{path} predicts a number: use PyTorchTabularRegressor")

    def _extent(self, epochs_between: int | None, steps_between: int | None) -> _Extent:
        """Divide the training into rounds; raises `UsageError` if they would not be of one length."""
        if self.privacy:
            return _Extent(self.epochs, None, None)
        if self.epochs is None and self.steps is None:
            return _Extent(None, epochs_between, steps_between)
        if self.epochs is not None:
            unit, total, between = "epochs", self.epochs, epochs_between or 1
        else:
            unit, total = "steps", self.steps or 0
            between = min(total, _STEPS_BETWEEN_UPDATES) if steps_between is None else steps_between
        if between < 1 or total % between:
            raise UsageError(f"{unit}={total} is not a multiple of {unit}_between_parameter_updates={between}")
        rounds = total // between
        return _Extent(rounds, between, None) if unit == "epochs" else _Extent(rounds, None, between)

    def _config_of(
        self,
        over: Federation,
        pod_identifiers: Sequence[str] | None,
        aggregator: Aggregator | None,
        *,
        extent: tuple[int | None, int | None],
        strategy: StrategyName,
        strategy_params: Mapping[str, float] | None,
        lr_decay: float | None,
        early_stopping: EarlyStopping | Literal["auto"] | None,
        columns: ColumnSpec | None,
        timeouts: tuple[float, float],
        group_by: str | None = None,
        importance: bool = False,
    ) -> RunConfig:
        """Return the settings of a run; raises `UsageError` if they are wrong. Arguments are those of `fit`."""
        epochs_between, steps_between = extent
        names = over.pod_identifiers if pod_identifiers is None else tuple(pod_identifiers)
        _check_tables(self.datastructure, names)
        if self.privacy:
            unfit = _named(
                epochs_between_parameter_updates=None if epochs_between in (None, 1) else True,
                steps_between_parameter_updates=steps_between,
                strategy=None if strategy == "FedAvg" else strategy,
                strategy_params=strategy_params or None,
                lr_decay=lr_decay,
                **dict.fromkeys(_UNFIT_OF_SUMS & (aggregator.model_fields_set if aggregator else set()), True),
            )
            if unfit:
                raise UsageError(f"fit: {unfit}: {_NO_PART}")
        length = self._extent(epochs_between, steps_between)
        return RunConfig(
            pods=names,
            datastructure=self.datastructure,
            columns=columns,
            group_by=group_by,
            importance=importance,
            architecture=self.architecture,
            network=digest_of(self._source) if self._source is not None else None,
            positive=self.positive,
            loss=self._loss,
            class_weight=self.class_weight,
            decision=self.threshold,
            privacy=self.privacy,
            min_bin_rows=self.min_bin_rows,
            rounds=length.rounds,
            local_epochs=length.local_epochs,
            local_steps=length.local_steps,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            lr_decay=lr_decay,
            seed=self.seed,
            strategy=strategy,
            strategy_params=dict(strategy_params or {}),
            early_stopping=early_stopping,
            hello_timeout=timeouts[0],
            step_timeout=timeouts[1],
            **(aggregator or SecureAggregator()).settings(),
        )

    @property
    def _model(self) -> "TrainedModel":
        if self._trained is None:
            raise UsageError("there is no trained model yet: call fit, or deserialize one")
        return self._trained

    def _load(self, path: Path) -> None:
        from fl_app.tabular.model_file import TrainedModel

        trained = TrainedModel.load(path, self._source)
        encoding = trained.encoding
        if encoding.target.name != self.datastructure.target:
            raise DataError(f"{path} predicts '{encoding.target.name}', not '{self.datastructure.target}'")
        self._check_model(encoding, path)
        for column in encoding.features:
            self.schema.column(column.name)
        self._trained = trained


def _named(**given: object) -> str:
    """Return the names of the arguments that are not None."""
    return ", ".join(name for name, value in given.items() if value is not None)


def _check_tables(datastructure: DataStructure, pods: Sequence[str]) -> None:
    """Raise `UsageError` unless the tables named are those of the pods: each pod has one, of the pod's name."""
    tables = datastructure.table
    if isinstance(tables, dict):
        for pod in pods:
            if tables.get(pod) != pod:
                named = f"'{tables[pod]}'" if pod in tables else "none"
                raise UsageError(f"DataStructure.table: the table of pod '{pod}' is '{pod}', but it names {named}")


def read_own_rows(rows: pd.DataFrame | str | Path, encoding: Encoding, read_options: Mapping[str, Any] | None) -> Table:
    """Read the modeller's own rows, and tell what of them the model cannot use."""
    table = Table.of(rows) if isinstance(rows, pd.DataFrame) else read_rows(rows, encoding, read_options)
    for told in unseen(table, encoding):
        logging.getLogger(PROGRESS).log(logging.WARNING if told.loud else logging.INFO, "%s", told.text)
    return table
