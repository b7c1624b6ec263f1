"""When a training ends before its last round, and which round's model is then kept."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from fl_app.tabular.early_stopping import EarlyStopping, Standing

Arrays = Mapping[str, npt.NDArray[Any]]
_NONE: Arrays = MappingProxyType({})


class Stopping:
    """Follows the metrics of the rounds' models and remembers the best model.

    Parameters
    ----------
    asked : EarlyStopping or None
        What the modeller asks for; None: nothing ends and nothing is restored.
    rounds : sequence of mappings
        The rounds of a run that is resumed, as results.json lists them.
    best : mapping
        Its best model so far, from its checkpoint.
    """

    def __init__(
        self, asked: EarlyStopping | None, rounds: Sequence[Mapping[str, Any]] = (), best: Arrays = _NONE
    ) -> None:
        self.standing = Standing.after(asked, rounds) if asked else None
        self.best: Arrays = best

    def evaluated(self, entry: Mapping[str, Any], arrays: Arrays) -> None:
        """Take in a round whose metrics have become known, and the model it made."""
        if self.standing is None:
            return
        self.standing = self.standing.evaluated(entry["round"], entry[self.standing.asked.metric])
        if self.standing.asked.restore_best and self.standing.best_round == entry["round"]:
            self.best = arrays

    @property
    def why(self) -> str | None:
        """Why training ends now; None if it does not."""
        return self.standing.why if self.standing and self.standing.over else None

    def kept(self) -> tuple[int, Arrays] | None:
        """Return the round and the arrays of the model to keep if training ends now, None for the last."""
        if self.standing and self.standing.restores and self.best:
            return self.standing.best_round, self.best
        return None
