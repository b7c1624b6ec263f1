"""Runs by the product's own server, with settings of the attacker's choice: what is read of sums that anybody gets."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fl_app.config import RunConfig, Settled
from fl_app.secagg.codec import Aggregate
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.network import build_network, state_of
from fl_app.tabular.regime import LARGE
from fl_app.tabular.settings import DataStructure, Optimizer
from server.app.main import train
from server.app.recorder import Recorder
from server.app.run_directory import RunDirectory
from strategies import Round
from tests.adversary.hostile.tables import PODS, TARGET, Pods

State = dict[str, NDArray[Any]]


def settings(**changes: Any) -> Settled:
    """Return the settings of a run: one step of plain descent over all rows of a pod, unless something else is said."""
    usual: dict[str, Any] = {
        "pods": PODS,
        "datastructure": DataStructure(target=TARGET),
        "rounds": 10,
        "local_steps": 1,
        "batch_size": 1 << 20,
        "optimizer": Optimizer(name="SGD", params={"lr": 1.0}),
        "lr_decay": 1.0,
        "early_stopping": None,
    }
    return Settled.of(RunConfig(**(usual | changes)), LARGE)


@dataclass
class Seen:
    """What a server has seen of a run.

    Attributes
    ----------
    models : list of mapping of name to array
        The first network, and that after each round.
    sums : list of Aggregate
        Of each round, but for the update.
    final : list of Aggregate
        Of each final evaluation.
    """

    encoding: Encoding
    models: list[State]
    sums: list[Aggregate]
    final: list[Aggregate]

    def update(self, round: int) -> State:
        """Return the mean update of a round, from 1."""
        before, after = self.models[round - 1], self.models[round]
        return {name: after[name].astype("f8") - before[name] for name in before}


class _Watching(Recorder):
    def watch(self) -> "_Watching":
        self.rounds, self.finals = list[tuple[State, Aggregate]](), list[Aggregate]()
        return self

    def round(self, done: Round) -> None:
        arrays = {name: array.numpy().copy() for name, array in done.arrays.items()}
        self.rounds.append((arrays, done.aggregate))
        super().round(done)

    def evaluation(self, sums: Aggregate) -> None:
        self.finals.append(sums)
        super().evaluation(sums)


def run(pods: Pods, config: Settled) -> Seen:
    """Carry out a run and return all that its server has seen; raises what the server raises."""
    pods.new_run()
    directory = RunDirectory.create(pods.directory / "runs", config)
    recorder = _Watching(directory).watch()
    train(pods.grid, directory, recorder, None)
    encoding = Encoding.from_json(directory.encoding()[1])
    first = state_of(build_network(encoding, config.architecture, config.seed))
    return Seen(encoding, [first, *(arrays for arrays, _ in recorder.rounds)], [s for _, s in recorder.rounds],
                recorder.finals)  # fmt: skip
