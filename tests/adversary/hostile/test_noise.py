"""Noise in the statistics: what it hides from an honest server, and from one that asks again and again.

The noise follows from the pods' keys, which are new in each test: of one set of keys the best threshold may by chance
part cells well, so the mean over several is what is held.
"""

from pathlib import Path

from tests.adversary.hostile import noise
from tests.adversary.hostile.tables import census


def told_apart(directory: Path, runs: int, sets_of_keys: int) -> float:
    """Return how well cells of one row are told from empty ones, in the mean of pods with so many sets of keys."""
    told = []
    for number in range(sets_of_keys):
        place = directory / str(number)
        place.mkdir()
        told.append(noise.told_apart(census(place), runs))
    return sum(told) / len(told)


def test_a_cell_of_one_row_is_not_told_from_an_empty_one(tmp_path: Path) -> None:
    assert told_apart(tmp_path, runs=1, sets_of_keys=16) < 0.2  # 1 without noise: always


def test_runs_without_number_tell_no_more_than_one(tmp_path: Path) -> None:
    assert told_apart(tmp_path, runs=16, sets_of_keys=6) < 0.2  # .4 of 16 runs with fresh noise, .94 of 200
