"""Real pods in a private run, and a server that does as it likes: what leaves them beside noised sums."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from client.app.main import encoded_rows
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.flower.names import EVALUATE, STATISTICS, TRAIN
from fl_app.pod.pod_file import load_pod
from fl_app.privacy.settings import Privacy
from fl_app.replica.declared import Declared
from fl_app.secagg.errors import ValueRefused
from fl_app.secagg.field import FIELD_31
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import (
    CLASSES,
    PODS,
    ROWS,
    TARGET,
    TEST,
    VALIDATION,
    Pods,
    census,
    split_rows,
    table,
)

PRIVATE: dict[str, Any] = {"privacy": Privacy(epsilon=3.0), "architecture": "linear", "rounds": 2}


def with_held_out(label: str | None) -> pd.DataFrame:
    """Return the table of "north" with one label for all rows that are held out."""
    rows = table(ROWS["north"], 0)
    _, *held_out = split_rows(len(rows), "north", validation_percent=VALIDATION, test_percent=TEST)
    rows.loc[np.concatenate(held_out), TARGET] = label
    return rows


def joined(pods: Pods, **changes: Any) -> Run:
    return Run(pods, settings(**(PRIVATE | changes))).join()


def test_a_hello_does_not_tell_whether_held_out_rows_are_enough(tmp_path: Path) -> None:
    pods = census(tmp_path, "{minimum_rows_per_class: 50}", north=with_held_out(CLASSES[0]))
    shown = {
        private: Declared.read("north", run.published["north"].declared)
        for private, run in {True: joined(pods), False: joined(pods, privacy=None, architecture="mlp")}.items()
    }
    assert shown[True].validation
    assert shown[True].test
    assert not shown[False].validation  # as in any other run it does


def test_rows_without_a_label_are_answered_for_as_any_others(tmp_path: Path) -> None:
    run = joined(census(tmp_path, north=with_held_out(None)))
    for kind in (STATISTICS, TRAIN, EVALUATE):
        outcome = run.honest(kind)
        assert outcome.total is not None, {name: refused.text for name, refused in outcome.refusals.items()}


def test_nothing_stands_beside_a_rounds_sum(tmp_path: Path) -> None:
    run = joined(census(tmp_path))
    run.honest(STATISTICS)
    total = run.honest(TRAIN).total
    assert total is not None
    assert list(total.values) == ["update"]
    assert (total.weight, total.clipped) == (len(PODS), 0)  # each pod counts as one, however many rows it has
    assert {c.name for c in run.parameters.step(TRAIN).classes} == {"update"}


def test_a_session_may_not_declare_another_evaluation(tmp_path: Path) -> None:
    run = Run(census(tmp_path), settings(**PRIVATE))
    steps = [replace(plan, rounds=2) if plan.kind == EVALUATE else plan for plan in run.parameters.steps]
    run.declare(steps=tuple(steps)).join()
    assert len(run.refusals) == len(PODS)
    assert all("steps" in refused.text for refused in run.refusals.values())


@pytest.mark.parametrize("changes", [{"secure": False}, {"prime_q": FIELD_31.prime}], ids=["in the clear", "rounded"])
def test_settings_whose_noise_would_not_hold_are_none(changes: dict[str, Any]) -> None:
    config = settings(**PRIVATE)
    with pytest.raises(UsageError, match="a run with privacy needs"):
        RunConfig(**{**dict(config), **changes})


def test_a_pod_with_more_rows_than_a_resumed_run_allows_is_not_told_by_its_sums(tmp_path: Path) -> None:
    """A run's first step asks; of a run that is resumed with a smaller max_weight the first step was another run's."""
    pods = census(tmp_path)
    run = joined(pods)
    run.honest(STATISTICS)
    from fl_app.tabular.encoding import Encoding

    encoding = Encoding.from_json(str(run.replica.facts["encoding"]))
    pod = load_pod(str(pods.directory / "north.yaml"))
    for most, refused in ((600, False), (599, True)):  # 600 rows are for training
        config = SimpleNamespace(privacy=Privacy(epsilon=3.0), fold=None, max_weight=most)
        task: Any = SimpleNamespace(config=config, encoding=encoding)
        if refused:
            with pytest.raises(ValueRefused, match="more than 599 rows"):
                encoded_rows(task, "train", pod, pods.directory / "home")
        else:
            assert len(encoded_rows(task, "train", pod, pods.directory / "home")) == 600
