"""Whole rounds, in simulation and in deployment: ours beside Flower's plain federated averaging, in turn."""

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ground import Ground
from benchmarks.network import superlink, write_plain_app
from benchmarks.plain import GROUND, TIMES
from fl_app.errors import RunFailed
from fl_app.federation.kinds import DeployedFederation
from fl_app.secagg.roster import threshold_for
from server.app.run_directory import FLOWER_LOG
from server.deployed.deployed_run import DeployedRun
from server.modeller.launch import Launcher, fit
from server.modeller.simulation import Simulation

COMPLETE, LOSSY = "fl-app, t = n", "fl-app, t < n"
FLOWER, POLLED = "Flower FedAvg", "FedAvg, own polling"
_PLAIN = "benchmarks.plain"


@dataclass(frozen=True)
class Rounds:
    """Seconds of each round of one contender, over all its runs, and of each run from start to end."""

    where: str
    pods: int
    by: str
    seconds: tuple[float, ...]
    whole: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median round."""
        return statistics.median(self.seconds)


def contenders(pods: int) -> tuple[str, ...]:
    """Return who takes part: with up to three pods the protocol allows no loss."""
    return (COMPLETE, *([LOSSY] if threshold_for(0, pods) < pods else []), FLOWER, POLLED)


def measure(
    simulated: Sequence[int], deployed: Sequence[int], rounds: int, turns: int
) -> Iterator[tuple[str, int, str, list[float], float]]:
    """Yield (where, pods, by, seconds of each round, seconds of the run) for one run after another, in turn."""
    places = [("simulation", pods) for pods in simulated] + [("deployment", pods) for pods in deployed]
    for where, pods in places:
        with tempfile.TemporaryDirectory(prefix="fl-app-bench-") as directory:
            ground = Ground.lay_out(Path(directory, "ground"), pods)
            for turn in range(turns):
                for by in contenders(pods):
                    scratch = Path(directory, f"{turn}-{contenders(pods).index(by)}")
                    scratch.mkdir()
                    yield where, pods, by, *_run(where, by, ground, rounds, scratch)


def gather(runs: Sequence[tuple[str, int, str, list[float], float]]) -> list[Rounds]:
    """Put the runs of each contender together."""
    keys = list(dict.fromkeys(run[:3] for run in runs))
    return [
        Rounds(*key, tuple(second for run in runs if run[:3] == key for second in run[3]),
               tuple(run[4] for run in runs if run[:3] == key)) for key in keys
    ]  # fmt: skip


def ratios(measured: Sequence[Rounds]) -> dict[str, float]:
    """Return ours over Flower's plain averaging: all rounds together, and whole runs."""
    found = {(m.where, m.pods, m.by): m for m in measured}
    result = {}
    for (where, pods, by), ours in found.items():
        flower = found.get((where, pods, FLOWER))
        if by == FLOWER or flower is None:
            continue
        short = {COMPLETE: "secure", LOSSY: "secure_lossy", POLLED: "polled"}[by]
        result[f"{where}_{pods}_{short}_over_flower"] = sum(ours.seconds) / sum(flower.seconds)
        result[f"{where}_{pods}_{short}_over_flower_whole"] = sum(ours.whole) / sum(flower.whole)
    return result


def _run(where: str, by: str, ground: Ground, rounds: int, scratch: Path) -> tuple[list[float], float]:
    with ExitStack() as stack:
        address = None
        if where == "deployment":
            address = stack.enter_context(superlink(ground, plain=by == FLOWER))
        started = time.perf_counter()
        carry_out = _plain if by == FLOWER else _ours
        seconds = carry_out(by, ground, rounds, scratch, address)
        return seconds, time.perf_counter() - started


def _ours(by: str, ground: Ground, rounds: int, scratch: Path, address: str | None) -> list[float]:
    pods = len(ground.pods)
    threshold = pods if by == COMPLETE else 0
    config = ground.config(rounds, threshold, secure=by != POLLED)
    run = fit(config, ground.federation(address), runs=scratch)
    return [float(entry["seconds"]) for entry in run.results()["rounds"]]


def _plain(by: str, ground: Ground, rounds: int, scratch: Path, address: str | None) -> list[float]:
    ground.config(rounds)
    launcher: Launcher
    if address is None:
        launcher = Simulation(f"{_PLAIN}:server_app", f"{_PLAIN}:client_app")
    else:
        federation = ground.federation(address)
        if not isinstance(federation, DeployedFederation):
            raise RunFailed("the ground's federation is not deployed")
        launcher = DeployedRun(federation, write_plain_app(scratch))
    environment: Mapping[str, str] = {**os.environ, GROUND: str(ground.directory)}
    try:
        launcher.start(scratch, dict(environment), len(ground.pods))
        code = launcher.wait(rounds * 300.0)
    finally:
        launcher.stop()
    if code or not (scratch / TIMES).exists():
        kept = shutil.copy(scratch / FLOWER_LOG, Path(tempfile.gettempdir(), "fl-app-bench.log"))
        raise RunFailed(f"{by} ended with code {code}; {kept} says why")
    return [float(second) for second in json.loads((scratch / TIMES).read_text())]
