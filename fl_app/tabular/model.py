"""The networks: made from an encoding, an architecture's name and a seed, of layers that average well."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_app.errors import DataError, UsageError
from fl_app.tabular.encoding import Encoding

ARCHITECTURES = ("mlp", "tutorial")
DEFAULT_ARCHITECTURE = "mlp"


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
        embedded: Tensor = self.table(codes + self.offsets)
        return embedded.flatten(1)


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


class Mlp(nn.Module):
    """The default: piecewise-linear numbers, embedded categories, and two hidden layers.

    Each number's bin is embedded as a category too, which catches values that stand out from their neighbours.
    """

    def __init__(
        self, encoding: Encoding, *, width: int = 16, hidden: Sequence[int] = (256, 128), dropout: float = 0.1
    ) -> None:
        super().__init__()
        edges = _normalised_edges(encoding)
        self.numbers = PiecewiseLinear(edges, width)
        # As many codes as edges: the bins, and missing.
        self.bins = Categories([len(column) for column in edges], width)
        self.codes = Categories(encoding.cardinalities, width)
        inputs = width * (2 * len(edges) + len(encoding.cardinalities))
        self.layers = _layers(inputs, hidden, len(encoding.labels), dropout)
        nn.init.zeros_(self.layers[-1].get_parameter("weight"))  # no random logits in the first steps' way
        self.linear = Linear(encoding)

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Give logits, float [n, C]."""
        deep = self.layers(torch.cat([self.numbers(numbers), self.bins(bins), self.codes(codes)], 1))
        logits: Tensor = deep + self.linear(numbers, codes)
        return logits


class Linear(nn.Module):
    """A linear model beside the network (Cheng et al. 2016, "Wide & Deep Learning"), which learns at any pace."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.codes = Categories(encoding.cardinalities, len(encoding.labels))
        self.numbers = nn.Parameter(torch.zeros(len(encoding.continuous), len(encoding.labels)))
        self._shape = (len(encoding.cardinalities), len(encoding.labels))

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Give logits, float [n, C]."""
        logits: Tensor = numbers @ self.numbers + self.codes(codes).reshape(len(codes), *self._shape).sum(1)
        return logits


class Tutorial(nn.Module):
    """The tutorial's network: an embedding for each category, plain numbers, hidden layers of 1000 and 500."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        sizes = [(n, min(600, round(1.6 * n**0.56))) for n in encoding.cardinalities]
        self.embeddings = nn.ModuleList(nn.Embedding(n, width) for n, width in sizes)
        inputs = sum(width for _, width in sizes) + len(encoding.continuous)
        self.layers = _layers(inputs, (1000, 500), len(encoding.labels), dropout=0.1)

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Give logits, float [n, C]."""
        embedded = [embed(codes[:, i]) for i, embed in enumerate(self.embeddings)]
        logits: Tensor = self.layers(torch.cat([*embedded, numbers], 1))
        return logits


def _layers(inputs: int, hidden: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def _normalised_edges(encoding: Encoding) -> list[NDArray[np.float64]]:
    normalisation = encoding.normalisation
    parts = zip(normalisation.bins, normalisation.mean, normalisation.std, strict=True)
    return [(np.array(bins) - mean) / std for bins, mean, std in parts]


def build_network(encoding: Encoding, architecture: str = DEFAULT_ARCHITECTURE, seed: int = 0) -> nn.Module:
    """Build a network; the same arguments give the same parameters, and torch's own generator is left alone.

    Its ``forward(numbers, bins, codes)`` takes the arrays of :class:`~fl_app.tabular.encoding.Encoded` as
    tensors and gives logits, float [n, C].
    """
    if architecture not in ARCHITECTURES:
        raise UsageError(f"unknown architecture {architecture!r}; allowed are {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Mlp(encoding) if architecture == "mlp" else Tutorial(encoding)


def state_of(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Copy a network's parameters out, by name, in a fixed order."""
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


def load_state(network: nn.Module, state: Mapping[str, NDArray[np.float32]] | Sequence[NDArray[np.float32]]) -> None:
    """Copy parameters in, by name or in the order of :func:`state_of`; raises DataError where they do not fit."""
    own = network.state_dict()
    named = state if isinstance(state, Mapping) else dict(zip(own, state, strict=False))
    if named.keys() != own.keys() or len(state) != len(own):
        raise DataError("these parameters belong to another network: their names or number differ")
    for name, tensor in own.items():
        if named[name].shape != tuple(tensor.shape):
            raise DataError(f"parameter {name!r} has shape {named[name].shape}, expected {tuple(tensor.shape)}")
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in named.items()})
