"""The fault matrix: which pods fail, at which moment, in which way; what must come of it, and what does."""

import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fl_app.errors import RunFailed
from fl_app.flower.names import HELLO_MESSAGE, MASKED_TRAIN, ROSTER_MESSAGE, UNMASK_MESSAGE
from fl_app.secagg.roster import default_threshold
from strategies import Aggregation, Count, Hooks, Mean, Round, SecureAggregation, Timing
from tests.faults.grid import FaultyGrid, Killed
from tests.support.memory import place_in_memory
from tests.support.pods_in_process import NAMES, SIZE, Pods, exact_mean

COHORTS = (2, 3, 4, 5, 10)
PAIRED = (5, 10)
LONGEST = 20.0  # seconds; a cell takes a fraction of one
SKIPPED, ENDED = "skipped", "ended"
SPOKEN = ("survivors", "unmask")
HELLO, ROSTER, TRAIN, UNMASK = HELLO_MESSAGE, ROSTER_MESSAGE, MASKED_TRAIN, UNMASK_MESSAGE

DEATHS = ("before hello", "after hello", "after roster", "while training", "after its vector", "at unmask")
MIXED = "one while training, one at unmask"
MESSAGES = {"hello": HELLO, "roster": ROSTER, "vector": TRAIN, "unmask": UNMASK}
_BEGINS = MESSAGES | dict(zip((*DEATHS, MIXED), (HELLO, HELLO, ROSTER, TRAIN, TRAIN, UNMASK, TRAIN), strict=True))
DELAYS = ("late", "slow", "reply twice", "request twice", "request twice, second answer first")


@dataclass(frozen=True)
class Cell:
    """Pods at ``who`` (places among ``pods``) fail in the first round: ``fault`` "killed" or a delay, ``when``."""

    pods: int
    fault: str
    when: str
    who: tuple[int, ...]

    @property
    def rounds(self) -> int:
        """Rounds to complete: two, and an evaluation, where what comes after a loss is not seen in another cell."""
        return 2 if self.pods < 10 and len(self.who) == 1 and self.fault in ("killed", "late") else 1

    @property
    def begins(self) -> tuple[str, str | None]:
        """The first message that its fault may change: its type, and the pod; None: whoever is asked first."""
        kind = _BEGINS[self.when]
        return kind, None if kind == UNMASK else NAMES[min(self.who)]  # not everyone is asked to unmask

    @property
    def patience(self) -> float:
        """Seconds for which the server waits, beside the few hundredths without which no reply can come."""
        return 10.0 if self.fault == "slow" else 0.0


@dataclass(frozen=True)
class Outcome:
    """What came of a cell: for each round who is in its sum, or that it was skipped; at last that the run ended."""

    rounds: tuple[tuple[str, ...] | str, ...]
    wrong: tuple[str, ...] = ()
    seconds: float = 0.0


def cells() -> Iterator[Cell]:
    """Yield every cell."""
    for pods in COHORTS:
        sizes = (1, 2) if pods in PAIRED else (1,)
        moments = DEATHS if pods > 3 else DEATHS[:-1]  # complete cohorts are not unmasked
        for when, size in itertools.product(moments, sizes):
            for who in itertools.combinations(range(pods), size):
                yield Cell(pods, "killed", when, who)
        if pods > 3:
            for who in itertools.permutations(range(pods), 2):
                if pods < 10 or 0 in who:
                    yield Cell(pods, "killed", MIXED, who)
        messages = [name for name in MESSAGES if pods > 3 or name != "unmask"]
        for fault, when, place in itertools.product(DELAYS, messages, range(pods)):
            if pods < 10 or fault == "late" or place in (0, 4, 9):  # the harmless ones of ten: first, middle, last
                yield Cell(pods, fault, when, (place,))


def expected(cell: Cell) -> tuple[tuple[str, ...] | str, ...]:
    """Return what PROTOCOL says of a cell; written down without a look at the code it checks."""
    n, k = cell.pods, len(cell.who)
    everyone = NAMES[:n]
    others = tuple(name for place, name in enumerate(everyone) if place not in cell.who)
    survives = n > 3 and n - k >= default_threshold(n)  # the loss of k vectors, or of k answers to an unmask
    harmless = (everyone,) * cell.rounds
    if cell.fault == "killed":
        if cell.when in ("before hello", "after hello"):
            return (ENDED,)
        if cell.when == MIXED:  # after a loss every survivor must open its pair seeds with the lost
            return (SKIPPED, *(others,) * cell.rounds)
        if cell.when == "at unmask" and min(cell.who) >= default_threshold(n):
            return harmless  # a threshold of pods is asked, and nobody else while these answer
        if cell.when in ("after roster", "while training"):
            first = others if survives else SKIPPED
        else:
            first = everyone if survives or n <= 3 else SKIPPED
        return _on(first, others, everyone, cell.rounds, survives)
    if cell.fault == "late" and cell.when in ("hello", "roster"):
        return (ENDED,)
    lost = (cell.fault == "late" and cell.when == "vector") or (
        cell.fault == "request twice, second answer first" and cell.when == "vector"
    )
    if not lost:
        return harmless
    return (others, *harmless[1:]) if survives else (SKIPPED, *harmless)


def _on(
    first: tuple[str, ...] | str,
    others: tuple[str, ...],
    everyone: tuple[str, ...],
    rounds: int,
    survives: bool,
) -> tuple[tuple[str, ...] | str, ...]:
    """Return how a run goes on after the round in which pods died."""
    done: list[tuple[str, ...] | str] = [first]
    if first == everyone and rounds > 1 and not survives:
        done.append(SKIPPED)  # the loss is noticed a round later
    if SKIPPED in done and len(others) < 2:
        return (*done, ENDED)
    while sum(entry != SKIPPED for entry in done) < rounds:
        done.append(others)
    return tuple(done)


def run(cell: Cell) -> Outcome:
    """Run a cell in this process."""
    with tempfile.TemporaryDirectory(dir=place_in_memory()) as directory:
        trial = Trial(cell, Path(directory))
        trial.disturb(cell)
        return trial.outcome()


class Trial:
    """A run in as many rounds as a cell has, and with its time limits; and the account of it."""

    def __init__(self, cell: Cell, directory: Path) -> None:
        self.cell = cell
        self.pods = Pods(directory, NAMES[: cell.pods], grid_class=FaultyGrid)
        self.rounds: list[tuple[str, ...] | str] = []
        self.wrong: list[str] = []
        self.model = np.zeros(SIZE)
        self.started = time.monotonic()

    def disturb(self, cell: Cell) -> None:
        """Let the cell's fault happen from now on."""
        self.cell, self.started = cell, time.monotonic()
        grid = self.pods.grid
        moments = ("while training", "at unmask") if cell.when == MIXED else (cell.when,) * len(cell.who)
        for name, moment in zip((NAMES[place] for place in cell.who), moments, strict=True):
            node = self.pods.nodes[name]
            match cell.fault, moment:
                case "killed", "before hello":
                    grid.dead.add(node)
                case "killed", "while training":
                    self.pods.pods[name].update = _dies
                case "killed", "at unmask":
                    grid.kill_on_request[node] = UNMASK
                case "killed", _:
                    after = {"after hello": HELLO, "after roster": ROSTER, "after its vector": TRAIN}
                    grid.kill_after_reply[node] = after[moment]
                case fault, message:
                    faults = (grid.late, grid.slow, grid.doubled_reply, grid.doubled_request, grid.doubled_reversed)
                    dict(zip(DELAYS, faults, strict=True))[fault][node] = MESSAGES[message]

    def outcome(self) -> Outcome:
        """Run, and check everything that can be checked independently of what is expected."""
        patience = self.cell.patience
        strategy = SecureAggregation(
            FedAvg(fraction_evaluate=1.0),
            self.pods.names,
            train_metrics=[Mean("loss", bound=64.0)],
            evaluate_metrics=[Count("hits", bound=100)] if self.cell.rounds > 1 else [],
            aggregation=Aggregation(),
            timing=Timing(hello=patience + 0.03, rejoin=0.03, grace=patience, unmask=patience + 0.03, poll=0.001),
            hooks=Hooks(on_round=self._took_place, on_skip=lambda number, error: self.rounds.append(SKIPPED)),
        )
        try:
            strategy.start(
                self.pods.grid,
                ArrayRecord({"w": Array(np.zeros(SIZE))}),
                num_rounds=self.cell.rounds,
                timeout=patience + 0.03,
            )
        except RunFailed:
            self.rounds.append(ENDED)
        if (last := strategy.final) and last.aggregate.values["evaluate.hits"].tolist() != [7 * len(last.pods)]:
            self.wrong.append("the final evaluation is wrong")
        self._check_ledgers()
        seconds = time.monotonic() - self.started
        if seconds > LONGEST + 2 * patience:
            self.wrong.append(f"took {seconds:.0f} seconds")
        return Outcome(tuple(self.rounds), tuple(self.wrong), seconds)

    def _took_place(self, done: Round) -> None:
        names = tuple(sorted(done.step.pods))
        self.rounds.append(names)
        aggregate, pods = done.aggregate, self.pods.pods
        for name in names:
            if pods[name].update is _dies:
                self.wrong.append(f"{name} is in the sum of round {done.number}, and died before")
                return
        before, self.model = self.model, done.arrays["w"].numpy()
        if self.model.tolist() != (before + exact_mean(pods, names)).tolist():
            self.wrong.append(f"the sum of round {done.number} is not that of {names}")
        if (aggregate.pods, aggregate.weight) != (len(names), sum(pods[name].examples for name in names)):
            self.wrong.append(f"round {done.number} counts {aggregate.pods} pods and weight {aggregate.weight}")
        if self.cell.rounds > 1 and aggregate.values["evaluate.hits"].tolist() != [7 * len(names)]:
            self.wrong.append(f"round {done.number} counts other hits")

    def _check_ledgers(self) -> None:
        """No pod may have answered a round twice, nor spoken of two lists of survivors."""
        for name, pod in self.pods.pods.items():
            entries = pod.owner.ledger.entries()
            answers = Counter((e.kind, e.round) for e in entries if e.event == "answer")
            begun = Counter((e.kind, e.round, "begun") for e in entries if e.event == "begin")
            lists = Counter(label for label, _ in {(e.detail, e.cohort) for e in entries if e.event in SPOKEN})
            twice = [what for what, times in [*answers.items(), *begun.items(), *lists.items()] if times > 1]
            if twice:
                self.wrong.append(f"{name} answered twice: {twice}")
            counted = sum(isinstance(entry, tuple) and name in entry for entry in self.rounds)
            if sum(kind == "train" for kind, _ in answers) < counted:
                self.wrong.append(f"{name} is in more sums than it has answered for")


def _dies(size: int) -> np.ndarray:
    raise Killed
