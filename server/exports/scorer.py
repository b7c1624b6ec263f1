"""A trained model as one torch module that takes what a table holds: codes of categories, and numbers as they are."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fl_app.tabular.cells import absent_numbers
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.regression import NumericTarget


class RawScorer(nn.Module):
    """Normalisation, bins' codes, network and softmax in one, so that an export of it needs nothing else.

    Where the target is a number, its scale and bounds take the place of the softmax.

    Parameters
    ----------
    model : TrainedModel
        What is exported.
    dtype : torch.dtype
        Of the numbers that will come in: float64 as pods read them, or float32. Edges are rounded alike, so that a
        number that equals an edge falls into the same bin in both.
    """

    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor
    inner: Tensor
    absent: Tensor
    codes: Tensor
    starts: Tensor

    def __init__(self, model: TrainedModel, dtype: torch.dtype) -> None:
        super().__init__()
        encoding, normalisation = model.encoding, model.encoding.normalisation
        self.numeric = encoding.numeric
        self.network = model.network()
        bounds = np.array([column.bounds for column in encoding.continuous]).reshape(-1, 2)
        parts = {"low": bounds[:, 0], "high": bounds[:, 1], "mean": normalisation.mean, "std": normalisation.std}
        for name, values in parts.items():
            self.register_buffer(name, torch.tensor(np.array(values), dtype=torch.float64))
        self.register_buffer("inner", _inner_edges(normalisation.cells).to(dtype))
        self.register_buffer("absent", _absent_numbers(encoding).to(dtype))
        lengths = [len(column) for column in normalisation.codes]
        self.register_buffer("codes", torch.tensor(sum(normalisation.codes, ()), dtype=torch.int64))
        self.register_buffer("starts", torch.tensor([0, *lengths][:-1], dtype=torch.int64).cumsum(0))
        for tensor in (*self.parameters(), *self.buffers()):
            # Of a table without text, or without numbers. What came from numpy has an address even when it is
            # empty, which torch.export.save takes for a part of something larger.
            if not tensor.numel():
                tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype)
        self.eval()

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Give probabilities, float32 [n, C], or predictions of a numeric target, float32 [n, 1].

        Parameters
        ----------
        codes : int64 [n, c]
            Categorical features: 0 unknown, 1 missing, 2.. the schema's values.
        numbers : [n, p]
            Continuous features in their own units; where missing, NaN or a number that stands for it, such as -999.
        """
        missing = numbers.isnan()
        if self.absent.shape[1]:
            missing = missing | (numbers.unsqueeze(2) == self.absent).any(2)
        present = torch.where(missing, 0.0, numbers)
        bins = self.codes[self.starts + (present.unsqueeze(2) >= self.inner).to(torch.int64).sum(2)]
        exact = torch.minimum(torch.maximum(present.to(torch.float64), self.low), self.high)
        normalised = ((exact - self.mean) / self.std).to(torch.float32)
        outputs = self.network(torch.where(missing, 0.0, normalised), torch.where(missing, 0, bins), codes)
        outputs = outputs.to(torch.float64)
        scores: Tensor = self._numbers(outputs, self.numeric) if self.numeric else outputs.softmax(dim=1)
        return scores.to(torch.float32)

    @staticmethod
    def _numbers(outputs: Tensor, numeric: NumericTarget) -> Tensor:
        return (numeric.mean + numeric.std * outputs).clamp(numeric.groups[0], numeric.groups[-1])


class ColumnScorer(nn.Module):
    """A `RawScorer` that takes its columns one by one, each [n, 1]: all categorical ones, then all numbers."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.scorer = RawScorer(model, torch.float64)
        self._categorical = len(model.encoding.categorical)

    def forward(self, columns: list[Tensor]) -> Tensor:
        """Give probabilities, float32 [n, C]."""
        codes, numbers = columns[: self._categorical], columns[self._categorical :]
        rows = columns[0].shape[0]
        scores: Tensor = self.scorer(_joined(codes, rows, torch.int64), _joined(numbers, rows, torch.float64))
        return scores


def _joined(columns: Sequence[Tensor], rows: int, dtype: torch.dtype) -> Tensor:
    return torch.cat(list(columns), 1) if columns else torch.zeros(rows, 0, dtype=dtype)


def _absent_numbers(encoding: Encoding) -> Tensor:
    """Lay the numbers that stand for a missing value side by side, float64 [p, most], filled up with NaN."""
    found = [absent_numbers(column.missing, column.date) for column in encoding.continuous]
    absent = torch.full((len(found), max(map(len, found), default=0)), torch.nan, dtype=torch.float64)
    for row, numbers in enumerate(found):
        absent[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.float64)
    return absent


def _inner_edges(cells: Sequence[Sequence[float]]) -> Tensor:
    """Lay the edges that part cells side by side, float64 [p, most]; a shorter row is filled up with infinity."""
    most = max((len(edges) - 2 for edges in cells), default=0)
    inner = torch.full((len(cells), most), torch.inf, dtype=torch.float64)
    for row, edges in enumerate(cells):
        inner[row, : len(edges) - 2] = torch.tensor(edges[1:-1], dtype=torch.float64)
    return inner
