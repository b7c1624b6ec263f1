"""What the files that hold a scoring graph have in common, whatever runs it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_app.tabular.encoding import Encoding
from fl_app.tabular.model_errors import check_kind
from server.exports.about import encoding_of, threshold_in

if TYPE_CHECKING:
    import pandas as pd

    from fl_app.tabular.cells import Table


class GraphModel(ABC):
    """A scoring graph and what its file says of it; see `server.exports.about.about`.

    Attributes
    ----------
    threshold : float or None
        The decision threshold, see `fl_app.tabular.threshold`.
    """

    def __init__(self, facts: Mapping[str, Any], path: Path) -> None:
        self._encoding = encoding_of(facts, path)
        self.threshold = threshold_in(facts)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of :meth:`predict_proba`; none where the target is a number."""
        return self._encoding.labels

    @property
    def encoding(self) -> Encoding:
        """How a table's rows become the graph's inputs."""
        return self._encoding

    def predict_proba(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        """Predict class probabilities for a table's rows, float64 [n, C]; raises `UsageError` if it has no classes."""
        check_kind(self._encoding, numeric=False)
        return self._outputs(rows)

    def predict(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        """Predict a numeric target for a table's rows, float64 [n]; raises `UsageError` if the target has classes."""
        check_kind(self._encoding, numeric=True)
        return self._outputs(rows)[:, 0]

    @abstractmethod
    def _outputs(self, rows: "Table | pd.DataFrame") -> NDArray[np.float64]:
        """Run the graph on a table's rows: probabilities, or predictions in one column, float64 [n, outputs]."""
