"""One fold of a cross-validation: which part of its rows each pod holds out in a run.

Folds of any number are made of the same ten parts. Were the cuts of 9 folds others than those of 10, the sums over some
of the former less those over some of the latter would be sums over a ninetieth of the rows.
"""

from typing import Final, Self

from pydantic import Field, model_validator

from fl_app.errors import UsageError
from fl_app.validation import Frozen

TENTHS: Final = 10
FOLD_COUNTS: Final = (2, 5, 10)


class Fold(Frozen):
    """The ``number``-th, from 1, of so many folds.

    Raises
    ------
    UsageError
        If there is no such fold, or rows are not cut into so many.
    """

    number: int = Field(ge=1)
    of: int

    @model_validator(mode="after")
    def _there(self) -> Self:
        if self.of not in FOLD_COUNTS:
            raise UsageError(f"folds: should be one of {', '.join(map(str, FOLD_COUNTS))}, not {self.of}")
        if self.number > self.of:
            raise UsageError(f"of {self.of} folds there is none of number {self.number}")
        return self

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read "2/5", the second of five folds; raises `UsageError` if it is something else."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal()):
            raise UsageError(f"fold: expected a text such as 2/5, the second of five folds, not {text!r}")
        return cls(number=int(number), of=int(of))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def tenths(self) -> range:
        """Which tenths of a pod's rows, from 0, are held out as its test rows."""
        size = TENTHS // self.of
        return range((self.number - 1) * size, self.number * size)

    @property
    def validation(self) -> int:
        """Which tenth is held out as its validation rows: the one before the fold."""
        return (self.tenths[0] - 1) % TENTHS
