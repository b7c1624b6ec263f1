"""The state of a run after a completed round: all that is needed to go on from there as if nothing had happened."""

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

_MODEL, _SERVER, _BEST = "array.", "server.", "best."


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
    rounds : tuple of mappings
        The completed rounds as results.json lists them: that file is written later, perhaps never.
    best : mapping
        The best model so far, where early stopping may have to restore it; of which round follows from ``rounds``.
    """

    number: int
    arrays: Mapping[str, npt.NDArray[Any]]
    server: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    rounds: tuple[Mapping[str, Any], ...] = ()
    best: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Replace the file at ``path``; what it held before is lost only once this is on disk."""
        part = path.with_name(f".{path.name}")
        named: dict[str, Any] = {_MODEL + name: array for name, array in self.arrays.items()}
        named |= {_SERVER + name: array for name, array in self.server.items()}
        named |= {_BEST + name: array for name, array in self.best.items()}
        with part.open("wb") as file:
            np.savez(file, round=np.array(self.number), rounds=np.array(json.dumps(self.rounds)), **named)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return what `save` wrote; raises `UsageError` if the file is another or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                kept = {name: archive[name] for name in archive.files}
            model, server, best = (
                {name.removeprefix(head): array for name, array in kept.items() if name.startswith(head)}
                for head in (_MODEL, _SERVER, _BEST)
            )
            return cls(int(kept["round"]), model, server, tuple(json.loads(str(kept["rounds"]))), best)
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: no checkpoint to go on from: {type(error).__name__}") from error
