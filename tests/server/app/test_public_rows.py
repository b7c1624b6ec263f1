"""The public test file is checked before anything is trained: what is wrong with its labels is told with the file."""

import json
from pathlib import Path
from typing import Any

import pytest

from fl_app.config import RunConfig
from fl_app.federation.kinds import SimulatedFederation
from fl_app.tabular.settings import DataStructure
from server.app.run_directory import RunDirectory
from server.modeller.launch import UnfitData, fit
from tests.support.small_federation import PODS, table


def carry_out(small: SimulatedFederation, path: Path) -> RunDirectory:
    config = RunConfig(pods=PODS, datastructure=DataStructure(target="outcome"), rounds=1, local_epochs=1, batch_size=4)
    return fit(config, small, test_file=path)


def written(path: Path, labels: list[Any]) -> Path:
    frame = table(len(labels), 5)
    frame["outcome"] = labels
    frame.to_csv(path, index=False)
    return path


def steps_entered(small: SimulatedFederation) -> set[str]:
    """Kinds of the steps that the pods have answered."""
    run = json.loads((Path("runs") / "latest" / "results.json").read_text())
    return set(run.get("secure_aggregation", {}).get("steps", {}))


def test_labels_that_no_pod_publishes_end_the_run_before_it_trains(small: SimulatedFederation, tmp_path: Path) -> None:
    path = written(tmp_path / "mine.csv", ["Positive"] * 7 + ["Negative"] * 12 + [None])
    with pytest.raises(UnfitData) as caught:
        carry_out(small, path)
    assert str(path) in str(caught.value)
    for part in ("column 'outcome'", "'Negative' (12 rows), 'Positive' (7 rows)", "the pods publish 'no', 'yes'"):
        assert part in str(caught.value)
    assert not steps_entered(small) & {"statistics", "train"}
    assert "rounds" in json.loads((Path("runs") / "latest" / "results.json").read_text())


def test_a_test_file_without_labels_ends_the_run_before_it_trains(small: SimulatedFederation, tmp_path: Path) -> None:
    table(9, 5).drop(columns="outcome").to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(UnfitData, match=r"mine.csv has no column 'outcome' .* its columns are age, colour"):
        carry_out(small, tmp_path / "mine.csv")
    with pytest.raises(UnfitData, match="all its cells are missing"):
        carry_out(small, written(tmp_path / "empty.csv", [None] * 9))
    assert not steps_entered(small) & {"statistics", "train"}


def test_a_wrong_line_of_the_file_is_told(small: SimulatedFederation, tmp_path: Path) -> None:
    path = written(tmp_path / "mine.csv", ["yes", "no"] * 20)
    path.write_text(path.read_text() + "1,red,yes,4\n")
    with pytest.raises(UnfitData, match=r"mine.csv.*line 42"):
        carry_out(small, path)


def test_of_a_sound_file_every_row_is_scored(small: SimulatedFederation, tmp_path: Path) -> None:
    results = carry_out(small, written(tmp_path / "mine.csv", [" yes", "no"] * 20)).results()
    assert results.test_left_out == {}
    assert results.test is not None
    assert results.test.num_examples == 40
