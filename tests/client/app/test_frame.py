"""What a private series may not go on without: the same rows, each for training or held out as before."""

import os
from pathlib import Path

import pytest

from client.app.main import run_cost
from client.app.pod_table import PodTable
from fl_app.config import RunConfig
from fl_app.errors import DataError
from fl_app.pod.datasource import CSVSource
from fl_app.pod.definition import Pod, PodDataConfig
from fl_app.pod.policy import Policy
from fl_app.privacy.cost import budget
from fl_app.privacy.settings import Privacy
from fl_app.tabular.settings import DataStructure

TABLE = "age,outcome\n" + "".join(f"{30 + row % 40},{row % 2}\n" for row in range(60))


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    (tmp_path / "a.csv").write_text(TABLE)
    return Pod(name="a", datasource=CSVSource(tmp_path / "a.csv"))


def frame(pod: Pod, directory: Path | None = None) -> str:
    return PodTable.of(pod).frame(directory)


def test_the_same_table_has_the_same_frame(pod: Pod, tmp_path: Path) -> None:
    before = frame(pod)
    assert len(before) == 64
    assert frame(pod, tmp_path / "kept") == before
    os.utime(pod.datasource.path)
    assert frame(pod, tmp_path / "kept") == before
    assert frame(pod.model_copy(update={"policy": Policy(minimum_cohort=2, epsilon=1.0)})) == before


def test_what_may_move_a_row_to_another_part_changes_the_frame(pod: Pod, tmp_path: Path) -> None:
    others = [
        pod.model_copy(update={"name": "b"}),
        pod.model_copy(update={"data_config": PodDataConfig(validation_percent=11)}),
        pod.model_copy(update={"data_config": PodDataConfig(test_percent=11)}),
        pod.model_copy(update={"datasource": CSVSource(tmp_path / "a.csv", read_options={"skiprows": 1})}),
    ]
    frames = [frame(pod), *map(frame, others)]
    for text in (TABLE.replace("30,0\n", "31,0\n", 1), TABLE + "40,1\n"):
        pod.datasource.path.write_text(text)
        frames.append(frame(pod))
    assert len(set(frames)) == len(frames) == 7


def test_a_run_costs_what_its_plan_says_and_nothing_is_planned_without_privacy() -> None:
    settings = {"pods": ("a", "b"), "datastructure": DataStructure(target="y"), "rounds": 7, "local_epochs": 1}
    assert run_cost(RunConfig(**settings).to_json()) is None  # type: ignore[arg-type]
    private = RunConfig(**settings, privacy=Privacy(epsilon=2.0))  # type: ignore[arg-type]
    cost = run_cost(private.to_json())
    assert cost is not None
    assert cost == private.plan.cost  # type: ignore[union-attr]
    assert cost.total <= budget(2.0, 1e-5)
    with pytest.raises(DataError):
        run_cost("{}")
