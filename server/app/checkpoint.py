"""The state of a run after a completed round: all that is needed to continue as if it had not been interrupted."""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fl_app.errors import UsageError
from server.app.results import RoundResult

_MODEL, _SERVER, _BEST = "array.", "server.", "best."
_EDGES = "score edges"


@dataclass(frozen=True)
class Checkpoint:
    """The state after a completed round, as one file that is whole at every moment.

    Attributes
    ----------
    number : int
        The round's number.
    arrays : mapping
        The model, by the arrays' names, each in its own dtype.
    server : mapping
        What the averaging strategy keeps between rounds, such as momenta; see `strategies.inner_strategy.server_state`.
    rounds : tuple of RoundResult
        The completed rounds, since results.json is written later and may not be written at all.
    best : mapping
        The best model so far, where early stopping may have to restore it; ``rounds`` say which round's it is.
    edges : float64 array or None
        The cells in which scores are counted next, see `fl_app.tabular.score_cells`.
    """

    number: int
    arrays: Mapping[str, npt.NDArray[Any]]
    server: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    rounds: tuple[RoundResult, ...] = ()
    best: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    edges: npt.NDArray[np.float64] | None = None

    def save(self, path: Path) -> None:
        """Replace the file at ``path``; the old one is there until the new one is on disk."""
        part = path.with_name(f".{path.name}")
        named: dict[str, Any] = {_MODEL + name: array for name, array in self.arrays.items()}
        named |= {_SERVER + name: array for name, array in self.server.items()}
        named |= {_BEST + name: array for name, array in self.best.items()}
        rounds = json.dumps([entry.document() for entry in self.rounds], allow_nan=False)
        with part.open("wb") as file:
            if self.edges is not None:
                named[_EDGES] = self.edges
            np.savez(file, round=np.array(self.number), rounds=np.array(rounds), **named)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises `UsageError` if the file is damaged or no checkpoint."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                content = {name: archive[name] for name in archive.files}
            model, server, best = (
                {name.removeprefix(prefix): array for name, array in content.items() if name.startswith(prefix)}
                for prefix in (_MODEL, _SERVER, _BEST)
            )
            rounds = tuple(RoundResult.model_validate(entry) for entry in json.loads(str(content["rounds"])))
            return cls(int(content["round"]), model, server, rounds, best, content.get(_EDGES))
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: no checkpoint to resume from: {type(error).__name__}") from error
