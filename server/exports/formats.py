"""The formats a trained model can be written in, and the one way to score a table with any of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import UsageError
from fl_app.system.files import replace_file
from fl_app.tabular.encoding import Encoding

if TYPE_CHECKING:
    import pandas as pd

    from fl_app.tabular.cells import Table
    from fl_app.tabular.model_file import TrainedModel

FORMATS = ("safetensors", "pt", "onnx", "pt2")
"""Each is its files' suffix too; the first is the default."""


class Scorer(Protocol):
    """A model of any format, opened for scoring."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of :meth:`predict_proba`; none where the target is a number."""

    @property
    def encoding(self) -> Encoding:
        """How a table's rows become arrays."""

    @property
    def threshold(self) -> float | None:
        """The score from which on a row is of the second of two classes; None: rows are of their most probable one."""

    def predict_proba(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        """Predict class probabilities for a table's rows, float64 [n, C]."""

    def predict(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        """Predict a numeric target for a table's rows, float64 [n], in its unit."""


def export(model: "TrainedModel", path: Path) -> None:
    """Write ``model`` to ``path`` in the format that its suffix names.

    Raises
    ------
    UsageError
        The suffix is none of `FORMATS`, a needed extra is not installed, or the file cannot be written.
    """
    form = format_of(path)
    if form not in ("onnx", "pt2"):
        model.save(path)
        return
    if not path.parent.is_dir():  # told before the export, which takes seconds
        raise UsageError(f"{path}: cannot be written: there is no directory {path.parent}")
    if form == "onnx":
        from server.exports.onnx import to_onnx

        content = to_onnx(model)
    else:
        from server.exports.pt2 import to_pt2

        content = to_pt2(model)
    try:
        replace_file(path, content)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def open_scorer(path: Path, source: str | None = None) -> Scorer:
    """Open the model file ``path``; ``source`` is that of a network of one's own, see `TrainedModel.load`.

    Raises
    ------
    UsageError
        There is no such file, its suffix is none of `FORMATS`, or a needed extra is not installed.
    DataError
        The file holds no model of its format written by this version.
    """
    form = format_of(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such model file")
    if source is not None and form in ("onnx", "pt2"):
        raise UsageError(f"{path}: it holds its network as a graph, and takes no source: leave it out")
    if form == "onnx":
        from server.exports.onnx import OnnxModel

        return OnnxModel(path)
    if form == "pt2":
        from server.exports.pt2 import Pt2Model

        return Pt2Model(path)
    from fl_app.tabular.model_file import TrainedModel  # with torch, which a model in ONNX does not need

    return TrainedModel.load(path, source)


def format_of(path: Path) -> str:
    """Name the format that ``path`` ends in; raises UsageError where it is none of `FORMATS`."""
    form = path.suffix.removeprefix(".")
    if form not in FORMATS:
        raise UsageError(f"{path}: the name of a model file ends in {', '.join(f'.{form}' for form in FORMATS)}")
    return form
