"""The settings that a tuning tries: a list of values for each, of which a trial has one of each."""

import hashlib
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.pod.yaml_lines import content_of, parse_yaml
from fl_app.tabular.settings import ARCHITECTURES, OPTIMIZERS, Optimizer
from fl_app.validation import Frozen, unknown

LR_DECAY = 0.02
"""What is left of the learning rate in a trial's last round: each run, short or long, is judged at its rate's end."""
CLIP_NORM = 1.0
"""What SGD shortens gradients to, as where settings follow from the table: one row far out would undo rounds."""
MOST_COMBINATIONS = 100_000


class TrialSettings(Frozen):
    """One point of a space: all that differs between the trials of a tuning.

    Attributes
    ----------
    architecture, batch_size, local_epochs : as in `fl_app.config.Training`.
    optimizer : str
        Its name in torch.optim.
    learning_rate, weight_decay : float
        Its parameters.
    """

    architecture: str
    optimizer: str
    learning_rate: float
    batch_size: int
    local_epochs: int
    weight_decay: float

    def config(self, base: RunConfig, rounds: int) -> RunConfig:
        """Return the settings of a run of so many rounds: these, and of ``base`` all that trials have in common.

        Nothing is left to follow from the table, and nothing ends the run early: trials are compared after the same
        number of rounds.
        """
        chosen = {
            "architecture": self.architecture,
            "optimizer": Optimizer(
                name=self.optimizer,
                params={"lr": self.learning_rate, "weight_decay": self.weight_decay},
                clip_norm=CLIP_NORM if self.optimizer == "SGD" else None,
            ),
            "lr_decay": LR_DECAY,
            "batch_size": self.batch_size,
            "local_epochs": self.local_epochs,
            "local_steps": None,
            "rounds": rounds,
            "early_stopping": None,
        }
        return RunConfig(**{**dict(base), **chosen})


class TuningSpace(Frozen):
    """The values that a tuning tries.

    Attributes
    ----------
    architecture : sequence of str
        Networks, by the names that ``fit --architecture`` takes.
    learning_rate : dict of str to sequence of float
        Rates by the optimiser's name in torch.optim: each pair is one choice.
    batch_size, local_epochs : sequence of int
        Rows in a batch, and a pod's passes over its rows in a round.
    weight_decay : sequence of float
        The optimiser's parameter of this name.

    Raises
    ------
    UsageError
        If a list is empty or names a value twice, or a value cannot be one; it says what is allowed.
    """

    architecture: tuple[str, ...] = Field(default=("linear", "mlp"), min_length=1)
    learning_rate: dict[str, tuple[float, ...]] = Field(
        default={"SGD": (0.03, 0.1, 0.3), "AdamW": (0.001, 0.003, 0.01)}, min_length=1
    )
    batch_size: tuple[int, ...] = Field(default=(32, 256), min_length=1)
    local_epochs: tuple[int, ...] = Field(default=(1, 3), min_length=1)
    weight_decay: tuple[float, ...] = Field(default=(0.0, 0.0001, 0.01), min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name in self.architecture:
            if name not in ARCHITECTURES:
                raise UsageError(f"architecture: {name!r}: {unknown(name, ARCHITECTURES, 'architecture')}")
        for name, rates in self.learning_rate.items():
            if name not in OPTIMIZERS:
                raise UsageError(f"learning_rate: {name!r}: {unknown(name, OPTIMIZERS, 'optimizer')}")
            if not rates:
                raise UsageError(f"learning_rate: {name}: expected one rate or more")
            _check(f"learning_rate: {name}", rates, lambda rate: rate > 0, "above 0")
        _check("batch_size", self.batch_size, lambda rows: rows >= 1, "1 or more")
        _check("local_epochs", self.local_epochs, lambda epochs: epochs >= 1, "1 or more")
        _check("weight_decay", self.weight_decay, lambda decay: decay >= 0, "0 or more")
        if len(set(self.architecture)) < len(self.architecture):
            raise UsageError("architecture: a value is given twice")
        if self.combinations > MOST_COMBINATIONS:
            raise UsageError(
                f"the space has {self.combinations:,} combinations; at most {MOST_COMBINATIONS:,} are read"
            )
        return self

    @property
    def combinations(self) -> int:
        """How many different trials there are."""
        pairs = sum(map(len, self.learning_rate.values()))
        others = (self.architecture, self.batch_size, self.local_epochs, self.weight_decay)
        return pairs * math.prod(map(len, others))

    def draw(self, count: int, seed: int) -> list[TrialSettings]:
        """Return ``count`` different trials, or all if there are fewer: the same from the same space and seed.

        They are ordered by hashes, so that more trials of one seed begin with the same ones, in every version.
        """
        pairs = [(name, rate) for name, rates in self.learning_rate.items() for rate in rates]
        grid = itertools.product(self.architecture, pairs, self.batch_size, self.local_epochs, self.weight_decay)
        every = [
            TrialSettings(
                architecture=architecture,
                optimizer=optimizer,
                learning_rate=rate,
                batch_size=batch,
                local_epochs=epochs,
                weight_decay=decay,
            )
            for architecture, (optimizer, rate), batch, epochs, decay in grid
        ]
        return sorted(every, key=lambda trial: hashlib.sha256(f"{seed}/{trial.to_json()}".encode()).digest())[:count]


def read_space(path: Path) -> TuningSpace:
    """Read a space from a file, YAML or JSON; a setting that it leaves out has the values of the default space.

    Raises
    ------
    UsageError
        The file is no such space, with the keys that are wrong and what is allowed.
    """
    content = parse_yaml(path, content_of(path)).value
    if not isinstance(content, dict):
        raise UsageError(f"{path}: a space is written as batch_size: [32, 128], a list for each setting")
    try:
        return TuningSpace.model_validate(content)
    except UsageError as error:
        raise UsageError(f"{path}: {str(error).removeprefix('TuningSpace: ')}") from error


def _check(name: str, values: Sequence[Any], fits: Any, expected: str) -> None:
    for value in values:
        if not (math.isfinite(value) and fits(value)):
            raise UsageError(f"{name}: expected numbers {expected}, not {value:g}")
    if len(set(values)) < len(values):
        raise UsageError(f"{name}: a value is given twice")
