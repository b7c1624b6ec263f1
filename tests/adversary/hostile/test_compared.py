"""Networks that are compared within a run: a server cannot choose the one that it likes."""

from pathlib import Path

import numpy as np

from fl_app.flower import names
from fl_app.replica.comparison import NETWORK, PART_LOSSES
from fl_app.secagg.codec import Aggregate
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import PODS, ROWS, Pods, table

LOSSES = names.segment(names.EVALUATE, PART_LOSSES)


def chosen(directory: Path) -> Run:
    """Return a run whose second round has chosen a network, by sums that no pod has been shown yet."""
    directory.mkdir()
    pods = Pods(directory, {name: table(rows, seed) for seed, (name, rows) in enumerate(ROWS.items())})
    run = Run(pods, settings(architecture="auto", rounds=3)).join()
    for kind, number in ((names.STATISTICS, 1), (names.TRAIN, 1), (names.TRAIN, 2)):
        assert isinstance(run.honest(kind, number).total, Aggregate)
    return run


def test_forged_losses_choose_no_network(tmp_path: Path) -> None:
    honest, run = chosen(tmp_path / "honest"), chosen(tmp_path / "hostile")
    assert isinstance(honest.honest(names.TRAIN, 3).total, Aggregate)
    before = run.replica.facts[NETWORK]
    run.forge(np.array([9.0, 0.0]) if before != "additive" else np.array([0.0, 9.0]), LOSSES)
    assert run.replica.facts[NETWORK] not in (before, "pair")
    outcome = run.honest(names.TRAIN, 3)
    assert outcome.total is None
    assert sorted(outcome.refusals) == sorted(PODS)
    assert {refusal.code for refusal in outcome.refusals.values()} == {"sum"}


def test_pods_evaluate_the_network_that_they_have_chosen_whatever_they_are_told(tmp_path: Path) -> None:
    run = chosen(tmp_path / "told")
    sizes = run.rule.sizes(run.settings, run.replica, names.TRAIN)
    assert sizes[LOSSES] == 0
    outcome = run.step(
        names.TRAIN, 3, run.rule.request(run.settings, run.asked, names.TRAIN, 3, PODS), {**sizes, LOSSES: 2}
    )
    assert outcome.total is None
    assert sorted(outcome.refusals) == sorted(PODS)
