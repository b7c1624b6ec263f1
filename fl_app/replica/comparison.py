"""The architecture "auto": two networks and their mean are compared within a run, and the best of them goes on.

Such a run begins with a "pair", two networks of which each is trained as if it were alone, on the same batches. Pods
sum the loss of the pair and of either part over their validation rows. After a third of the rounds the one with the
smallest loss is trained on, by itself. Each pod makes this choice for itself, from sums that it has verified.
"""

from typing import NamedTuple

from fl_app.config import RunConfig, Settled
from fl_app.flower import names
from fl_app.replica.averaging import Averaged
from fl_app.replica.state import Arrays, Replica
from fl_app.secagg.canonical import Value
from fl_app.secagg.codec import Aggregate
from fl_app.tabular.settings import AUTO_ARCHITECTURE, PAIR, PAIR_ARCHITECTURE

LEAST_ROWS = 200
"""Fewest validation rows that choose: of fewer, the pair goes on. See docs/tables.md for how it was found."""
NETWORK, COMPARING, COMPARED = "network", "comparing", "compared-rounds"
"""The facts of a replica that say which network is trained, whether it is still compared with its parts, and after how
many rounds that ends. The last is a third of those that the run began with: a resumed one may take more."""
PART_LOSSES = "part_losses"
"""The metric of an evaluation that has the loss of either part of a pair, summed over the rows."""


class Losses(NamedTuple):
    """What is compared: losses summed over the same rows, by architecture, and how many rows these are."""

    by_network: dict[str, float]
    rows: int

    @property
    def best(self) -> str:
        """The network that goes on."""
        return min(self.by_network, key=self.by_network.__getitem__) if self.rows >= LEAST_ROWS else PAIR_ARCHITECTURE


def compares(config: RunConfig) -> bool:
    """Say whether a run chooses among networks."""
    return config.architecture == AUTO_ARCHITECTURE


def begun(run: Settled) -> dict[str, Value]:
    """Return the facts with which a run begins: none where its network is known."""
    if not compares(run):
        return {}
    return {NETWORK: PAIR_ARCHITECTURE, COMPARING: True, COMPARED: max(1, run.rounds // 3)}


def told(replica: Replica) -> dict[str, str | bool]:
    """Return what handlers are told: which network the model is of, and whether its parts are evaluated too."""
    return {names.NETWORK: str(replica.facts[NETWORK]), names.COMPARING: is_comparing(replica)}


def is_due(replica: Replica) -> bool:
    """Say whether the round at hand evaluates what the rounds that compare have made."""
    return replica.completed >= int(str(replica.facts[COMPARED]))


def network_of(run: Settled, replica: Replica) -> str:
    """Return the architecture of the network that is trained next."""
    return str(replica.facts.get(NETWORK, run.architecture))


def is_comparing(replica: Replica) -> bool:
    """Say whether it is still to be seen which network goes on."""
    return bool(replica.facts.get(COMPARING))


def losses_in(sums: Aggregate, loss: float, rows: int) -> Losses:
    """Return what a step's sums compare, in which the pair's loss over so many rows is ``loss``."""
    parts = sums.values[names.segment(names.EVALUATE, PART_LOSSES)].tolist()
    return Losses({**dict(zip(PAIR, parts, strict=True)), PAIR_ARCHITECTURE: loss}, rows)


def part_of(network: str, averaged: Averaged) -> Averaged:
    """Return model and carried arrays of a network alone, out of those of the pair; all of them where it is the pair.

    The strategies carry arrays under the model's names, or behind one letter and a dot (`fl_app.replica.averaging`).
    """
    if network == PAIR_ARCHITECTURE:
        return averaged
    own = f"{network}."

    def parts(arrays: Arrays) -> Arrays:
        heads = {name: name[:2] if name[1:2] == "." else "" for name in arrays}
        behind = {name: name.removeprefix(head) for name, head in heads.items()}
        return {
            heads[name] + behind[name].removeprefix(own): array
            for name, array in arrays.items()
            if behind[name].startswith(own)
        }

    model, carried = averaged
    return parts(model), parts(carried)
