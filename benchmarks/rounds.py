"""Whole rounds, in simulation and in deployment: ours beside Flower's plain federated averaging, in turn."""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.children import child_environment
from benchmarks.network import superlink, write_plain_app
from benchmarks.plain import TESTBED, TIMES
from benchmarks.testbed import CensusTestbed
from fl_app.errors import RunFailed
from fl_app.federation.kinds import DeployedFederation, Federation
from fl_app.secagg.roster import threshold_for
from server.app.run_directory import FLOWER_LOG
from server.deployed.deployed_run import DeployedRun
from server.modeller.launch import Launcher, fit
from server.modeller.simulation import Simulation

COMPLETE, LOSSY = "fl-app, t = n", "fl-app, t < n"
FLOWER, POLLED = "Flower FedAvg", "FedAvg, own polling"
_PLAIN = "benchmarks.plain"
_MOST_SECONDS_PER_ROUND = 300.0


class Run(NamedTuple):
    """One run of one contender: seconds of each round, and of the run from start to end."""

    where: str
    pods: int
    by: str
    seconds: list[float]
    whole: float


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


def measure(simulated: Sequence[int], deployed: Sequence[int], rounds: int, turns: int) -> Iterator[Run]:
    """Yield one run after another: all contenders in turn, for each number of pods, ``turns`` times."""
    places = [("simulation", pods) for pods in simulated] + [("deployment", pods) for pods in deployed]
    for where, pods in places:
        with tempfile.TemporaryDirectory(prefix="fl-app-bench-") as directory:
            testbed = CensusTestbed.create(Path(directory, "testbed"), pods)
            for turn in range(turns):
                for place, by in enumerate(contenders(pods)):
                    scratch = Path(directory, f"{turn}-{place}")
                    scratch.mkdir()
                    try:
                        yield Run(where, pods, by, *_run(where, by, testbed, rounds, scratch))
                    except RunFailed as error:
                        raise RunFailed(f"{by}: {error}; {_keep_log(scratch)} says why") from error


def by_contender(runs: Sequence[Run]) -> list[Rounds]:
    """Put the runs of each contender together."""
    contenders: dict[tuple[str, int, str], list[Run]] = {}
    for run in runs:
        contenders.setdefault(run[:3], []).append(run)
    return [
        Rounds(*contender, tuple(second for run in own for second in run.seconds), tuple(run.whole for run in own))
        for contender, own in contenders.items()
    ]


def ratios(measured: Sequence[Rounds]) -> dict[str, float]:
    """Return ours over Flower's plain averaging: all rounds together, and whole runs."""
    contenders = {(m.where, m.pods, m.by): m for m in measured}
    result = {}
    for (where, pods, by), ours in contenders.items():
        flower = contenders.get((where, pods, FLOWER))
        if by == FLOWER or flower is None:
            continue
        short = {COMPLETE: "secure", LOSSY: "secure_lossy", POLLED: "polled"}[by]
        result[f"{where}_{pods}_{short}_over_flower"] = sum(ours.seconds) / sum(flower.seconds)
        result[f"{where}_{pods}_{short}_over_flower_whole"] = sum(ours.whole) / sum(flower.whole)
    return result


def _run(where: str, by: str, testbed: CensusTestbed, rounds: int, scratch: Path) -> tuple[list[float], float]:
    with ExitStack() as stack:
        federation = testbed.federation()
        if where == "deployment":
            federation = stack.enter_context(superlink(testbed, plain=by == FLOWER))
        started = time.perf_counter()
        train = _train_plain if by == FLOWER else _train_ours
        seconds = train(by, testbed, rounds, scratch, federation)
        return seconds, time.perf_counter() - started


def _train_ours(by: str, testbed: CensusTestbed, rounds: int, scratch: Path, federation: Federation) -> list[float]:
    threshold = len(testbed.pods) if by == COMPLETE else 0
    config = testbed.write_config(rounds, threshold, secure=by != POLLED)
    run = fit(config, federation, runs=scratch)
    return [entry.seconds for entry in run.results().rounds]


def _train_plain(by: str, testbed: CensusTestbed, rounds: int, scratch: Path, federation: Federation) -> list[float]:
    testbed.write_config(rounds)
    launcher: Launcher = Simulation(f"{_PLAIN}:server_app", f"{_PLAIN}:client_app")
    if isinstance(federation, DeployedFederation):
        launcher = DeployedRun(federation, write_plain_app(scratch))
    try:
        launcher.start(scratch, child_environment(**{TESTBED: str(testbed.directory)}), len(testbed.pods))
        code = launcher.wait(rounds * _MOST_SECONDS_PER_ROUND)
    finally:
        launcher.stop()
    if code or not (scratch / TIMES).exists():
        raise RunFailed(f"the run ended with code {code}")
    return [float(second) for second in json.loads((scratch / TIMES).read_text())]


def _keep_log(scratch: Path) -> Path:
    """Copy the log of a run that failed out of ``scratch``, which is removed, and return where it is now."""
    kept = Path(tempfile.gettempdir(), "fl-app-bench.log")
    for log in scratch.rglob(FLOWER_LOG):
        shutil.copy(log, kept)
    return kept
