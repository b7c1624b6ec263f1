"""The peak of a ServerApp: that the run's largest process is seen, and what the wide tables' model has."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import serverapp, testbed
from benchmarks.serverapp import _watched
from benchmarks.testbed import WideTestbed, wide_column
from fl_app.tabular.encoding import Encoding, statistic_sums
from fl_app.tabular.network import build_network, state_of
from fl_app.tabular.schema import schema_of
from server.app.run_directory import RUN_DIRECTORY_VARIABLE

_HOLDER = "import sys; held = bytearray(60 << 20); print('held', flush=True); sys.stdin.read()"


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_the_wide_tables_model_has_as_many_parameters_as_is_reckoned(tmp_path: Path, columns: int) -> None:
    made = WideTestbed.create(tmp_path / "testbed", 2, 3)
    config = made.config(1, [wide_column(place) for place in range(columns, 3)])
    rows = pd.read_csv(made.directory / "pod-1.csv")
    assert len(rows) == testbed._VALUES * testbed._TIMES
    schema = schema_of(rows, name="pod-1")
    encoding = Encoding.of(schema, config.datastructure, statistic_sums(rows, schema, config.datastructure))
    arrays = state_of(build_network(encoding, config.architecture)).values()
    assert sum(array.size for array in arrays) == serverapp._BESIDE + columns * serverapp._OF_A_COLUMN


def test_processes_of_a_run_are_watched_and_no_others(tmp_path: Path) -> None:
    with _watched(tmp_path) as peaks:
        started = []
        for runs in (tmp_path, tmp_path.parent):
            environment = {**os.environ, RUN_DIRECTORY_VARIABLE: str(runs / "run-1")}
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", _HOLDER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
        try:
            for process in started:
                assert process.stdout is not None
                assert process.stdout.readline() == b"held\n"
            deadline = time.monotonic() + 60
            while max(peaks.values(), default=0) < 60 << 20 and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            for process in started:
                process.communicate(timeout=60)
    assert set(peaks) == {started[0].pid}
    assert peaks[started[0].pid] > 60 << 20
