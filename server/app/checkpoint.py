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
from fl_app.replica.state import Replica
from fl_app.secagg.errors import ProtocolError
from fl_app.secagg.field import Words
from fl_app.secagg.messages import Proof
from server.app.results import RoundResult

_BEST = "best."
_REPLICA, _PROOF, _SUM = "replica", "proof", "sum"


@dataclass(frozen=True)
class Checkpoint:
    """The state after a completed round, as one file that is whole at every moment.

    Attributes
    ----------
    number : int
        The round's number.
    replica : Replica
        What follows from the steps completed so far: model, averaging state, encoding and score cells.
    rounds : tuple of RoundResult
        The completed rounds, since results.json is written later and may not be written at all.
    best : mapping
        The best model so far, where early stopping may have to restore it; ``rounds`` say which round's it is.
    proof : pair or None
        The proof of the round's sum, and the sum, which pods have yet to be told.
    """

    number: int
    replica: Replica
    rounds: tuple[RoundResult, ...] = ()
    best: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    proof: tuple[Proof, Words] | None = None

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """The model, by the arrays' names, each in its own dtype."""
        return self.replica.model

    def save(self, path: Path) -> None:
        """Replace the file at ``path``; the old one is there until the new one is on disk."""
        part = path.with_name(f".{path.name}")
        named: dict[str, Any] = {_BEST + name: array for name, array in self.best.items()}
        named[_REPLICA] = np.frombuffer(self.replica.to_bytes(), np.uint8)
        if self.proof:
            named |= {_PROOF: np.frombuffer(self.proof[0].to_bytes(), np.uint8), _SUM: self.proof[1]}
        rounds = json.dumps([entry.document() for entry in self.rounds], allow_nan=False)
        with part.open("wb") as file:
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
            best = {name.removeprefix(_BEST): array for name, array in content.items() if name.startswith(_BEST)}
            rounds = tuple(RoundResult.model_validate(entry) for entry in json.loads(str(content["rounds"])))
            proof = (Proof.from_bytes(content[_PROOF].tobytes()), content[_SUM]) if _PROOF in content else None
            replica = Replica.from_bytes(content[_REPLICA].tobytes())
            return cls(int(content["round"]), replica, rounds, best, proof)
        except (OSError, EOFError, KeyError, TypeError, ValueError, ProtocolError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: no checkpoint to resume from: {type(error).__name__}") from error
