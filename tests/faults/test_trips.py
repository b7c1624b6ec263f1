"""What a round costs: one message to each pod and back, and one small trip more, or two after a loss."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAvg

from fl_app.flower.names import UNMASK_MESSAGE
from fl_app.secagg.roster import default_threshold
from strategies import Aggregation, Count, Mean, SecureAggregation, Timing
from tests.faults.grid import FaultyGrid, Killed
from tests.support.pods_in_process import NAMES, SIZE, Pods

TERMS = Aggregation()


def trips(directory: Path, count: int, *, lose: bool, evaluate: bool = False) -> dict[str, int]:
    """Return how many messages each kind of trip took."""
    pods = Pods(directory, NAMES[:count], grid_class=FaultyGrid)
    if lose:

        def dies(size: int) -> np.ndarray:
            raise Killed

        pods.pods[NAMES[0]].update = dies
    strategy = SecureAggregation(
        FedAvg(),
        pods.names,
        train_metrics=[Mean("loss", bound=64.0)],
        evaluate_metrics=[Count("hits", bound=100)] if evaluate else [],
        aggregation=TERMS,
        timing=Timing(grace=0.0, poll=0.001),
    )
    strategy.start(pods.grid, ArrayRecord({"w": Array(np.zeros(SIZE))}), num_rounds=1)
    return {kind: cost.messages for kind, cost in strategy.traffic().items()}


@pytest.mark.parametrize("count", [2, 3])
def test_a_complete_cohort_needs_one_trip(tmp_path: Path, count: int) -> None:
    assert trips(tmp_path, count, lose=False) == {"train": count}


@pytest.mark.parametrize("count", [4, 10])
def test_a_round_without_losses_costs_one_small_extra_trip(tmp_path: Path, count: int) -> None:
    assert trips(tmp_path, count, lose=False) == {"train": count, "unmask": default_threshold(count)}


@pytest.mark.parametrize("count", [4, 10])
def test_all_pods_are_asked_to_unmask_the_last_step_and_forget_the_session(tmp_path: Path, count: int) -> None:
    found = trips(tmp_path, count, lose=False, evaluate=True)
    assert found == {"train": count, "evaluate": count, "unmask": default_threshold(count) + count}


@pytest.mark.parametrize("count", [4, 10])
def test_a_round_with_losses_costs_two_small_extra_trips(tmp_path: Path, count: int) -> None:
    assert trips(tmp_path, count, lose=True) == {"train": count, "consistency": count - 1, "unmask": count - 1}


def test_the_extra_trips_are_small(tmp_path: Path) -> None:
    pods = Pods(tmp_path, NAMES[:4])
    strategy = SecureAggregation(FedAvg(), pods.names, aggregation=TERMS, timing=Timing(grace=0.0, poll=0.001))
    strategy.start(pods.grid, ArrayRecord({"w": Array(np.zeros(100_000))}), num_rounds=1)
    traffic = strategy.traffic()
    assert traffic["train"].bytes_in > 3_000_000
    assert traffic["unmask"].bytes_in + traffic["unmask"].bytes_out < 20_000


# -- refusals are not answers ---------------------------------------------------------------------------------------


def test_a_pod_that_refuses_to_unmask_does_not_hurry_the_others(tmp_path: Path) -> None:
    """Three of four suffice; a restarted pod, which refuses at once, is not one of the three."""
    pods = Pods(tmp_path, NAMES[:4], grid_class=FaultyGrid)
    grid = pods.grid
    grid.restarted[pods.nodes[NAMES[0]]] = grid.slow[pods.nodes[NAMES[3]]] = UNMASK_MESSAGE
    strategy = SecureAggregation(FedAvg(), pods.names, aggregation=TERMS, timing=Timing(poll=0.001))
    result = strategy.start(grid, ArrayRecord({"w": Array(np.zeros(SIZE))}), num_rounds=1)
    assert list(result.train_metrics_clientapp) == [1]
