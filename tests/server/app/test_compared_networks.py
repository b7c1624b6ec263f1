"""The architecture "auto": networks are compared within a run, which goes on as if it had been of the best alone."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from rich.console import Console

from client.app.row_split import split_rows
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.flower.names import MASKED_TRAIN
from fl_app.privacy.settings import Privacy
from fl_app.replica import comparison
from fl_app.secagg.field import FIELD_31
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.settings import DataStructure
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.display.progress import Progress
from server.display.report import write_report
from server.modeller.launch import FitFailed, fit
from server.modeller.resume import resume
from tests.support.in_process import InProcessGrid
from tests.support.small_federation import PODS, small_federation, table

ROWS, ROUNDS = 1200, 6
LAST_COMPARED = ROUNDS // 3


def trained(work: Path, architecture: str | None = "auto", rows: int = ROWS, **settings: Any) -> RunDirectory:
    """Train over two pods of so many rows each; all that is random in it follows from the seed."""
    federation = small_federation(work)
    for seed, name in enumerate(PODS):
        table(rows, seed).to_csv(work / f"{name}.csv", index=False)
    given = {"rounds": ROUNDS, "local_epochs": 1, "batch_size": 64, "early_stopping": None, **settings}
    target = DataStructure(target=given.pop("target", "outcome"))
    config = RunConfig(pods=PODS, datastructure=target, architecture=architecture, **given)
    return fit(config, federation, runs=work / "runs")


def compared(results: Results) -> Any:
    assert results.training is not None
    return results.training.compared


def same_model(one: RunDirectory, other: RunDirectory) -> None:
    made, expected = (TrainedModel.load(run.model_path()) for run in (one, other))
    assert made.architecture == expected.architecture
    assert list(made.state) == list(expected.state)
    for name, array in expected.state.items():
        assert_array_equal(made.state[name], array)


def validation_rows(work: Path) -> pd.DataFrame:
    read = {name: pd.read_csv(work / f"{name}.csv", na_values=["?"]) for name in PODS}
    return pd.concat([frame.iloc[split_rows(len(frame), name)[1]] for name, frame in read.items()])


@pytest.mark.parametrize(
    ("favoured", "strategy", "params"),
    [
        ("mlp", "FedAvgM", {"server_momentum": 0.5}),
        ("additive", "FedAdam", {"eta": 0.01}),
        ("pair", "FedAvg", {}),
    ],
)
def test_the_run_ends_with_the_very_model_that_the_best_makes_alone(
    work: Path, favoured: str, strategy: str, params: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is best is a matter of the table; here it is decided, and pods and server decide alike."""
    monkeypatch.setattr(comparison.Losses, "best", property(lambda losses: favoured))
    run = trained(work, strategy=strategy, strategy_params=params)
    assert compared(run.results()).chosen == favoured
    same_model(run, trained(work, favoured, strategy=strategy, strategy_params=params))


def test_losses_are_those_of_the_pooled_validation_rows_and_the_smallest_wins(work: Path) -> None:
    run = trained(work)
    results, rows = run.results(), validation_rows(work)
    found = compared(results)
    assert (found.round, found.rows) == (LAST_COMPARED, len(rows))
    assert found.rows >= comparison.LEAST_ROWS
    for network, loss in found.losses.items():
        alone = trained(work, network).results().rounds[LAST_COMPARED - 1]
        assert (alone.loss, alone.num_examples) == (pytest.approx(loss, rel=1e-9), len(rows))
    assert found.chosen == min(found.losses, key=found.losses.get)
    in_rounds = [sorted(entry.part_losses) for entry in results.rounds]
    assert in_rounds == [["additive", "mlp"]] * LAST_COMPARED + [[]] * (ROUNDS - LAST_COMPARED)
    said = f"network: {found.chosen} goes on after round 2, since its loss is the smallest on {len(rows)} validation"
    out = io.StringIO()
    with Progress(Console(file=out, width=250)) as progress:
        progress(results)
    assert said in out.getvalue()
    assert said in write_report(run)[0].read_text()
    assert results.test is not None
    public = TrainedModel.load(run.model_path()).evaluate(table(300, 9))
    assert results.test.auc == pytest.approx(public["auc"], abs=1e-9)


def test_the_loss_of_the_last_model_is_that_of_its_predictions_for_the_pooled_rows(work: Path) -> None:
    """The two rounds that are least: the first is compared in the second, which is the last."""
    run = trained(work, rounds=2)
    results, model = run.results(), TrainedModel.load(run.model_path())
    assert compared(results).round == 1
    assert model.evaluate(validation_rows(work))["loss"] == pytest.approx(results.rounds[-1].loss, rel=1e-6)


def test_few_validation_rows_choose_nothing_and_the_pair_goes_on(work: Path) -> None:
    found = compared(trained(work, rows=600).results())
    assert (found.chosen, found.rows) == ("pair", 120)
    assert found.why == "120 validation rows are too few to choose by, fewer than 200"


def test_early_stopping_counts_from_the_choice_on(work: Path) -> None:
    stopping = EarlyStopping(metric="loss", patience=1)
    run = trained(work, rounds=12, early_stopping=stopping, lr_decay=1.0, local_epochs=8)
    results = run.results()
    assert results.stopped is not None
    assert results.stopped.round > 12 // 3 + 1
    assert results.kept is not None
    assert results.kept > 12 // 3
    assert TrainedModel.load(run.model_path()).architecture == compared(results).chosen


@pytest.mark.parametrize(("number", "rounds"), [(2, None), (4, None), (3, 12), (4, 12)])
def test_a_resumed_run_chooses_what_the_undisturbed_one_does(
    work: Path, number: int, rounds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the round that chooses, right after it, and later; also where it is to take more rounds than before."""
    undisturbed = trained(work)
    send, sent = InProcessGrid.push_messages, list[str]()

    def die(grid: InProcessGrid, messages: Any) -> Any:
        messages = list(messages)
        sent.extend(m.metadata.message_type for m in messages if m.metadata.message_type == MASKED_TRAIN)
        if len(sent) > (number - 1) * len(PODS):
            raise RuntimeError("the connection broke")
        return send(grid, messages)

    monkeypatch.setattr(InProcessGrid, "push_messages", die)
    with pytest.raises(FitFailed) as failed:
        trained(work)
    monkeypatch.setattr(InProcessGrid, "push_messages", send)
    run = resume(failed.value.run, rounds=rounds)
    assert compared(run.results()) == compared(undisturbed.results())
    if rounds:
        assert run.results().rounds[-1].round == rounds
    else:
        same_model(run, undisturbed)


def test_a_number_is_learnt_by_the_network_with_the_smaller_error(work: Path) -> None:
    results = trained(work, target="age", loss="absolute").results()
    found = compared(results)
    for network, loss in found.losses.items():
        alone = trained(work, network, target="age", loss="absolute").results().rounds[LAST_COMPARED - 1]
        assert alone.loss == pytest.approx(loss, rel=1e-6)
    assert found.chosen == min(found.losses, key=found.losses.get)


def test_what_cannot_be_compared_is_refused() -> None:
    given: Any = {"pods": PODS, "datastructure": DataStructure(target="outcome"), "architecture": "auto"}
    with pytest.raises(UsageError, match="evaluates no round, so it cannot compare networks"):
        RunConfig(**given, privacy=Privacy(epsilon=3))
    with pytest.raises(UsageError, match="needs two rounds"):
        RunConfig(**given, rounds=1)
    with pytest.raises(UsageError, match="compact: in the small field"):
        RunConfig(**given, prime_q=FIELD_31.prime)
