"""How a table is trained on where the modeller says nothing: settings that follow from how many rows there are.

Pods and server derive them from the same verified sums, so that nobody has to be told. They were chosen by
cross-validation over training rows of real tables, see docs/modeller.md.
"""

from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.settings import DEFAULT_ARCHITECTURE, Optimizer
from fl_app.validation import Frozen


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
    optimizer: Optimizer = Optimizer(name="AdamW", params={"lr": 0.001})
    lr_decay: float = 0.02
    early_stopping: EarlyStopping | None = None


LARGE = Regime()
_STEEP = Optimizer(name="SGD", params={"lr": 0.1})
_SMALLER = {
    1000: Regime(rounds=30, local_epochs=3, batch_size=32, optimizer=_STEEP),
    20_000: Regime(rounds=30, local_epochs=1, batch_size=32, optimizer=_STEEP),
}
"""The regimes of tables with fewer rows than a bound, in ascending order; `LARGE` is that of all others."""
MOST_ROUNDS = max(regime.rounds for regime in (LARGE, *_SMALLER.values()))
MOST_LOCAL_EPOCHS = max(regime.local_epochs for regime in (LARGE, *_SMALLER.values()))
"""The most that any regime takes: what pods are asked to agree to where a number is left open."""


def regime_for(rows: int) -> Regime:
    """Return how a table is trained on that has so many labelled rows at all pods together, as noised counts tell."""
    for bound, regime in _SMALLER.items():
        if rows < bound:
            return regime
    return LARGE
