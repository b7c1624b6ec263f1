"""What the study trains in one process is what a run trains whose messages are masked."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from benchmarks.joining.federation import create_federation, run, tables_of
from benchmarks.joining.rows import CATEGORICAL, Row, parts_of, table_of
from benchmarks.privacy.cases import BOUNDS
from benchmarks.privacy.private_run import trained
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.privacy.settings import Privacy
from fl_app.secagg.noise import RandomBytes
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure

PODS = 3


class Streams:
    """Noise that can be drawn again: each draw has the next stream, in the order in which pods are asked."""

    def __init__(self) -> None:
        self._drawn = 0

    def __call__(self) -> RandomBytes:
        self._drawn += 1
        return np.random.default_rng(self._drawn).bytes


def test_a_run_in_one_process_is_to_the_bit_one_that_masks_its_messages(tmp_path: Path) -> None:
    row = Row("iid", PODS, rows=600)
    table = table_of(row)
    federation = create_federation(tmp_path, [table.iloc[part] for part in parts_of(row, table)], CATEGORICAL, BOUNDS)
    config = RunConfig(
        pods=tuple(f"pod-{place}" for place in range(1, PODS + 1)),
        datastructure=DataStructure(target="TARGET"),
        architecture="linear",
        rounds=3,
        local_epochs=1,
        privacy=Privacy(epsilon=8.0),
        threshold=PODS,
    )
    with mock.patch("fl_app.secagg.noise.fresh_keystream", Streams()):
        results, path = run(config, federation, tmp_path / "runs")
    # The study's pods ask for two in a sum, and so rely on their own noise alone.
    with mock.patch("fl_app.secagg.noise.fresh_keystream", Streams()):
        model, reported = trained(config, tables_of(federation), honest=1)
    masked = TrainedModel.load(path)
    assert model.encoding == masked.encoding
    assert model.state.keys() == masked.state.keys()
    for name, array in model.state.items():
        assert array.tobytes() == masked.state[name].tobytes()
        assert array.any()
    assert reported["auc"] == results["rounds"][-1]["auc"]
    other, _ = trained(config, tables_of(federation), honest=1)
    assert any((other.state[name] != array).any() for name, array in model.state.items())


def test_only_private_runs_are_carried_out() -> None:
    config = RunConfig(pods=("a", "b"), datastructure=DataStructure(target="TARGET"), local_epochs=1)
    with pytest.raises(UsageError, match="without privacy"):
        trained(config, [], honest=1)
