"""A network of one's own, and its loss, as `docs/own-network.md` explains them: the file that pods' owners approve."""

import torch
from torch import nn


class Residual(nn.Module):
    """Layers whose outputs are added to their inputs; layer norm keeps no counters, so that it can be averaged."""

    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, values):
        return values + self.layers(values)


class Network(nn.Module):
    def __init__(self, inputs, width=64):
        super().__init__()
        self.categories = nn.ModuleList(nn.Embedding(codes, 8) for codes in inputs.categories)
        self.bins = nn.ModuleList(nn.Embedding(bins, 8) for bins in inputs.bins)
        embedded = 8 * (len(inputs.categories) + len(inputs.bins))
        self.first = nn.Linear(inputs.numbers + embedded, width)
        self.blocks = nn.Sequential(Residual(width), Residual(width))
        self.last = nn.Linear(width, inputs.outputs)

    def forward(self, numbers, bins, codes):
        embedded = [embed(codes[:, i]) for i, embed in enumerate(self.categories)]
        embedded += [embed(bins[:, i]) for i, embed in enumerate(self.bins)]
        return self.last(self.blocks(self.first(torch.cat([numbers, *embedded], 1))))


def build(inputs):
    return Network(inputs)


def loss(outputs, targets, weights):
    losses = nn.functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.05)
    return (losses * weights).mean()


METRICS = {"confidence": (0, 1)}


def metrics(outputs, targets):
    return {"confidence": outputs.softmax(1).amax(1)}
