"""More training than an owner allows: in a session that is bound to no settings, the steps' own count."""

from fl_app.secagg.canonical import encode
from fl_app.tabular.settings import Optimizer
from tests.adversary.hostile.crafted import Crafted, encoding_of
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import TARGET, Pods

RATE = 1e-4


def unbound_steps(pods: Pods, steps: int) -> float:
    """Return how many steps of descent pods with a limit of one have taken at least; 0 if they took none.

    A gradient of a logit's bias is at most 1: one step moves it by the learning rate at most.
    """
    config = settings(rounds=1, local_steps=steps, batch_size=64, optimizer=Optimizer(name="SGD", params={"lr": RATE}))
    run = Run(pods, config).declare(config=encode({}), verified=False).join()
    if run.refusals:
        return 0.0
    encoding = encoding_of(run.schema, run.schema.column(TARGET))
    state = Crafted(encoding).blank()
    state["layers.6.bias"][1] = 3.0  # sure, and wrong of most rows
    outcome = run.train(1, encoding, state)
    return float(abs(outcome.total.values["update"]).max()) / RATE if outcome.total else 0.0
