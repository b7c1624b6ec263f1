"""A trained model in one file that needs nothing else: parameters, encoding and classes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from fl_app.errors import DataError, UsageError
from fl_app.system.files import replacing
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.evaluation import score
from fl_app.tabular.model_errors import check_kind, not_a_model
from fl_app.tabular.network import build_network, load_state
from fl_app.tabular.network_source import check_source, digest_of
from fl_app.tabular.own_module import OwnNetwork
from fl_app.tabular.regression import score_numbers
from fl_app.tabular.settings import OWN_ARCHITECTURE
from fl_app.tabular.threshold import threshold_of
from fl_app.tabular.training import predict_numbers, predict_proba

if TYPE_CHECKING:
    import pandas as pd

    from fl_app.tabular.cells import Table

FORMAT = "fl-app tabular model 1"
SUFFIXES = (".pt", ".safetensors")
_SOURCE = "network"
"""The entry of a file's metadata that holds the source of a network of the modeller's own."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with all that is needed to score a table.

    ``state`` holds the parameters by name, float32; ``extra`` is anything JSON can hold, such as where the
    model came from. ``source`` is that of a network of the modeller's own, which whoever made this object trusts.
    """

    encoding: Encoding
    architecture: str
    state: Mapping[str, NDArray[np.float32]]
    extra: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None

    def network(self) -> torch.nn.Module:
        """Build the network, with the trained parameters; where it is the modeller's own, by running its source."""
        own = None if self.source is None else OwnNetwork.of(self.source)
        network = build_network(self.encoding, self.architecture, own=own)
        load_state(network, self.state)
        return network

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of :meth:`predict_proba`; none where the target is a number."""
        return self.encoding.labels

    @property
    def threshold(self) -> float | None:
        """The score from which on a row is of the second of two classes; None: rows are of their most probable one."""
        return threshold_of(self.extra)

    def predict_proba(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        """Predict class probabilities for a table's rows, float64 [n, C]; the target column is not needed.

        Raises
        ------
        UsageError
            The model's target is a number.
        """
        check_kind(self.encoding, numeric=False)
        return predict_proba(self.network(), self.encoding.encode(rows, with_labels=False))

    def predict(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        """Predict a numeric target for a table's rows, float64 [n], in its unit; the target column is not needed.

        Raises
        ------
        UsageError
            The model tells classes apart.
        """
        check_kind(self.encoding, numeric=True)
        encoded, numeric = self.encoding.encode(rows, with_labels=False), self.encoding.numeric
        return predict_numbers(self.network(), encoded, numeric) if numeric else np.empty(0)

    def evaluate(self, rows: "Table | pd.DataFrame") -> dict[str, float]:
        """Score labelled rows, see `score` and `score_numbers`; those whose label the model does not know are left out.

        Precision, recall and F1 are of the class that the model was trained with as the positive one.
        """
        network = self.network()
        encoded = self.encoding.encode(rows)
        if (numeric := self.encoding.numeric) and encoded.values is not None:
            return score_numbers(encoded.values, predict_numbers(network, encoded, numeric), numeric)
        labels = encoded.labels if encoded.labels is not None else np.empty(0, np.int64)
        settings = self.extra.get("settings") or {}
        positive = settings.get("positive")
        named = self.classes.index(positive) if positive in self.classes else None
        return score(labels, predict_proba(network, encoded), named)

    def save(self, path: str | Path) -> None:
        """Write to a ``.pt`` file, which ``torch.load(weights_only=True)`` reads, or a ``.safetensors`` file.

        Raises
        ------
        UsageError
            The name ends in neither suffix, or the file cannot be written; a file that was there is whole then.
        """
        path = Path(path)
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in self.state.items()}
        metadata = {
            "format": FORMAT,
            "architecture": self.architecture,
            "encoding": self.encoding.to_json(),
            "extra": json.dumps(self.extra),
            **({} if self.source is None else {_SOURCE: self.source}),
        }
        as_safetensors = _suffix(path) == ".safetensors"
        try:
            with replacing(path) as file:  # straight to the disk: in memory it would take the model's size twice more
                if as_safetensors:
                    safetensors.torch.save_file(tensors, file.name, metadata)
                else:
                    torch.save({"state": tensors, "metadata": json.dumps(metadata)}, file)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: str | Path, source: str | None = None) -> Self:
        """Read a file written by :meth:`save`; no code in it is ever run.

        Parameters
        ----------
        source : str or None
            That of a network of the modeller's own. It is run, and the copy in the model file is not: give one that
            you have read.

        Raises
        ------
        UsageError
            There is no such file, its name ends in neither suffix, or its network is the modeller's own and was not
            given, or another was.
        DataError
            The file cannot be read, or does not hold a model of this format, or not a whole one.
        """
        path = Path(path)
        tensors, metadata = _read(path)
        _check_source(path, metadata, source)
        try:
            if metadata.get("format") != FORMAT:
                raise DataError("its format is another one")
            encoding = Encoding.from_json(metadata["encoding"])
            state = {name: tensor.numpy() for name, tensor in tensors.items()}
            model = cls(encoding, metadata["architecture"], state, json.loads(metadata["extra"]), source)
            model.network()
        except (DataError, UsageError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} does not hold a model written by this version: {error}") from error
        return model


def source_in(path: str | Path) -> str | None:
    """Return the source of the network that a model file carries, without running it; None where it has none.

    Raises
    ------
    UsageError, DataError
        As for `TrainedModel.load`.
    """
    source = _read(Path(path))[1].get(_SOURCE)
    return source if isinstance(source, str) else None


def _check_source(path: Path, metadata: Mapping[str, str], source: str | None) -> None:
    """Raise `UsageError` unless the source that the caller gives is the one that a model file was made with."""
    carried = metadata.get(_SOURCE)
    if metadata.get("architecture") != OWN_ARCHITECTURE or not isinstance(carried, str):
        if source is not None:
            raise UsageError(f"{path}: its network is one of fl-app's own, and takes no source")
        return
    if source is None:
        raise UsageError(
            f"{path}: its network is its modeller's own (sha256 {digest_of(carried)[:12]}), and no code in a model "
            f"file is run: write it out with `fl-app export {path} -o network.py`, read it, and give it as --network "
            "network.py, or to TorchModel.load in Python"
        )
    try:
        check_source(source, digest_of(carried))
    except UsageError as error:
        raise UsageError(f"{path} has another network than the one given: {error}") from error


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    read = _read_safetensors if _suffix(path) == ".safetensors" else _read_pt
    if not path.is_file():
        raise UsageError(f"{path}: no such model file")
    try:
        return read(path)
    except Exception as error:
        raise not_a_model(path, error) from error


def _suffix(path: Path) -> str:
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: a model file's name ends in {' or '.join(SUFFIXES)}")
    return path.suffix


def _read_pt(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    return content["state"], json.loads(content["metadata"])


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        # The file's own order of tensors is not the network's; load_state goes by name.
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
