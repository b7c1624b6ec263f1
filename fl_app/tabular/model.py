"""The networks: made from an encoding, an architecture's name and a seed, of layers that average well."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_app.errors import DataError, UsageError
from fl_app.tabular.architectures import ARCHITECTURES, DEFAULT_ARCHITECTURE
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.layers import Columns

HIDDEN = (256, 128)


class Mlp(Columns):
    """Embedded columns and two hidden layers, with a linear model beside them.

    The default with piecewise-linear numbers; "periodic" with periodic ones.
    """

    def __init__(self, encoding: Encoding, *, periodic: bool = False, dropout: float = 0.1) -> None:
        super().__init__(encoding, periodic=periodic)
        self.layers = _layers(self.inputs, HIDDEN, len(encoding.labels), dropout)
        nn.init.zeros_(self.layers[-1].get_parameter("weight"))  # no random logits in the first steps' way

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Give logits, float [n, C]."""
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
        self.output = LinearEnsemble(HIDDEN[0], len(encoding.labels), k=members)
        nn.init.zeros_(self.output.weight)

    def forward(self, numbers: Tensor, bins: Tensor, codes: Tensor) -> Tensor:
        """Give each member's logits in training, float [n, members, C], else those of their mean, float [n, C]."""
        members = self.members(self.embed(numbers, bins, codes))
        logits: Tensor = self.output(self.layers(members)) + self.linear(numbers, codes).unsqueeze(1)
        if self.training:
            return logits
        return logits.log_softmax(2).logsumexp(1) - math.log(logits.shape[1])


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


def build_network(encoding: Encoding, architecture: str = DEFAULT_ARCHITECTURE, seed: int = 0) -> nn.Module:
    """Build a network; the same arguments give the same parameters, and torch's own generator is left alone.

    Its ``forward(numbers, bins, codes)`` takes the arrays of :class:`~fl_app.tabular.encoding.Encoded` as
    tensors and gives logits, float [n, C]; in training, those of an ensemble are float [n, members, C].
    """
    if architecture not in ARCHITECTURES:
        raise UsageError(f"unknown architecture {architecture!r}; allowed are {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        match architecture:
            case "tabm":
                return TabM(encoding)
            case "tutorial":
                return Tutorial(encoding)
            case _:
                return Mlp(encoding, periodic=architecture == "periodic")


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
