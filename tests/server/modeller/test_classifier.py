import asyncio
import json
import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fl_app
from fl_app import (
    DataStructure,
    FederatedAveraging,
    Optimizer,
    PyTorchTabularClassifier,
    Schema,
    SecureAggregator,
    combine_pod_schemas,
    get_pod_schema,
    setup_loggers,
)
from fl_app.errors import DataError, RunFailed, UsageError
from fl_app.federation.kinds import SimulatedFederation
from fl_app.tabular.schema import Column
from server.app.schema_agreement import SchemaChanged, check_agreement
from tests.support.small_federation import PODS, small_federation, table, write_pod

STRUCTURE = DataStructure(target="outcome")
ADAM = Optimizer(name="AdamW", params={"lr": 0.01})


def classifier(schema: Schema, epochs: int = 2) -> PyTorchTabularClassifier:
    return PyTorchTabularClassifier(STRUCTURE, schema, epochs=epochs, batch_size=32, optimizer=ADAM)


def test_schemas_come_from_the_pods_and_no_run_is_left_behind(small: SimulatedFederation, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    one = get_pod_schema("south")
    both = combine_pod_schemas(PODS, small)
    assert one.name == "south"
    assert both.names == ("age", "colour", "outcome")
    assert both.column("colour").values == ("blue", "green", "red")
    left = {path.name for path in set(tmp_path.rglob("*")) - set(before)}
    assert left == {"ledger.db"}  # the pods' own record that somebody looked


def test_the_tutorials_story(small: SimulatedFederation, tmp_path: Path) -> None:
    model = classifier(combine_pod_schemas(PODS))
    results = model.fit(pod_identifiers=PODS, aggregator=SecureAggregator())
    assert [entry["round"] for entry in results] == [1, 2]
    names = {"accuracy", "auc", "f1", "recall", "precision", "brier", "loss", "num_examples", "train_loss", "test_auc"}
    assert names <= results[-1].keys()
    assert all(isinstance(value, int | float) for entry in results for value in entry.values())
    assert results[-1]["num_examples"] == 120
    assert results[-1]["auc"] > 0.8
    assert model.run_directory is not None
    assert json.loads((model.run_directory / "results.json").read_text()) == model.results
    assert model.results["secure_aggregation"]["enabled"]

    public = table(300, 9)
    scored = model.evaluate(public)
    assert scored["auc"] == pytest.approx(results[-1]["test_auc"], abs=1e-9)
    for suffix in (".pt", ".safetensors"):
        model.serialize(tmp_path / f"model{suffix}")
        again = PyTorchTabularClassifier.load(tmp_path / f"model{suffix}")
        pd.testing.assert_frame_equal(again.predict("public.csv"), model.predict(public))
        assert (again.epochs, again.steps, again.batch_size, again.optimizer) == (2, None, 32, ADAM)
        other = classifier(model.schema)
        other.deserialize(tmp_path / f"model{suffix}")
        assert other.evaluate("public.csv") == pytest.approx(scored)


def test_predictions_are_probabilities_of_the_classes_with_the_rows_index(small: SimulatedFederation) -> None:
    model = classifier(combine_pod_schemas(PODS), epochs=1)
    model.fit(PODS)
    rows = table(7, 3).drop(columns="outcome").set_index(np.arange(50, 57))
    scores = model.predict(rows)
    assert list(scores.columns) == ["no", "yes"]
    assert list(scores.index) == list(range(50, 57))
    assert np.allclose(scores.sum(axis=1), 1)


def test_it_works_inside_a_running_event_loop(small: SimulatedFederation) -> None:
    async def notebook() -> list[dict[str, float]]:
        return classifier(combine_pod_schemas(PODS), epochs=1).fit(PODS)

    assert len(asyncio.run(notebook())) == 1


def test_steps_are_cut_into_rounds(small: SimulatedFederation) -> None:
    model = PyTorchTabularClassifier(STRUCTURE, combine_pod_schemas(PODS), steps=6, batch_size=32)
    with pytest.raises(UsageError, match="steps=6 is not a multiple of steps_between_parameter_updates=4"):
        model.fit(PODS, steps_between_parameter_updates=4)
    assert len(model.fit(PODS, steps_between_parameter_updates=3)) == 2
    assert model.results["rounds"][0]["weight"] == 960
    assert len(model.fit(PODS)) == 1


def test_a_fit_can_be_repeated(small: SimulatedFederation) -> None:
    model = classifier(combine_pod_schemas(PODS), epochs=1)
    first, second = model.fit(PODS)[0], model.fit(PODS)[0]
    assert first["loss"] == pytest.approx(second["loss"], abs=1e-6)


def test_pods_that_publish_something_else_now_stop_the_run(small: SimulatedFederation, tmp_path: Path) -> None:
    model = classifier(combine_pod_schemas(PODS))
    more = table(600, 1)
    more.loc[:40, "colour"] = "violet"
    more.to_csv(tmp_path / "south.csv", index=False)
    with pytest.raises(DataError, match="colour: the pods now publish violet too"):
        model.fit(PODS)
    assert model.results == {}
    classifier(combine_pod_schemas(PODS), epochs=1).fit(PODS)


def test_a_pod_that_is_not_approved_is_named(small: SimulatedFederation, tmp_path: Path) -> None:
    schema = combine_pod_schemas(PODS)
    write_pod(tmp_path, "south", approved=("east",))
    with pytest.raises(RunFailed, match="pod 'south' does not approve pod 'north'"):
        classifier(schema).fit(PODS)


def test_plain_averaging_is_refused_unless_the_owners_allow_it(small: SimulatedFederation, tmp_path: Path) -> None:
    model = classifier(combine_pod_schemas(PODS), epochs=1)
    with pytest.raises(RunFailed, match="takes part in secure aggregation only"):
        model.fit(PODS, aggregator=FederatedAveraging())
    small_federation(tmp_path, secure_only=False)
    plain = model.fit(PODS, aggregator=FederatedAveraging())
    secure = model.fit(PODS)
    assert plain[0]["loss"] == pytest.approx(secure[0]["loss"], abs=1e-5)


def test_a_pod_that_is_not_there_is_named(small: SimulatedFederation) -> None:
    message = "the federation 'small' has no pod 'east'; its pods are north, south"
    with pytest.raises(UsageError, match=message):
        combine_pod_schemas(["north", "east"])
    with pytest.raises(UsageError, match=message):
        classifier(combine_pod_schemas(PODS)).fit(["north", "east"])
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 1, "steps": 1}, "one of epochs and steps, not both"),
        ({"epochs": 0}, "1 or more"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PyTorchTabularClassifier(STRUCTURE, tiny_schema(), **settings)


def test_what_cannot_be_is_said_before_a_run_begins(small: SimulatedFederation, tmp_path: Path) -> None:
    model = classifier(tiny_schema())
    with pytest.raises(UsageError, match="call fit, or deserialize"):
        model.predict(table(3, 0))
    with pytest.raises(UsageError, match="table of pod 'south' is 'south', but it names none"):
        PyTorchTabularClassifier(
            DataStructure(target="outcome", table={"north": "north"}), tiny_schema(), epochs=1
        ).fit(PODS)
    with pytest.raises(UsageError, match="should have at least 2 items"):
        model.fit(["north"])
    with pytest.raises(UsageError, match="no such model file"):
        model.deserialize(tmp_path / "model.pt")
    with pytest.raises(DataError, match="has no column 'weight'"):
        PyTorchTabularClassifier(DataStructure(target="weight"), tiny_schema(), epochs=1)
    with pytest.raises(UsageError, match="SecureAggregator"):
        SecureAggregator(prime_q=97)
    assert not (tmp_path / "runs").exists()


def test_a_model_of_another_target_is_not_taken_over(small: SimulatedFederation, tmp_path: Path) -> None:
    model = classifier(combine_pod_schemas(PODS), epochs=1)
    model.fit(PODS)
    model.serialize(tmp_path / "model.pt")
    colour = Column(name="colour", kind="categorical", values=("blue", "red"))
    other = PyTorchTabularClassifier(
        DataStructure(target="colour"), Schema(name="x", columns=(tiny_schema().column("age"), colour)), epochs=1
    )
    with pytest.raises(DataError, match="predicts 'outcome', not 'colour'"):
        other.deserialize(tmp_path / "model.pt")


def tiny_schema() -> Schema:
    age = Column(name="age", kind="continuous", low=0.0, high=128.0)
    return Schema(name="x", columns=(age, Column(name="outcome", kind="categorical", values=("no", "yes"))))


def test_agreement_looks_at_the_columns_that_are_used() -> None:
    schema, extra = tiny_schema(), Column(name="extra", kind="categorical", values=("a", "b"))
    wider = Schema(name="y", columns=(*schema.columns, extra))
    check_agreement(schema, wider, DataStructure(target="outcome", ignore_cols=("extra",)))
    for given, now, said in (
        (schema, wider, "extra: the pods publish it"),
        (wider, schema, "extra: the pods do not publish it"),
    ):
        with pytest.raises(SchemaChanged, match=said):
            check_agreement(given, now, STRUCTURE)
    bounded = Schema(name="x", columns=(schema.columns[0].model_copy(update={"high": 64.0}), schema.columns[1]))
    with pytest.raises(SchemaChanged, match=r"age: 0..128 in the schema given, 0..64 now"):
        check_agreement(schema, bounded, STRUCTURE)


def test_loggers_are_set_up_once_and_progress_goes_through_them(
    small: SimulatedFederation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a program of one's own: pytest has handlers there
    own, progress = logging.getLogger("a-modellers-own"), logging.getLogger("fl_app")
    try:
        assert setup_loggers([own]) == setup_loggers([own]) == [own]
        assert len(own.handlers) == len(progress.handlers) == 1
        classifier(combine_pod_schemas(PODS), epochs=1).fit(PODS)
        lines = [line for line in capsys.readouterr().err.splitlines() if " INFO " in line]
        assert any("asking for schemas: north, south" in line for line in lines)
        assert sum("round   1/1" in line for line in lines) == 1
    finally:
        for logger in (own, progress):
            logger.handlers = []
            logger.setLevel(logging.NOTSET)


def test_without_loggers_progress_goes_to_standard_error(
    small: SimulatedFederation, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier(combine_pod_schemas(PODS), epochs=1).fit(PODS)
    out, err = capsys.readouterr()
    assert out == ""
    assert "round   1/1" in err


def test_what_no_row_defines_is_nan(small: SimulatedFederation, tmp_path: Path) -> None:
    for name in PODS:
        path = write_pod(tmp_path, name)
        path.write_text(path.read_text().replace("minimum_rows_per_class: 1", "minimum_rows_per_class: 500"))
    results = classifier(combine_pod_schemas(PODS), epochs=1).fit(PODS)
    assert math.isnan(results[0]["auc"])
    assert results[0]["num_examples"] == 0


def test_the_package_offers_its_names_lazily() -> None:
    assert all(hasattr(fl_app, name) for name in fl_app.__all__)
    assert set(fl_app.__all__) <= set(dir(fl_app))
    with pytest.raises(AttributeError, match="no attribute 'Hub'"):
        fl_app.Hub  # noqa: B018
