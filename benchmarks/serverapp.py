"""Peak memory of a real ServerApp: a whole run over real pods, with a large model and with a tiny one.

The ServerApp is found by the run's directory, which stands in the environment of all processes of a run, however it is
launched: it is the largest of them.
"""

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.network import superlink
from benchmarks.testbed import WideTestbed, wide_column
from fl_app.errors import RunFailed, UsageError
from fl_app.federation.kinds import Federation
from server.app.run_directory import RUN_DIRECTORY_VARIABLE
from server.modeller.launch import fit

_ROUNDS = 3
_BESIDE, _OF_A_COLUMN = 502_502, 37_262
"""Parameters of the model of the wide tables: those that are always there, and those of each column."""
_INTERVAL = 0.02
_PROC = Path("/proc")


@dataclass(frozen=True)
class ServerAppPeak:
    """Most bytes that the ServerApp of a run held, beside a run of a tiny model, and that for each parameter more."""

    pods: int
    parameters: int
    bytes: int
    tiny_parameters: int
    tiny_bytes: int
    per_parameter: float


def serverapp_peak(parameters: int, pods: int) -> ServerAppPeak:
    """Train a model of about so many parameters over real pods, and one of a single column, and compare the peaks."""
    if not (_PROC / "self" / "status").exists():
        raise UsageError("peak memory is read from /proc, which this system does not have")
    columns = max(2, round((parameters - _BESIDE) / _OF_A_COLUMN))
    with tempfile.TemporaryDirectory(prefix="fl-app-bench-") as directory:
        testbed = WideTestbed.create(Path(directory, "testbed"), pods, columns)
        with superlink(testbed, plain=False) as federation:
            others = [wide_column(place) for place in range(1, columns)]
            tiny, least = _run(testbed, federation, Path(directory, "tiny"), others)
            size, most = _run(testbed, federation, Path(directory, "large"))
    return ServerAppPeak(pods, size, most, tiny, least, (most - least) / (size - tiny))


def _run(testbed: WideTestbed, federation: Federation, runs: Path, ignore: Sequence[str] = ()) -> tuple[int, int]:
    """Carry out a run whose directory is made in ``runs``; returns its model's parameters and the ServerApp's peak."""
    runs.mkdir()
    with _watched(runs) as peaks:
        run = fit(testbed.config(_ROUNDS, ignore), federation, runs=runs)
    if not peaks:
        raise RunFailed("no process of the run was seen")
    with np.load(run.checkpoint_path) as checkpoint:
        size = sum(checkpoint[name].size for name in checkpoint.files if name.startswith("array."))
    return size, max(peaks.values())


@contextmanager
def _watched(runs: Path) -> Iterator[dict[int, int]]:
    """Yield the peak in bytes of each process whose run's directory lies in ``runs``, kept up to date by a thread."""
    peaks, over = dict[int, int](), threading.Event()
    marker = f"{RUN_DIRECTORY_VARIABLE}={runs.resolve()}/".encode()

    def look() -> None:
        while not over.wait(_INTERVAL):
            for process in _PROC.glob("[0-9]*"):
                with suppress(OSError, IndexError):
                    if marker in (process / "environ").read_bytes():
                        (line,) = (x for x in (process / "status").read_text().splitlines() if x.startswith("VmHWM:"))
                        peaks[int(process.name)] = int(line.split()[1]) * 1024

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()
