"""The layers that take a table's columns in, and a linear model beside the network."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_app.tabular.encoding import Encoding


class Categories(nn.Module):
    """One embedding table for several columns of codes: int64 [n, c] to float [n, c * width].

    Rows start at zero: a code that no pod has seen, such as unknown, stays neutral.
    """

    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], width: int) -> None:
        super().__init__()
        starts = np.cumsum([0, *cardinalities])
        self.register_buffer("offsets", torch.from_numpy(starts[:-1].copy()), persistent=False)
        self.table = nn.Embedding(int(starts[-1]), width)
        nn.init.zeros_(self.table.weight)

    def forward(self, codes: Tensor) -> Tensor:
        """Look the codes up."""
        return self.look_up(codes).flatten(1)

    def look_up(self, codes: Tensor) -> Tensor:
        """Look the codes up, each apart: float [n, c, width]."""
        embedded: Tensor = self.table(codes + self.offsets)
        return embedded


class PiecewiseLinear(nn.Module):
    """Piecewise-linear embeddings of numbers: float [n, p] to float [n, p * width].

    Each number becomes, bin by bin, how much of the bin lies below it, and then a linear map of that
    (Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning").
    """

    starts: Tensor
    widths: Tensor

    def __init__(self, edges: Sequence[NDArray[np.float64]], width: int) -> None:
        super().__init__()
        most = max((len(e) - 1 for e in edges), default=0)
        # A column with fewer bins is filled up with bins that lie above every number: always 0.
        starts, widths = torch.full((len(edges), most), 1e30), torch.ones(len(edges), most)
        for row, e in enumerate(edges):
            starts[row, : len(e) - 1] = torch.from_numpy(e[:-1]).float()
            widths[row, : len(e) - 1] = torch.from_numpy(np.diff(e)).float()
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("widths", widths, persistent=False)
        self.weight = nn.Parameter(torch.empty(len(edges), most, width))
        self.bias = nn.Parameter(torch.zeros(len(edges), width))
        limit = 1 / math.sqrt(max(most, 1))
        nn.init.uniform_(self.weight, -limit, limit)

    def forward(self, numbers: Tensor) -> Tensor:
        """Embed the numbers."""
        filled = ((numbers.unsqueeze(2) - self.starts) / self.widths).clamp(0, 1)
        return (torch.einsum("npb,pbw->npw", filled, self.weight) + self.bias).flatten(1)


class Linear(nn.Module):
    """A linear model beside the network (Cheng et al. 2016, "Wide & Deep Learning"), which learns at any pace."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.codes = Categories(encoding.cardinalities, len(encoding.labels))
        self.numbers = nn.Parameter(torch.zeros(len(encoding.continuous), len(encoding.labels)))

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Give logits, float [n, C]."""
        logits: Tensor = numbers @ self.numbers + self.codes.look_up(codes).sum(1)
        return logits


class Columns(nn.Module):
    """All columns embedded side by side, for a network to derive from: float [n, inputs].

    Numbers go through piecewise-linear or, if ``periodic``, trainable periodic functions. Each number's bin is
    embedded as a category too, which catches values that stand out from their neighbours.

    Attributes
    ----------
    inputs : int
        The width of what :meth:`embed` gives.
    linear : Linear
        The linear model beside the network.
    """

    def __init__(self, encoding: Encoding, *, width: int = 16, periodic: bool = False) -> None:
        super().__init__()
        edges = _normalised_edges(encoding)
        self.numbers = _periodic(len(edges), width) if periodic else PiecewiseLinear(edges, width)
        self.bins = Categories(encoding.bin_counts, width)
        self.codes = Categories(encoding.cardinalities, width)
        self.linear = Linear(encoding)
        self.inputs = width * (2 * len(edges) + len(encoding.cardinalities))

    def embed(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Embed the arrays of :class:`~fl_app.tabular.encoding.Encoded`."""
        return torch.cat([self.numbers(numbers).flatten(1), self.bins(bins), self.codes(codes)], 1)


def _periodic(columns: int, width: int) -> nn.Module:
    """Periodic embeddings of numbers, as in the same paper as the piecewise-linear ones."""
    from rtdl_num_embeddings import PeriodicEmbeddings

    made: nn.Module = PeriodicEmbeddings(columns, width, frequency_init_scale=0.1, lite=False)
    return made


def _normalised_edges(encoding: Encoding) -> list[NDArray[np.float64]]:
    normalisation = encoding.normalisation
    parts = zip(normalisation.bins, normalisation.mean, normalisation.std, strict=True)
    return [(np.array(bins) - mean) / std for bins, mean, std in parts]
