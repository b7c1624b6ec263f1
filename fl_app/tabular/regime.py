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


FEW_ROWS = 20_000
"""Rows of all pods together below which a table is trained on in many small steps."""
ROWS_A_ROUND = 1500
"""Rows that a pod of few rows goes through in a round, in as many epochs as that takes."""
MOST_LOCAL_EPOCHS = 10
MOST_ROUNDS = 30
"""The most that any regime takes: what pods are asked to agree to where a number is left open."""
LARGE = Regime()


def regime_for(rows: int, pods: int) -> Regime:
    """Return how a table is trained on that has so many labelled rows at so many pods, as noised counts tell."""
    if rows >= FEW_ROWS:
        return LARGE
    each = max(rows, 1)
    return Regime(
        rounds=MOST_ROUNDS,
        local_epochs=min(MOST_LOCAL_EPOCHS, max(1, round(ROWS_A_ROUND * pods / each))),
        batch_size=32,
        # The penalty is that of a logistic regression with C = 1: half the squared weights, against all rows' losses.
        optimizer=Optimizer(name="SGD", params={"lr": 0.1, "weight_decay": 1 / each}),
    )
