"""Noise in the statistics: what it hides from an honest server, and from one that asks again and again."""

from pathlib import Path

from tests.adversary.hostile import noise
from tests.adversary.hostile.tables import census


def test_a_cell_of_one_row_is_not_told_from_an_empty_one(tmp_path: Path) -> None:
    assert noise.told_apart(census(tmp_path), 1) < 0.2  # 1 without noise: always


def test_runs_without_number_tell_no_more_than_one(tmp_path: Path) -> None:
    assert noise.told_apart(census(tmp_path), 16) < 0.2  # .4 of 16 runs with fresh noise, .94 of 200
