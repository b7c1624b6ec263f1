"""How many rows have which label, and how many are left out for want of one: a sum over pods, or one file's texts."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.cell_text import key_of
from fl_app.tabular.encoding import FIRST_VALUE, MISSING, UNKNOWN, codes_of
from fl_app.tabular.schema import Column
from fl_app.tabular.statistics import NOISE_TAIL, VARIANCE, present_numbers

if TYPE_CHECKING:
    from fl_app.tabular.cells import Table

LABELS = "labels"


@dataclass(frozen=True)
class LabelCounts:
    """Rows by their label, up to the noise that pods add.

    Attributes
    ----------
    unpublished : int
        Rows whose label no pod publishes.
    missing : int
        Rows without a label.
    classes : tuple of int
        Rows of each class, in the order of the target's values; of a numeric target, rows with a number.
    """

    unpublished: int
    missing: int
    classes: tuple[int, ...]

    @property
    def left_out(self) -> int:
        """Rows that train and test nothing."""
        return self.unpublished + self.missing

    @classmethod
    def size(cls, target: Column) -> int:
        """Return the number of elements of `label_sums`."""
        return FIRST_VALUE + (1 if target.numeric else len(target.values))

    @classmethod
    def from_sums(cls, sums: NDArray[np.int64] | NDArray[np.float64], pods: int = 0) -> Self:
        """Read what `label_sums` gave, summed over so many pods with their noise.

        Each pod raises its counts by `NOISE_TAIL`. What noise put below zero is given as none, and so are rows that are
        left out if they may be noise alone.
        """
        counts = [max(0, int(count) - NOISE_TAIL * pods) for count in np.rint(sums)]
        chance = 3 * math.sqrt(VARIANCE * pods)
        for place in (UNKNOWN, MISSING):
            counts[place] = counts[place] if counts[place] > chance else 0
        return cls(counts[UNKNOWN], counts[MISSING], tuple(counts[FIRST_VALUE:]))


def label_sums(table: "Table", target: Column, least: int = 1) -> NDArray[np.int64]:
    """Count one pod's rows by the code of their label, int64 [2 + classes]: unpublished, missing, each class.

    Of a numeric target no row is unpublished, and all rows with a number are one class.

    Parameters
    ----------
    least : int
        A count of fewer rows is given as none: the owner's ``minimum_category_count``.
    """
    if target.numeric:
        codes = np.where(np.isnan(present_numbers(table, target)), MISSING, FIRST_VALUE)
    else:
        codes = codes_of(table, target)
    counts = np.bincount(codes, minlength=LabelCounts.size(target))
    return np.where(counts >= least, counts, 0)


def left_out(table: "Table", target: Column) -> dict[str, int]:
    """Count the rows that a file's labels keep from being scored, by the label's text, "" where it is missing.

    It names texts: for the file's own owner.
    """
    if target.numeric:
        missing = int(np.isnan(present_numbers(table, target)).sum())
        return {"": missing} if missing else {}
    indices, texts = table.texts(target.name, target.missing)
    known = set(map(key_of, target.values))
    counts = np.bincount(indices + 1, minlength=len(texts) + 1).tolist()
    return {
        text: count
        for text, count in zip(("", *texts), counts, strict=True)
        if count and (not text or key_of(text) not in known)
    }
