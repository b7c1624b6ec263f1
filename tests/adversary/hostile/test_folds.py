"""Cross-validation as an attack: runs that differ in what is held out, and what their sums and differences tell."""

from pathlib import Path

import numpy as np
import pytest

from client.app.pod_table import PARTS, PodTable
from fl_app.errors import UsageError
from fl_app.flower import names
from fl_app.pod.pod_file import load_pod
from fl_app.privacy.settings import Privacy
from fl_app.tabular.folds import TENTHS, Fold
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.modeller import Run
from tests.adversary.hostile.tables import PODS, Pods, census, table


def fold(number: int, of: int = 10) -> Fold:
    return Fold(number=number, of=of)


def test_ten_folds_show_the_statistics_of_one_run(tmp_path: Path) -> None:
    """Over the rows that each fold trains on they would be ten sums, each with noise of its own."""
    pods, shown = census(tmp_path), []
    for held in (None, fold(1), fold(6), fold(1, 2)):
        total = Run(pods, settings(fold=held)).join().honest(names.STATISTICS).total
        assert total is not None
        shown.append(np.concatenate([total.values[name] for name in sorted(total.values)]))
    assert all(np.array_equal(shown[0], each) for each in shown[1:])


def test_more_folds_than_an_owner_allows_are_refused_at_the_hello(tmp_path: Path) -> None:
    pods = census(tmp_path, "{maximum_folds: 5}")
    run = Run(pods, settings(fold=fold(1))).join()
    assert {name: "(maximum_folds)" in refused.text for name, refused in run.refusals.items()} == dict.fromkeys(
        PODS, True
    )
    assert not Run(pods, settings(fold=fold(1, 5))).join().refusals


def test_rows_are_cut_into_no_folds_whose_differences_are_smaller() -> None:
    for of in (3, 9, 100):
        with pytest.raises(UsageError, match="folds: should be one of 2, 5, 10"):
            fold(1, of)


def test_a_table_whose_tenths_are_few_rows_is_trained_on_as_a_whole_in_every_fold(tmp_path: Path) -> None:
    """Else the difference of two runs' first rounds would be the gradients of four rows."""
    census(tmp_path, west=table(49, 5))
    small = PodTable.of(load_pod(tmp_path / "west.yaml"))
    for number in range(1, TENTHS + 1):
        assert [len(small.rows(part, fold(number))) for part in PARTS] == [49, 0, 0]


def test_a_series_holds_out_one_fold(tmp_path: Path) -> None:
    """Whether held-out rows are enough was said of those that the series began with."""
    pods: Pods = census(tmp_path)
    run = Run(pods, settings(fold=fold(1))).join()
    run.honest(names.STATISTICS)
    for other in (fold(2), None):
        going = Run(pods, settings(fold=other), series=run.parameters.series)
        going.replica, going.proof = run.replica, run.proof
        outcome = going.join().honest(names.TRAIN)
        assert outcome.total is None
        assert all("another fold" in refused.text for refused in outcome.refusals.values())
        assert len(outcome.refusals) == len(PODS)


def test_no_private_run_holds_out_a_fold() -> None:
    """Each fold would be a run of its own, in which rows that were held out before are trained on."""
    with pytest.raises(UsageError, match="each would cost epsilon"):
        settings(fold=fold(1), privacy=Privacy(epsilon=1.0), local_steps=None, batch_size=None, optimizer=None)
