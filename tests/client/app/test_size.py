"""How many rows a pod has is told by the steps of a short ladder only."""

from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from client.app.main import check_size, statistics
from fl_app.config import RunConfig
from fl_app.flower import names
from fl_app.pod.pod_file import load_pod
from fl_app.secagg.errors import ValueRefused
from tests.support.small_app import being_server

LADDER = (4, 8, 64)


@pytest.fixture
def pod_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod under a ladder that its few rows reach."""
    for module in ("fl_app.flower.protocol_settings", "client.app.main"):
        monkeypatch.setattr(f"{module}.MAX_WEIGHTS", LADDER)
    file = tmp_path / "a.yaml"
    file.write_text("name: a\ndatasource: CSVSource\ndatasource_args: {path: a.csv}\n")
    return file


def rows(pod_file: Path, count: int) -> None:
    pod_file.with_suffix(".csv").write_text("x,y\n" + "1,a\n2,b\n" * (count // 2) + "3,a\n" * (count % 2))


def config(max_weight: int) -> RunConfig:
    return RunConfig(pods=["a", "b"], datastructure={"target": "y"}, local_epochs=1, max_weight=max_weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "told"), [(5, 8), (8, 8), (9, 64), (64, 64)])
def test_a_pod_with_more_rows_tells_which_weight_would_do_and_no_more(pod_file: Path, count: int, told: int) -> None:
    rows(pod_file, count)
    with pytest.raises(ValueRefused) as refused:
        check_size(load_pod(pod_file), config(4))
    assert str(refused.value) == f"pod 'a' has more than 4 rows, the run's max_weight; max_weight {told} would do"
    check_size(load_pod(pod_file), config(told))


def test_no_weight_does_for_more_rows_than_the_ladder_has(pod_file: Path) -> None:
    rows(pod_file, 65)
    with pytest.raises(ValueRefused, match="64 rows, the run's max_weight; no max_weight would do"):
        check_size(load_pod(pod_file), config(64))


def test_it_is_asked_before_anything_is_summed(pod_file: Path) -> None:
    rows(pod_file, 9)
    request = ConfigRecord({names.RUN: config(8).to_json(), names.SCHEMA: "", names.DATASTRUCTURE: ""})
    with being_server(1):
        message = Message(RecordDict({names.CONFIG_RECORD: request}), dst_node_id=1, message_type="query.masked")
    context = Context(1, 1, {"pod": str(pod_file)}, RecordDict(), {})
    with pytest.raises(ValueRefused, match="max_weight 64 would do"):
        statistics(message, context)
