"""Batches that a modeller makes so small, or so alike, that a sum is one row's."""

from pathlib import Path

from client.app.main import _seed
from fl_app.tabular.folds import Fold
from tests.adversary.hostile import batches
from tests.adversary.hostile.honest import settings
from tests.adversary.hostile.tables import census


def test_batches_of_one_row_show_no_row(tmp_path: Path) -> None:
    pods = census(tmp_path)
    assert batches.true_rows(pods, batches.one_row_batches(pods)) == 0  # 27 of 30 where a batch may be one row


def test_runs_whose_batches_are_cut_otherwise_have_unlike_batches() -> None:
    cuts = [{"batch_size": 100}, {"batch_size": 101}, {"local_steps": 2}, {"local_steps": None, "local_epochs": 1}]
    cuts += [{"fold": Fold(number=number, of=10)} for number in (1, 2)]
    seeds = {_seed(settings(**cut), number, pod) for cut in cuts for number in (1, 2) for pod in ("north", "south")}
    assert len(seeds) == len(cuts) * 4
    assert _seed(settings(rounds=1), 1, "north") == _seed(settings(rounds=2), 1, "north")
