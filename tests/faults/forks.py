"""The cells of the matrix, each in a fork of a run that was without its fault so far.

::

    python -m tests.faults.forks
"""

import gc
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

from tests.faults.matrix import HELLO, Cell, Outcome, Trial, cells, expected, run
from tests.support.memory import place_in_memory


def run_all(chosen: Iterable[Cell], jobs: int = 2) -> list[tuple[Cell, Outcome]]:
    """Run cells in a process of their own, and return them with their outcomes."""
    listed = list(chosen)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        if not hasattr(os, "fork"):
            return list(zip(listed, pool.map(run, listed), strict=True))
        return pool.submit(_run_in_forks, listed, jobs).result()


def _run_in_forks(listed: list[Cell], jobs: int) -> list[tuple[Cell, Outcome]]:
    # What fails from the beginning on has nothing to share. These come first, and import for the rest what is imported
    # late.
    outcomes = {cell: run(cell) for cell in listed if cell.begins[0] == HELLO}
    alike: dict[tuple[int, int, float], list[Cell]] = {}
    for cell in listed:
        if cell not in outcomes:
            alike.setdefault((cell.pods, cell.rounds, cell.patience), []).append(cell)
    gc.collect()
    gc.freeze()
    clock = _Clock()
    with mock.patch.object(time, "monotonic", clock):
        for group in alike.values():
            with tempfile.TemporaryDirectory(dir=place_in_memory()) as directory:
                outcomes |= zip(group, _Trunk(group, Path(directory), jobs, clock).outcomes(), strict=True)
    return [(cell, outcomes[cell]) for cell in listed]


class _Clock:
    """`time.monotonic`, but for the time for which it was stopped."""

    def __init__(self) -> None:
        self._clock, self._stood = time.monotonic, 0.0

    def __call__(self) -> float:
        return self._clock() - self._stood

    @contextmanager
    def stopped(self) -> Iterator[None]:
        now = self()
        try:
            yield
        finally:
            self._stood += self() - now


class _Trunk:
    """A run without a fault that forks for each cell before the first message that its fault may change.

    What a fork does from there on is what a run of its own would. It gets a copy of the pods' ledgers, which lie in the
    working directory, and for those who wait for replies no time goes by meanwhile.
    """

    def __init__(self, group: Sequence[Cell], directory: Path, jobs: int, clock: _Clock) -> None:
        self._group, self._directory, self._jobs, self._clock = group, directory, jobs, clock
        self._left, self._running = dict(enumerate(group)), 0
        self._place: int | None = None
        """In a fork, the place of its cell in the group."""
        os.chdir(tempfile.mkdtemp(dir=directory))
        self._trial = Trial(group[0], Path())
        self._trial.pods.grid.before = self._branch

    def outcomes(self) -> list[Outcome]:
        """Run, and return what became of each cell."""
        try:
            outcome = self._trial.outcome()
        except BaseException as error:
            if self._place is None:
                raise
            outcome = Outcome((), (repr(error),))
        if self._place is not None:
            self._told(self._place).write_bytes(pickle.dumps(outcome))
            shutil.rmtree(Path.cwd())
            os._exit(0)
        self._wait_until(0)
        os.chdir(self._directory.parent)
        told = (self._told(place).read_bytes() for place in range(len(self._group)))
        return [pickle.loads(outcome) for outcome in told]  # noqa: S301 - of our own forks

    def _branch(self, kind: str, node: int) -> None:
        """Fork for the cells whose faults begin with this message."""
        names = {None, *(name for name, at in self._trial.pods.nodes.items() if at == node)}
        for place, cell in list(self._left.items()):
            if cell.begins[0] == kind and cell.begins[1] in names:
                del self._left[place]
                ledgers = self._directory / f"pods of {place}"
                with self._clock.stopped():
                    shutil.copytree(Path.cwd(), ledgers)
                    self._wait_until(self._jobs - 1)
                    forked = os.fork() == 0
                if forked:
                    self._place, self._trial.pods.grid.before = place, lambda kind, node: None
                    os.chdir(ledgers)
                    self._trial.disturb(cell)
                    return
                self._running += 1

    def _wait_until(self, running: int) -> None:
        while self._running > running:
            os.wait()
            self._running -= 1

    def _told(self, place: int) -> Path:
        return self._directory / f"outcome of {place}"


def main() -> None:
    """Run the whole matrix and print the counts."""
    started = time.monotonic()
    results = run_all(cells())
    bad = [(cell, outcome) for cell, outcome in results if outcome.wrong or outcome.rounds != expected(cell)]
    for cell, outcome in bad:
        print(cell, outcome, "expected", expected(cell))
    counts = Counter((cell.pods, cell.fault) for cell, _ in results)
    for (pods, fault), count in sorted(counts.items()):
        print(f"{pods:3} pods  {fault:40} {count:4} cells")
    print(f"{len(results)} cells, {len(bad)} wrong, in {time.monotonic() - started:.0f} s")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
