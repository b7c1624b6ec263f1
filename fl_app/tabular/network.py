"""The networks: layers, then the networks made of them, then building one from an encoding, a name and a seed.

Everything here averages well: no layer keeps running counters (batch norm's would be averaged with the weights, of
unlike pods), and every pod starts from the same parameters, so that hidden unit k is the same unit everywhere.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_app.errors import DataError, UsageError
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.first_values import PERIODIC_SCALE, draw
from fl_app.tabular.own_module import OwnNetwork
from fl_app.tabular.settings import ARCHITECTURES, DEFAULT_ARCHITECTURE, OWN_ARCHITECTURE

HIDDEN = (256, 128)


class Categories(nn.Module):
    """One embedding table for several columns of codes: int64 [n, c] to float [n, c * width].

    Rows start at zero, and a row that no pod has seen, such as that of unknown values, stays there and adds nothing.
    """

    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], width: int) -> None:
        super().__init__()
        starts = np.cumsum([0, *cardinalities])
        self.register_buffer("offsets", torch.from_numpy(starts[:-1].copy()), persistent=False)
        self.table = nn.Embedding(int(starts[-1]), width)
        nn.init.zeros_(self.table.weight)

    def forward(self, codes: Tensor) -> Tensor:
        """Embed the codes, side by side."""
        return self.embed(codes).flatten(1)

    def embed(self, codes: Tensor) -> Tensor:
        """Embed each code apart: float [n, c, width]."""
        if not codes.shape[1]:  # of no columns torch finds no gradients of single rows
            rows = codes.shape[0]  # in an export any number, where len() would be that of the example
            return self.table.weight.new_zeros((rows, 0, self.table.embedding_dim))
        embedded: Tensor = self.table(codes + self.offsets)
        return embedded


class PiecewiseLinear(nn.Module):
    """Piecewise-linear embeddings of numbers: float [n, p] to float [n, p * width].

    Each number becomes, bin by bin, how much of the bin lies below it, and then a linear map of that
    (Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning").

    ``rtdl_num_embeddings.PiecewiseLinearEmbeddings`` computes the same. It was tried on the census demonstration, seed
    0: AUC .9354 on the pods' test rows against .9353 here, .92839 on the public file against .92836, as fast an epoch,
    the same exports. This class stays because that module imports scikit-learn, 1.1 to 1.4 s of processor time in every
    process that answers a training message beside the 1.9 s that it takes to load everything else. The library's layer
    also keeps the edges among its buffers, where they would be sent and averaged; it warns of a column with one bin and
    takes no table without numbers; and its parameters' names and order of bins are not those of earlier model files.
    """

    starts: Tensor
    widths: Tensor

    def __init__(self, edges: Sequence[NDArray[np.float64]], width: int) -> None:
        super().__init__()
        most = max((len(e) - 1 for e in edges), default=0)
        # Columns have unlike numbers of bins and share one tensor. What a column lacks is filled up with bins that lie
        # above every number: always 0, so their weights get no gradient.
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
        """Embed the numbers, side by side."""
        filled = ((numbers.unsqueeze(2) - self.starts) / self.widths).clamp(0, 1)
        return (torch.einsum("npb,pbw->npw", filled, self.weight) + self.bias).flatten(1)


class WideLinear(nn.Module):
    """A linear model beside the network (Cheng et al. 2016, "Wide & Deep Learning").

    It learns what needs no hidden layer from the first steps on, while the network is still near its start.
    """

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.codes = Categories(encoding.cardinalities, encoding.outputs)
        self.numbers = nn.Parameter(torch.zeros(len(encoding.continuous), encoding.outputs))

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Return logits, float [n, C]."""
        logits: Tensor = numbers @ self.numbers + self.codes.embed(codes).sum(1)
        return logits


def _periodic(columns: int, width: int) -> nn.Module:
    """Periodic embeddings of numbers, as in the same paper as the piecewise-linear ones."""
    from rtdl_num_embeddings import PeriodicEmbeddings

    made: nn.Module = PeriodicEmbeddings(columns, width, frequency_init_scale=PERIODIC_SCALE, lite=False)
    return made


def _layers(inputs: int, hidden: Sequence[int], outputs: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def _mean(logits: Tensor, *, numeric: bool) -> Tensor:
    """Return the mean of members' predictions, float [n, members, C] to float [n, C]."""
    if numeric:
        return logits.mean(1)
    # The mean of probabilities, as logits: a softmax of what is returned gives it exactly.
    return logits.log_softmax(2).logsumexp(1) - math.log(logits.shape[1])


def parts_of(network: nn.Module) -> Sequence[nn.Module]:
    """Return the networks that are trained apart: those of a pair, else the network itself."""
    return network.parts if isinstance(network, Pair) else (network,)


def _normalised_edges(encoding: Encoding) -> list[NDArray[np.float64]]:
    normalisation = encoding.normalisation
    parts = zip(normalisation.bins, normalisation.mean, normalisation.std, strict=True)
    return [(np.array(bins) - mean) / std for bins, mean, std in parts]


class Columns(nn.Module):
    """All columns embedded side by side, for a network to derive from: float [n, inputs].

    Numbers go through piecewise-linear or, if ``periodic``, trainable periodic functions. Each number's bin is
    embedded as a category too, which catches values that stand out from their neighbours.

    Attributes
    ----------
    inputs : int
        Width of the embedded columns.
    linear : WideLinear
        The linear model beside the network.
    """

    def __init__(self, encoding: Encoding, *, width: int = 16, periodic: bool = False) -> None:
        super().__init__()
        edges = _normalised_edges(encoding)
        self.numbers = _periodic(len(edges), width) if periodic else PiecewiseLinear(edges, width)
        self.bins = Categories(encoding.bin_counts, width)
        self.codes = Categories(encoding.cardinalities, width)
        self.linear = WideLinear(encoding)
        self.inputs = width * (2 * len(edges) + len(encoding.cardinalities))

    def embed(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Embed the arrays of :class:`~fl_app.tabular.encoding.Encoded`."""
        return torch.cat([self.numbers(numbers).flatten(1), self.bins(bins), self.codes(codes)], 1)


class Mlp(Columns):
    """Embedded columns and two hidden layers, with a linear model beside them.

    The default with piecewise-linear numbers; "periodic" with periodic ones.
    """

    def __init__(self, encoding: Encoding, *, periodic: bool = False, dropout: float = 0.1) -> None:
        super().__init__(encoding, periodic=periodic)
        self.layers = _layers(self.inputs, HIDDEN, encoding.outputs, dropout)
        nn.init.zeros_(self.layers[-1].get_parameter("weight"))  # the first steps start from even odds

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Return logits, float [n, C]."""
        logits: Tensor = self.layers(self.embed(numbers, bins, codes)) + self.linear(numbers, codes)
        return logits


class TabM(Columns):
    """An ensemble of ``members`` networks that share nearly all weights (Gorishniy et al. 2025, "TabM").

    Each member scales the shared layers' inputs and outputs by vectors of its own and has its own last layer. They
    start from one seed in every pod, so that a member is averaged with itself.
    """

    def __init__(self, encoding: Encoding, *, members: int = 8, dropout: float = 0.1) -> None:
        from tabm import EnsembleView, LinearEnsemble, MLPBackboneBatchEnsemble

        super().__init__(encoding)
        self.numeric = encoding.numeric is not None
        self.members = EnsembleView(k=members)
        self.layers = MLPBackboneBatchEnsemble(
            d_in=self.inputs,
            n_blocks=2,
            d_block=HIDDEN[0],
            dropout=dropout,
            k=members,
            tabm_init=True,
            scaling_init="normal",
            start_scaling_init_chunks=None,
        )
        self.output = LinearEnsemble(HIDDEN[0], encoding.outputs, k=members)
        nn.init.zeros_(self.output.weight)

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Return each member's logits in training, float [n, members, C], else those of their mean, float [n, C]."""
        members = self.members(self.embed(numbers, bins, codes))
        logits: Tensor = self.output(self.layers(members)) + self.linear(numbers, codes).unsqueeze(1)
        return logits if self.training else _mean(logits, numeric=self.numeric)


class Linear(nn.Module):
    """A generalised additive model: for each column and class a number for each bin or category, and their sum.

    Each column's part can be read off by itself. It starts at zero.
    """

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        classes = encoding.outputs
        self.bias = nn.Parameter(torch.zeros(classes))
        self.bins = Categories(encoding.bin_counts, classes)
        self.codes = Categories(encoding.cardinalities, classes)

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Return logits, float [n, C]."""
        logits: Tensor = self.bins.embed(bins).sum(1) + self.codes.embed(codes).sum(1) + self.bias
        return logits


class Additive(nn.Module):
    """A slope for each number beside what `Linear` has: so it holds logistic, or linear, regression too.

    Few rows tell a slope where they do not tell the numbers of all bins. It starts at zero.
    """

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(encoding.outputs))
        self.bins = Categories(encoding.bin_counts, encoding.outputs)
        self.linear = WideLinear(encoding)

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Return logits, float [n, C]."""
        logits: Tensor = self.linear(numbers, codes) + self.bins.embed(bins).sum(1) + self.bias
        return logits


class Pair(nn.Module):
    """Two networks, each trained as if it were alone; what is predicted is the mean of both.

    Attributes
    ----------
    parts : sequence of Module
        In the order of `fl_app.tabular.settings.PAIR`, whose names they bear.
    """

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.numeric = encoding.numeric is not None
        self.mlp = Mlp(encoding)
        self.additive = Additive(encoding)

    @property
    def parts(self) -> Sequence[nn.Module]:
        """The two networks."""
        return self.mlp, self.additive

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Return both parts' logits in training, float [n, 2, C], else those of their mean, float [n, C]."""
        logits = torch.stack([part(numbers, bins, codes) for part in self.parts], 1)
        return logits if self.training else _mean(logits, numeric=self.numeric)


class Tutorial(nn.Module):
    """The tutorial's network: an embedding for each category, plain numbers, hidden layers of 1000 and 500."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        sizes = [(n, min(600, round(1.6 * n**0.56))) for n in encoding.cardinalities]
        self.embeddings = nn.ModuleList(nn.Embedding(n, width) for n, width in sizes)
        inputs = sum(width for _, width in sizes) + len(encoding.continuous)
        self.layers = _layers(inputs, (1000, 500), encoding.outputs, dropout=0.1)

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Return logits, float [n, C]."""
        embedded = [embed(codes[:, i]) for i, embed in enumerate(self.embeddings)]
        logits: Tensor = self.layers(torch.cat([*embedded, numbers], 1))
        return logits


def build_network(
    encoding: Encoding, architecture: str = DEFAULT_ARCHITECTURE, seed: int = 0, own: OwnNetwork | None = None
) -> nn.Module:
    """Build a network; the same arguments give the same parameters, on any processor.

    Its ``forward(numbers, bins, codes)`` takes the arrays of :class:`~fl_app.tabular.encoding.Encoded` as
    tensors and returns logits, float [n, C]; in training, those of an ensemble are float [n, members, C]. Where the
    target is a number, C is 1, and it is the target in standard deviations from its mean.

    Parameters
    ----------
    own : OwnNetwork or None
        The modeller's own network, of the architecture "own".

    Raises
    ------
    UsageError
        There is no such architecture, or the modeller's own network is missing, or cannot be trained over pods.
    """
    if architecture == OWN_ARCHITECTURE:
        if own is None:
            raise UsageError("the network is the modeller's own, and its source was not given")
        return own.network(encoding, seed)
    if architecture not in ARCHITECTURES:
        raise UsageError(f"unknown architecture {architecture!r}; allowed are {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        match architecture:
            case "tabm":
                network: nn.Module = TabM(encoding)
            case "tutorial":
                network = Tutorial(encoding)
            case "linear":
                network = Linear(encoding)
            case "additive":
                network = Additive(encoding)
            case "pair":
                network = Pair(encoding)
            case _:
                network = Mlp(encoding, periodic=architecture == "periodic")
    draw(network, seed)
    return network


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
