"""`PyTorchTabularRegressor`: the classifier's ways, for a target that is a number."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from fl_app import (
    DataStructure,
    EarlyStopping,
    Optimizer,
    PyTorchTabularClassifier,
    PyTorchTabularRegressor,
    TuningSpace,
    combine_pod_schemas,
)
from fl_app.errors import DataError, UsageError
from fl_app.tabular.schema import Column, Schema
from tests.server.app.test_regression_run import HIGH, LOW, federation_of
from tests.support.small_federation import isolate

HOURS = DataStructure(target="hours", ignore_cols=["note"])
SCHEMA = Schema(
    name="all",
    columns=(
        Column(name="age", kind="continuous", low=0, high=128),
        Column(name="hours", kind="continuous", low=LOW, high=HIGH, integer=True, values=("1", "2")),
        Column(name="trade", kind="categorical", values=("farm", "shop")),
    ),
)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PyTorchTabularRegressor:
    isolate(monkeypatch, tmp_path)
    federation = federation_of(tmp_path)
    made = PyTorchTabularRegressor(
        HOURS,
        combine_pod_schemas(federation=federation),
        epochs=8,
        batch_size=32,
        optimizer=Optimizer(name="AdamW", params={"lr": 0.003}),
        loss="absolute",
    )
    stopping = EarlyStopping(metric="mae", patience=9, restore_best=False)
    rounds = made.fit(federation=federation, epochs_between_parameter_updates=2, early_stopping=stopping)
    assert [entry["mae"] > 0 and entry["test_r2"] > 0 for entry in rounds] == [True] * 4
    assert made.kept == rounds[-1]
    return made


def test_a_number_is_learnt_predicted_saved_and_read_again(model: PyTorchTabularRegressor) -> None:
    public = pd.read_csv("public.csv")
    held = public.dropna(subset="hours")
    predicted = model.predict(held)
    assert list(predicted) == ["hours [h]"]
    assert (predicted.index == held.index).all()
    found = model.evaluate("public.csv")
    observed = held["hours"].clip(LOW, HIGH)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(observed, predicted))
    assert found["r2"] == pytest.approx(metrics.r2_score(observed, predicted))
    assert (found["num_examples"], found["left_out"]) == (len(held), len(public) - len(held))
    assert found["mae"] == pytest.approx(model.results["test"]["mae"])
    model.serialize("model.safetensors")
    again = PyTorchTabularRegressor.load("model.safetensors")
    assert (again._loss, again.epochs) == ("absolute", 8)
    np.testing.assert_array_equal(again.predict(held), predicted)
    with pytest.raises(UsageError, match="'hours' is a number: use PyTorchTabularRegressor"):
        PyTorchTabularClassifier.load("model.safetensors")
    classifier = PyTorchTabularClassifier(HOURS, SCHEMA, epochs=1)
    with pytest.raises(DataError, match="predicts a number: use PyTorchTabularRegressor"):
        classifier.deserialize("model.safetensors")


def test_each_class_refuses_the_other_kind_of_target() -> None:
    with pytest.raises(UsageError, match="'trade' is categorical: use PyTorchTabularClassifier"):
        PyTorchTabularRegressor(DataStructure(target="trade"), SCHEMA, epochs=1)
    with pytest.raises(UsageError, match="'age' is a number: use PyTorchTabularRegressor"):
        PyTorchTabularClassifier(DataStructure(target="age"), SCHEMA, epochs=1)
    with pytest.raises(UsageError, match="unknown loss 'huber'; allowed are squared, absolute"):
        PyTorchTabularRegressor(HOURS, SCHEMA, epochs=1, loss="huber")  # type: ignore[arg-type]
    # Few whole numbers are classes to the one, and numbers to the other.
    PyTorchTabularClassifier(HOURS, SCHEMA, epochs=1)
    PyTorchTabularRegressor(HOURS, SCHEMA, epochs=1)


def test_settings_for_a_number_are_tuned_by_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    federation = federation_of(tmp_path)
    made = PyTorchTabularRegressor(HOURS, combine_pod_schemas(federation=federation), loss="absolute")
    space = TuningSpace(
        architecture=("linear",),
        learning_rate={"SGD": (0.1, 1e-4)},
        batch_size=(32,),
        local_epochs=(1,),
        weight_decay=(0.0,),
    )
    tuning = made.tune(federation=federation, space=space, trials=2, min_rounds=2, eta=2, metric="mae", final=False)
    assert tuning.best is not None
    tried = {trial.settings.learning_rate: trial.value_on(0) for trial in tuning.trials}
    assert (tried[0.1] or 0) < (tried[1e-4] or 0)
    assert tuning.best.settings.learning_rate == 0.1
    assert tuning.settings["loss"] == "absolute"


def test_the_example_predicts_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    federation_of(tmp_path)
    federations = tmp_path / "fl-app.toml"
    federations.write_text(federations.read_text().replace("[federation.small]", "[federation.laptop]"))
    made = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "predicting_a_number.py"))
    assert made["metrics"]["r2"] > 0.4
    assert len(made["predicted"]) == len(pd.read_csv("public.csv"))
    again = PyTorchTabularRegressor.load("hours.safetensors").predict("public.csv")
    pd.testing.assert_frame_equal(again, made["predicted"])
