"""When training ends before its last round, and which round's model becomes the run's."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from fl_app.errors import DataError
from fl_app.tabular.early_stopping import EarlyStopping, Standing
from server.app.results import EarlyStoppingResult, RoundResult

Arrays = Mapping[str, npt.NDArray[Any]]
_NONE: Arrays = MappingProxyType({})


class Stopping:
    """Follows the metrics of the rounds' models and remembers the best model.

    A metric that the pods' validation rows do not define is that of the public test file. Rounds in which networks are
    compared have no part: their models are of another network than the run's may be.

    Parameters
    ----------
    asked : EarlyStopping or None
        The settings; None: nothing ends early and nothing is restored.
    rounds : sequence of RoundResult
        The completed rounds of a run that is resumed.
    best : mapping
        Its best model so far, from its checkpoint.
    strict : bool
        Whether the modeller has asked for it: then it is an error if no row defines the metric. Otherwise rounds
        without it are passed over, and training goes on to its last round.
    """

    def __init__(
        self,
        asked: EarlyStopping | None,
        rounds: Sequence[RoundResult] = (),
        best: Arrays = _NONE,
        *,
        strict: bool = True,
    ) -> None:
        self.standing: Standing | None = None
        self._strict = strict
        if asked:
            done = (
                entry
                for entry in rounds
                if entry.evaluated and not entry.part_losses and (strict or _value(entry, asked.metric) is not None)
            )
            self.standing = Standing.after(
                asked, ({"round": entry.round, asked.metric: _value(entry, asked.metric)} for entry in done)
            )
        self.best: Arrays = best

    def evaluated(self, entry: RoundResult, arrays: Arrays, why: Sequence[str] = ()) -> None:
        """Take in a round whose metrics have become known, and the model it made; ``why`` keeps pods' rows out."""
        if self.standing is None or entry.part_losses:
            return
        metric = self.standing.settings.metric
        value = _value(entry, metric)
        if value is None and not self._strict:
            return
        if value is None and not entry.num_examples:
            raise DataError(
                f"early stopping follows {metric}, and no row defines it: no pod adds validation rows; "
                f"{'; '.join([*why, 'give a public test file, or leave it out'])}"
            )
        self.standing = self.standing.evaluated(entry.round, value)
        if self.standing.settings.restore_best and self.standing.best_round == entry.round:
            self.best = arrays

    @property
    def why(self) -> str | None:
        """Why training ends now; None if it does not."""
        return self.standing.why if self.standing and self.standing.over else None

    def restored(self) -> tuple[int, Arrays] | None:
        """Return round and arrays of the model to restore if training ends now, None to keep the last."""
        if self.standing and self.standing.restores and self.best:
            return self.standing.best_round, self.best
        return None

    def result(self) -> EarlyStoppingResult | None:
        """Return how training stands; None without early stopping."""
        return EarlyStoppingResult(**self.standing.document()) if self.standing else None


def _value(entry: RoundResult, metric: str) -> float | None:
    value: float | None = getattr(entry, metric)
    if value is None and entry.test is not None:
        value = getattr(entry.test, metric)
    return value
