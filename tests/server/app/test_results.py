"""results.json and config.json: typed, described by a published schema, and read whichever version wrote them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError as Refused

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.flower.names import MASKED_TRAIN
from fl_app.tabular.settings import DataStructure
from scripts.results_schema import SCHEMA, schema
from server.app.results import AggregationResult, Discovery, Loss, Results, RoundResult, RunRequest, StepCost
from server.app.run_directory import RunDirectory
from server.modeller.launch import FitFailed, carry_out, fit
from server.modeller.resume import resume
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import PODS, isolate, small_federation


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedFederation:
    isolate(monkeypatch, tmp_path)
    return small_federation(tmp_path)


def settings() -> RunConfig:
    structure = DataStructure(target="outcome")
    return RunConfig(pods=PODS, datastructure=structure, rounds=3, local_epochs=1, batch_size=64)


def validator_of(schema: Any) -> Any:
    from jsonschema import Draft202012Validator  # takes a second to import, which every collection of tests would pay

    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def strict(node: Any) -> Any:
    """Return a schema that allows only the keys it describes."""
    if isinstance(node, list):
        return [strict(part) for part in node]
    if not isinstance(node, dict):
        return node
    closed = {name: strict(part) for name, part in node.items()}
    return {**closed, "additionalProperties": False} if "properties" in node else closed


def check(run: RunDirectory) -> Mapping[str, Any]:
    """Check the file against the schema, that every key in it is described, and that it survives reading."""
    document: dict[str, Any] = json.loads((run.path / "results.json").read_text("utf-8"))
    validator_of(json.loads(SCHEMA.read_text("utf-8"))).validate(document)
    validator_of(strict(json.loads(SCHEMA.read_text("utf-8")))).validate(document)
    assert run.results().document() == document
    config = json.loads((run.path / "config.json").read_text("utf-8"))
    assert run.request().document() == config
    assert config.keys() <= {field.alias or name for name, field in RunRequest.model_fields.items()}
    return document


def test_the_published_schema_is_current() -> None:
    assert SCHEMA.read_text("utf-8") == schema(), "run `make schema`"
    validator_of(json.loads(schema()))


def test_a_run_that_failed_and_was_resumed_fits_the_schema(
    small: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = InProcessGrid.push_messages, list[str]()

    def die_in_the_third_round(grid: InProcessGrid, messages: Any) -> Any:
        messages = list(messages)
        sent.extend(m.metadata.message_type for m in messages if m.metadata.message_type == MASKED_TRAIN)
        if len(sent) > 2 * len(PODS):
            raise RuntimeError("the connection broke")
        return send(grid, messages)

    monkeypatch.setattr(InProcessGrid, "push_messages", die_in_the_third_round)
    with pytest.raises(FitFailed) as failed:
        fit(settings(), small)
    document = check(failed.value.run)
    assert (document["status"], len(document["rounds"]), document["step"]["name"]) == ("failed", 2, "train")
    monkeypatch.setattr(InProcessGrid, "push_messages", send)
    document = check(resume(failed.value.run))
    assert (document["status"], len(document["rounds"]), document["resumed"][0]["after"]) == ("completed", 3, 2)
    assert "step" not in document


def test_a_completed_run_fits_the_schema(small: SimulatedFederation) -> None:
    document = check(fit(settings(), small))
    assert document["status"] == "completed"
    assert {*document["rounds"][-1]} >= {"auc", "num_examples", "weight", "lost"}


def test_a_refused_cohort_fits_the_schema(small: SimulatedFederation) -> None:
    config = settings().model_copy(update={"secure": False})
    with pytest.raises(FitFailed) as failed:
        fit(config, small)
    assert check(failed.value.run)["status"] == "failed"


def test_a_discovery_fits_the_schema(small: SimulatedFederation, tmp_path: Path) -> None:
    discovery = Discovery(names=PODS, timeout=5.0, required=False)
    run = RunDirectory.create(tmp_path / "runs", None, RunRequest(look=discovery))
    carry_out(run, small, 60.0)
    document = check(run)
    assert [pod["schema"]["name"] for pod in document["pods"]] == list(PODS)


def test_the_schema_tells_a_wrong_file() -> None:
    validator = validator_of(json.loads(schema()))
    right = {"run_id": "r", "status": "failed", "rounds": []}
    validator.validate(right)
    for wrong in ({}, {**right, "status": "fine"}, {**right, "rounds": 3}):
        assert not validator.is_valid(wrong)


def test_what_another_version_wrote_is_read_and_written_back() -> None:
    newer = {
        "run_id": "r",
        "status": "running",
        "rounds": [{"round": 1, "auc": None, "ndcg": 0.5}],
        "secure_aggregation": {"steps": {"train": {"joules": 3}}},
        "colour": "blue",
    }
    results = Results.read(json.dumps(newer))
    assert results.document() == newer
    assert results.changed(status="failed").document() == {**newer, "status": "failed"}
    older = Results.read('{"run_id": "r", "rounds": [{"round": 1, "lost": {"a": "it timed out"}}]}')
    assert older.rounds[0].lost == {"a": Loss(why="it timed out")}
    assert older.rounds[0].lost["a"].text == "it timed out"


def test_an_unevaluated_round_differs_from_one_whose_metric_no_row_defines() -> None:
    assert not RoundResult(round=1).evaluated
    assert RoundResult(round=1, auc=None).evaluated
    assert RoundResult(round=1, auc=None).document() == {"round": 1, "auc": None}


def test_results_are_not_changed_in_place_and_changes_are_checked() -> None:
    results = Results(run_id="r", status="running")
    with pytest.raises(Refused):
        results.status = "failed"  # type: ignore[misc]
    with pytest.raises(Refused):
        results.changed(status="fine")
    with pytest.raises(Refused):
        RoundResult(round=1, auc=float("nan"))
    assert results.changed(seconds=1.0).without("status").document() == {"run_id": "r", "seconds": 1.0}
    assert results.document() == {"run_id": "r", "status": "running"}


def test_costs_add_up() -> None:
    cost = StepCost(messages=1, bytes_out=2, bytes_in=3, seconds=(0.5,))
    assert cost.plus(cost) == StepCost(messages=2, bytes_out=4, bytes_in=6, seconds=(0.5, 0.5))
    total = AggregationResult(steps={"train": cost, "evaluate": cost})
    assert (total.bytes_out, total.bytes_in) == (4, 6)


@pytest.mark.parametrize("text", ["[]", "{", '{"rounds": 3}', "\ufeff{}"])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, text: str) -> None:
    run = RunDirectory.create(tmp_path, settings())
    (run.path / "results.json").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=r"results\.json: cannot be read"):
        run.results()
