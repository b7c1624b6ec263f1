"""The settings of one run: frozen, validated, the same text for modeller, ServerApp and pods."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fl_app.errors import UsageError
from fl_app.flower.protocol_settings import DEFAULT_WEIGHTING, Aggregation, Dropouts, Timing, Weighting
from fl_app.pod.definition import PodName
from fl_app.privacy.plan import CLIP, Plan, rounds_for
from fl_app.privacy.settings import Privacy
from fl_app.secagg.field import FIELD_31, FIELD_61
from fl_app.tabular.class_weights import ClassWeight
from fl_app.tabular.column_spec import ColumnSpec
from fl_app.tabular.early_stopping import EarlyStopping, stopping_from_text
from fl_app.tabular.encoding import MIN_BIN_ROWS
from fl_app.tabular.folds import Fold
from fl_app.tabular.regime import MOST_LOCAL_EPOCHS, MOST_ROUNDS, Regime
from fl_app.tabular.regression import Loss
from fl_app.tabular.settings import (
    ARCHITECTURES,
    AUTO_ARCHITECTURE,
    OWN_ARCHITECTURE,
    PRIVATE_ARCHITECTURE,
    DataStructure,
    Optimizer,
)
from fl_app.tabular.threshold import ThresholdRule
from fl_app.validation import Frozen, names_in

StrategyName = Literal["FedAvg", "FedAdam", "FedAvgM", "FedProx"]
"""The averaging strategies, by the names of their classes in Flower."""


class Training(Frozen):
    """What is trained, by whom, and how.

    Where it says that a setting follows from the table, None leaves it to `fl_app.tabular.regime`, by what the pods'
    sums tell of it; `Settled` has what came of that.

    Attributes
    ----------
    pods : names of the pods that train together.
    datastructure : the target and the columns used.
    columns : what is proposed to the pods for their columns; None: nothing.
    architecture : the network, by its name in `fl_app.tabular.settings`; None: it follows from the table; "auto": the
        best of some, by the pods' validation rows, see `fl_app.replica.comparison`.
    network : the SHA-256 of the source of a network of the modeller's own, which the bundle has; the architecture is
        "own" then. None: one of the product's.
    min_bin_rows : rows of all pods together in each bin of a number; bins are cut from secure sums, and fewer rows a
        bin show rarer values in the model.
    rounds : how often the pods' updates are averaged; None: it follows from the table, or from epsilon.
    local_epochs, local_steps : how far each pod trains in a round, at most one of them; without either it follows from
        the table.
    batch_size : most rows in a batch; at a pod no fewer than its owner's minimum_batch_rows. None: it follows from the
        table.
    optimizer, lr_decay : the pods' optimiser, made afresh each round; its rate falls by a cosine to ``lr_decay``
        of itself in the last round (1: it stays). None: they follow from the table.
    seed : what the first parameters and the order of rows are drawn from.
    strategy, strategy_params : the averaging strategy, by its Flower name, and its own parameters.
    positive : the class that precision, recall and F1 are of; None: the second of two, the mean of more.
    loss : what training makes small where the target is a number; a target of few whole numbers is learnt as one only
        where this is given. None: squared error.
    class_weight : "balanced": rows count in training so that every class weighs the same, by the pods' noised counts of
        rows by class; early stopping that is left open follows the AUC then, not the loss. None: all rows alike.
    decision : how the score from which on rows are of the second of two classes is chosen on the validation rows, see
        `fl_app.tabular.threshold`; "0.5": not at all.
    early_stopping : when training ends before its last round; "auto": it follows from the table; None: never.
    secure : whether the pods' vectors are masked.
    describes : whether the pods' tables are described, and nothing is trained; then the target may be "", for none, and
        of all else the columns and how they are summed count alone.
    fold : the part of its rows that each pod holds out as its test rows in this run of a cross-validation; the tenth
        before it are the validation rows then. None: the shares that each owner's file says.
    group_by : the column by whose categories the counts of the final evaluation on test rows are told apart, where each
        owner allows it; it need not be learnt from. None: none.
    importance : whether the final evaluation also sums how much worse the model is on test rows once the values of a
        column are shuffled among those of each pod, for each column that is learnt from, where each owner allows it.
    privacy : how much all that leaves the pods may tell of any one row; None: nothing is promised. A private round is
        one step of gradient descent over all rows: batches, optimiser and averaging strategy have no part in it.
    """

    pods: tuple[PodName, ...] = Field(min_length=2)
    datastructure: DataStructure
    columns: ColumnSpec | None = None
    architecture: str | None = None
    network: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    min_bin_rows: int = Field(default=MIN_BIN_ROWS, ge=1)
    rounds: int | None = Field(default=None, ge=1, le=10_000)
    local_epochs: int | None = Field(default=None, ge=1)
    local_steps: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    optimizer: Optimizer | None = None
    lr_decay: float | None = Field(default=None, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    strategy: StrategyName = "FedAvg"
    strategy_params: dict[str, float] = Field(default_factory=dict)
    positive: str | None = None
    loss: Loss | None = None
    class_weight: ClassWeight | None = None
    decision: ThresholdRule = "0.5"
    early_stopping: EarlyStopping | Literal["auto"] | None = "auto"
    secure: bool = True
    describes: bool = False
    fold: Fold | None = None
    group_by: str | None = Field(default=None, min_length=1)
    importance: bool = False
    privacy: Privacy | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.local_epochs is not None and self.local_steps is not None:
            raise UsageError("give one of local_epochs and local_steps, not both")
        if self.describes and self.privacy:
            raise UsageError("a description has no privacy to spend: its sums carry noise, and no epsilon is promised")
        if not self.describes and not self.datastructure.target:
            raise UsageError("name the target: only a description does without one")
        if self.privacy and isinstance(self.early_stopping, EarlyStopping):
            raise UsageError("a run with privacy ends with its last round: no round is evaluated, so nothing stops it")
        if self.privacy and self.class_weight:
            raise UsageError("a run with privacy weighs no class: each row counts the same, or its noise would not do")
        if self.privacy and self.decision != "0.5":
            raise UsageError("a run with privacy chooses no threshold: noise in its few score cells would choose it")
        if self.fold and (self.privacy or self.describes):
            raise UsageError("only a run without privacy that trains holds out a fold: with it each would cost epsilon")
        if self.group_by and (self.privacy or self.describes or self.fold):
            raise UsageError("group_by: no part of a run with privacy or a fold, nor of a description")
        if self.group_by and self.group_by == self.datastructure.target:
            raise UsageError(f"group_by: {self.group_by!r} is the target")
        if self.group_by and self.columns and self.group_by in self.columns.columns:
            # Read in another way, the groups of two runs would differ by few rows, which their counts would tell.
            raise UsageError(
                f"group_by: nothing may be proposed for {self.group_by!r}: pods read it as their owners say"
            )
        if self.importance and (self.privacy or self.describes or self.fold):
            raise UsageError("importance: no part of a run with privacy or a fold, nor of a description")
        target = self.columns and self.columns.columns.get(self.datastructure.target)
        if self.importance and target and target.missing is not None:
            # Each set of texts would count other rows, and shuffle them in another order.
            raise UsageError("importance: no spellings of missing values may be proposed for the target")
        if self.privacy and not self.secure:
            raise UsageError("a run with privacy needs secure aggregation: each pod adds its share of the noise alone")
        if self.privacy and self.network:
            raise UsageError(
                "a run with privacy takes no network of one's own: the noise is for gradients of the product's networks"
            )
        if (self.network is not None) != (self.architecture == OWN_ARCHITECTURE):
            raise UsageError("the architecture 'own' needs the file of a network of one's own, and that needs it")
        if self.architecture not in (None, *ARCHITECTURES, AUTO_ARCHITECTURE, OWN_ARCHITECTURE):
            allowed = ", ".join((AUTO_ARCHITECTURE, *ARCHITECTURES))
            raise UsageError(f"unknown architecture {self.architecture!r}; allowed are {allowed}")
        if self.architecture == AUTO_ARCHITECTURE and self.privacy:
            raise UsageError("a run with privacy evaluates no round, so it cannot compare networks: name one")
        if self.architecture == AUTO_ARCHITECTURE and self.rounds == 1:
            raise UsageError("the architecture 'auto' needs two rounds: the first is evaluated in the second")
        if len(set(self.pods)) != len(self.pods):
            raise UsageError(f"a pod is named twice: {', '.join(self.pods)}")
        return self


class RunConfig(Aggregation, Training):
    """What a run does. It is bound into the session: a pod that is told other settings makes no usable answer.

    Written as one flat JSON object. The settings of the network and its training are those of `Training`, the settings
    of the sums those of `Aggregation`.

    Attributes
    ----------
    threshold : see `Dropouts`.
    hello_timeout, rejoin_timeout, step_timeout : see `Timing`.
    """

    threshold: int = Field(default=Dropouts.threshold, ge=0)
    hello_timeout: float = Field(default=Timing.hello, gt=0)
    rejoin_timeout: float = Field(default=Timing.rejoin, gt=0)
    step_timeout: float = Field(default=Timing.step, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.privacy and self.prime_q != FIELD_61.prime:
            raise UsageError("a run with privacy needs the field 2^61-1: in the small one noise would be rounded off")
        if self.architecture == AUTO_ARCHITECTURE and self.prime_q != FIELD_61.prime:
            raise UsageError("compact: in the small field the losses by which 'auto' chooses would be rounded off")
        return self

    @property
    def left_open(self) -> frozenset[str]:
        """The settings that follow from the table, or that nothing is said of."""
        return frozenset(name for name, value in self if value is None or (name, value) == ("early_stopping", "auto"))

    @property
    def aggregation(self) -> Aggregation:
        """How the pods' values are summed; of a private run each pod's sum counts as it is."""
        settings = {name: getattr(self, name) for name in Aggregation.model_fields}
        if plan := self.plan:
            settings |= {"weighting": "equal", "update_bound": self.max_weight * CLIP + plan.gradient.tail}
        return Aggregation(**settings)

    @property
    def plan(self) -> Plan | None:
        """How the run's privacy is spent; None for a run without."""
        return Plan(self.privacy, self.most_rounds) if self.privacy else None

    @property
    def most_rounds(self) -> int:
        """Rounds that the run takes at most, known before the table is: those that pods are asked to agree to."""
        if self.rounds is not None:
            return self.rounds
        return rounds_for(self.privacy.epsilon) if self.privacy else MOST_ROUNDS

    @property
    def most_local_epochs(self) -> int | None:
        """Passes over its rows that a pod makes in a round at most; None where batches are counted."""
        return self.local_epochs or (MOST_LOCAL_EPOCHS if self.local_steps is None else None)

    @property
    def dropouts(self) -> Dropouts:
        """Which losses of pods the run survives."""
        return Dropouts(threshold=self.threshold)

    @property
    def timing(self) -> Timing:
        """How long the server waits for the pods."""
        return Timing(hello=self.hello_timeout, rejoin=self.rejoin_timeout, step=self.step_timeout)

    @classmethod
    def from_flower(cls, given: Mapping[str, Any], pods: Sequence[str]) -> Self:
        """Build from Flower's run config: scalars under hyphenated keys, where "" and 0 leave a setting to its default.

        Parameters
        ----------
        given : mapping
            ``Context.run_config``; its keys and defaults stand in pyproject.toml.
        pods : names of the federation's pods, which take part where none are named.
        """
        settings = {
            key.replace("-", "_"): value for key, value in given.items() if value not in ("", 0) or value is False
        }
        try:
            params = json.loads(settings.pop("optimizer_params", "{}"))
            if "optimizer" in settings or params:
                settings["optimizer"] = Optimizer(name=settings.get("optimizer"), params=params)
            datastructure = DataStructure(
                target=settings.pop("target"), ignore_cols=names_in(settings.pop("ignore", ""))
            )
            settings["strategy_params"] = json.loads(settings.get("strategy_params", "{}"))
        except (KeyError, ValueError) as error:
            raise UsageError(f"run config: {type(error).__name__} {error}; see [tool.flwr.app.config]") from error
        if "privacy" in settings:
            settings["privacy"] = Privacy.from_text(settings["privacy"])
        if "fold" in settings:
            settings["fold"] = Fold.from_text(settings["fold"])
        if "early_stopping" in settings:
            settings["early_stopping"] = stopping_from_text(settings["early_stopping"])
        settings["prime_q"] = (FIELD_31 if settings.pop("compact", False) else FIELD_61).prime
        named = names_in(settings.pop("pods", "")) or tuple(pods)
        return cls(pods=named, datastructure=datastructure, **settings)


class Settled(RunConfig):
    """The settings of a run once the pods' sums have told of their table: nothing is left open."""

    architecture: str
    rounds: int
    batch_size: int
    optimizer: Optimizer
    lr_decay: float
    early_stopping: EarlyStopping | None

    @classmethod
    def of(cls, config: RunConfig, regime: Regime) -> Self:
        """Return the settings with those of the regime wherever they are left open."""
        left_open = config.left_open
        given = {name: value for name, value in config if name not in left_open}
        if config.privacy:
            implied = {"architecture": PRIVATE_ARCHITECTURE, "rounds": config.most_rounds, "early_stopping": None}
        else:
            implied = {"early_stopping": None} if config.early_stopping is None else {}
        follows = {**dict(regime), **implied}
        if config.class_weight and isinstance(stopping := follows["early_stopping"], EarlyStopping):
            # What the pods sum is the loss of rows that all count the same: training does not make that small then.
            follows["early_stopping"] = stopping.model_copy(update={"metric": "auc"})
        if config.local_steps is not None:
            del follows["local_epochs"]
        run = {**follows, **given}
        usual = regime.optimizer
        if config.local_steps is None and not config.privacy:
            usual = regime.optimizer_over(run["rounds"] * run["local_epochs"])
        return cls(**run | {"optimizer": config.optimizer.over(usual) if config.optimizer else usual})


class SecureAggregator(Aggregation):
    """Secure aggregation: what leaves a pod is masked, and only the sum over the pods can be read.

    Attributes
    ----------
    prime_q : int
        Order of the finite field: 2**61-1, 8 bytes an element, or 2**31-1, 4 bytes and a coarser fixed-point step.
    update_bound : float
        Largest magnitude of an element of a pod's update; what is beyond is clipped, and counted.
    max_weight : int
        Largest number of rows that a pod may have: 2**20, 2**24 or 2**28; a pod with more refuses.
    weighting : str
        "examples": each pod counts by its training rows; "equal": each pod counts as one.

    Raises
    ------
    UsageError
        If there is no field of that order, or another value is not as described here.
    """

    def settings(self) -> dict[str, Any]:
        """Return these choices as fields of a `RunConfig`."""
        return {"secure": True, **self.model_dump()}


class FederatedAveraging(Frozen):
    """Plain federated averaging: the server sees every pod's update. Pods refuse it unless their owners allow it.

    Attributes
    ----------
    weighting : str
        "examples": each pod counts by its training rows; "equal": each pod counts as one.
    """

    weighting: Weighting = DEFAULT_WEIGHTING

    def settings(self) -> dict[str, Any]:
        """Return these choices as fields of a `RunConfig`."""
        return {"secure": False, **self.model_dump()}


Aggregator = SecureAggregator | FederatedAveraging
