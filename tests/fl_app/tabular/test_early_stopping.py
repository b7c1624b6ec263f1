import pytest

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.tabular.early_stopping import EarlyStopping, Standing
from fl_app.tabular.settings import DataStructure


def after(asked: EarlyStopping, *values: float | None) -> Standing:
    return Standing.after(asked, [{"round": n, asked.metric: value} for n, value in enumerate(values, start=1)])


def test_what_improves_by_growing_and_what_by_falling() -> None:
    assert after(EarlyStopping(metric="auc"), 0.5, 0.7, 0.6).best_round == 2
    assert after(EarlyStopping(metric="loss"), 0.5, 0.7, 0.4).best_round == 3
    assert after(EarlyStopping(metric="brier"), 0.1, 0.2).best == 0.1


def test_training_is_over_after_patience_rounds_without_improvement() -> None:
    asked = EarlyStopping(metric="accuracy", patience=2)
    assert not after(asked, 0.8, 0.7).over
    assert after(asked, 0.8, 0.7, 0.8).over  # as good is no better
    assert not after(asked, 0.8, 0.7, 0.9, 0.9).over


def test_a_change_by_min_delta_is_no_improvement() -> None:
    asked = EarlyStopping(metric="auc", patience=1, min_delta=0.25)
    assert after(asked, 0.5, 0.75).over
    assert not after(asked, 0.5, 0.8125).over
    slow = after(asked.model_copy(update={"patience": 3}), 0.5, 0.625, 0.6875, 0.8125)
    assert (slow.last_improvement, slow.without_improvement) == (0.8125, 0)  # it adds up


def test_the_best_model_is_the_best_by_whatever_little() -> None:
    standing = after(EarlyStopping(metric="auc", patience=2, min_delta=0.25), 0.5, 0.625, 0.5625)
    assert (standing.best, standing.best_round, standing.without_improvement) == (0.625, 2, 2)
    assert standing.restores


def test_the_best_is_restored_only_where_a_later_model_was_worse() -> None:
    asked = EarlyStopping(metric="auc")
    assert not after(asked).restores
    assert not after(asked, 0.5, 0.6).restores
    assert after(asked, 0.5, 0.6, 0.55).restores
    slow = EarlyStopping(metric="auc", patience=1, min_delta=0.25)
    assert after(slow, 0.5, 0.6).restores  # what patience ended keeps a model that somebody has evaluated
    assert not after(asked.model_copy(update={"restore_best": False}), 0.6, 0.5).restores


def test_what_no_row_defines_is_no_improvement() -> None:
    standing = after(EarlyStopping(metric="auc", patience=2), None, None)
    assert standing.over
    assert not standing.restores
    assert standing.why == "auc was defined in none of 2 rounds"
    assert after(EarlyStopping(metric="auc"), 0.5, None, 0.6).best_round == 3


def test_rounds_that_are_not_evaluated_yet_are_left_out() -> None:
    asked = EarlyStopping(metric="auc")
    rounds = [{"round": 1, "auc": 0.5}, {"round": 2, "train_loss": 0.1}]
    assert Standing.after(asked, rounds) == Standing(asked, 0.5, 1, 1, 0.5, 0)


def test_why_says_what_did_not_change_and_which_model_is_best() -> None:
    assert after(EarlyStopping(metric="auc", min_delta=0.001), 0.9, 0.9).why == (
        "auc has not grown by more than 0.001 for 1 round; its best is 0.9000, of round 1"
    )
    assert "loss has not fallen for 2 rounds" in after(EarlyStopping(metric="loss"), 0.3, 0.4, 0.4).why


def test_the_command_lines_form() -> None:
    assert EarlyStopping.from_text("auc") == EarlyStopping()
    assert EarlyStopping.from_text("loss, patience=5, min_delta=0.01, restore_best=false") == EarlyStopping(
        metric="loss", patience=5, min_delta=0.01, restore_best=False
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acc", "unknown metric"),
        ("auc,patience", "as NAME=VALUE"),
        ("auc,patiense=3", "did you mean 'patience'"),
        ("auc,metric=loss", "unknown setting"),
        ("auc,patience=0", "patience: "),
        ("auc,min_delta=nan", "min_delta: "),
        ("auc,restore_best=perhaps", "restore_best: "),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        EarlyStopping.from_text(text)


def test_it_is_part_of_the_settings_that_pods_are_bound_to() -> None:
    common = {"pods": ("a", "b"), "datastructure": DataStructure(target="x"), "local_epochs": 1}
    config = RunConfig(early_stopping=EarlyStopping(metric="f1"), **common)
    assert RunConfig.from_json(config.to_json()) == config
    assert RunConfig(**common).early_stopping == "auto"


def test_flowers_run_config_takes_it_as_text() -> None:
    given = {"target": "x", "optimizer": "SGD", "optimizer-params": '{"lr": 0.1}', "local-epochs": 1}
    for text, meant in (("", "auto"), ("auto", "auto"), ("never", None)):
        assert RunConfig.from_flower({**given, "early-stopping": text}, ["a", "b"]).early_stopping == meant
    asked = RunConfig.from_flower({**given, "early-stopping": "f1,patience=2"}, ["a", "b"]).early_stopping
    assert asked == EarlyStopping(metric="f1", patience=2)
