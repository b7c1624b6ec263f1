"""How a table is trained on where the modeller says nothing: settings that follow from how many rows there are.

Pods and server derive them from the same verified sums, so that nobody has to be told. They were chosen by
cross-validation over training rows of real tables, see docs/modeller.md.
"""

from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.settings import DEFAULT_ARCHITECTURE, PAIR_ARCHITECTURE, Optimizer
from fl_app.validation import Frozen

_RATE = 0.003
"""AdamW's, on large tables. At 0.001 pods that make few steps, in few rounds or of few rows, do not get far."""
_RATE_OF_SGD = 0.1


class Regime(Frozen):
    """What is trained and how, in the words of `fl_app.config.Training`.

    Attributes
    ----------
    architecture, rounds, local_epochs, batch_size, optimizer, lr_decay, early_stopping
        See `fl_app.config.Training`; more rounds than these are not trained.
    """

    architecture: str = DEFAULT_ARCHITECTURE
    rounds: int = 10
    local_epochs: int = 1
    batch_size: int = 256
    optimizer: Optimizer = Optimizer(name="AdamW", params={"lr": _RATE})
    lr_decay: float = 0.02
    early_stopping: EarlyStopping | None = None

    def optimizer_over(self, epochs: int) -> Optimizer:
        """Return the optimiser for so many epochs in all, which the modeller may have said.

        Adam's steps are as long however small the gradient is. Where there are more of them than the regime has, each
        is shorter, so that all together go as far: else training goes on to learn single rows by heart.
        """
        usual = self.rounds * self.local_epochs
        if self.optimizer.name != "AdamW" or epochs <= usual:
            return self.optimizer
        return Optimizer(name="AdamW", params={"lr": _RATE * usual / epochs})


LARGE = Regime()
_SMALL = Regime(
    rounds=30,
    batch_size=32,
    optimizer=Optimizer(name="SGD", params={"lr": _RATE_OF_SGD}, clip_norm=1.0),
    # Patience is long because a falling rate still lowers a loss that has been flat for some rounds.
    early_stopping=EarlyStopping(metric="loss", patience=10),
)
_BELOW = {200: 10, 2_000: 3, 20_000: 1}
"""Rows below which a table is small, and the local epochs in which it is trained on then."""
_FEW_ROWS = 2_000
"""Rows below which training goes to its last round: the loss of fewer than 200 validation rows says little."""
_LONG_STEPS = Optimizer(name="SGD", params={"lr": 0.3}, clip_norm=1.0)
"""For few rows of more than two classes, each of which a step tells less; two are learnt as well by shorter ones."""
MOST_ROUNDS, MOST_LOCAL_EPOCHS = _SMALL.rounds, max(_BELOW.values())
"""The most that any regime takes: what pods are asked to agree to where a number is left open."""


def usual_rate(optimizer: str) -> float:
    """Return the learning rate of an optimiser of which nothing but the name is said."""
    return _RATE_OF_SGD if optimizer == "SGD" else _RATE


def regime_for(rows: int, classes: int = 2) -> Regime:
    """Return how a table is trained on.

    Parameters
    ----------
    rows : int
        The labelled rows of all pods together, as noised counts tell.
    classes : int
        The target's classes; 1 where it is a number.
    """
    for bound, epochs in _BELOW.items():
        if rows < bound:
            regime = _SMALL.model_copy(update={"local_epochs": epochs})
            if rows >= _FEW_ROWS:
                return regime
            return regime.model_copy(
                update={
                    "architecture": PAIR_ARCHITECTURE if classes > 1 else DEFAULT_ARCHITECTURE,
                    "optimizer": _LONG_STEPS if classes > 2 else regime.optimizer,
                    "early_stopping": None,
                }
            )
    return LARGE
