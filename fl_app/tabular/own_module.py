"""A network of the modeller's own: from the source of one file to a torch module that can be trained over pods.

The file defines ``build``, and may define ``loss``, and metrics with their bounds::

    def build(inputs):                       # NetworkInputs
        return MyModule(...)                 # forward(numbers, bins, codes) -> float [n, outputs]

    def loss(outputs, targets, weights):     # what training makes small: a mean over the rows
        ...

    METRICS = {"margin": (-1, 1)}            # means over rows, see `fl_app.tabular.own_metrics`
    def metrics(outputs, targets): return {"margin": ...}

What is made of it must average well: so only float32 parameters, no counters beside them, and the same first values at
every pod. To load a source is to run it: whoever calls this has read it, or has approved the bundle that it came in.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

import torch
from torch import Tensor, nn

from fl_app.errors import UsageError
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.first_values import draw_all_but
from fl_app.tabular.network_source import find_source
from fl_app.tabular.own_metrics import OwnMetrics

_MODULE = "own_network"
_ROWS = 3

OwnLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From outputs float [n, C] (or what the network returns in training), targets, int64 [n] classes or float32 [n]
numbers in standard deviations from their mean, and weights float32 [n], to the mean loss."""


@dataclass(frozen=True)
class NetworkInputs:
    """What ``build`` is told of the table: nothing but what all pods know.

    Attributes
    ----------
    numbers : int
        Columns of numbers, p: ``forward`` is given them as float32 [n, p], normalised, 0 where missing.
    bins : tuple of int
        For each of these columns, how many bins its numbers are cut into, the one of missing values, 0, included:
        ``forward`` is given the bins as int64 [n, p].
    edges : tuple of tuple of float
        For each of these columns, ascending edges of its distinct values, normalised as the numbers are.
    categories : tuple of int
        For each column of categories, how many codes it has: ``forward`` is given them as int64 [n, c]; 0 stands for
        unknown, 1 for missing.
    outputs : int
        What ``forward`` returns for a row: a logit for each class, or 1, a number in standard deviations from the mean.
    encoding : Encoding
        All of this with the columns' names, as the product's own networks take it.
    """

    numbers: int
    bins: tuple[int, ...]
    edges: tuple[tuple[float, ...], ...]
    categories: tuple[int, ...]
    outputs: int
    encoding: Encoding

    @classmethod
    def of(cls, encoding: Encoding) -> Self:
        """Return what an encoding says."""
        normalisation = encoding.normalisation
        parts = zip(normalisation.bins, normalisation.mean, normalisation.std, strict=True)
        return cls(
            numbers=len(encoding.continuous),
            bins=encoding.bin_counts,
            edges=tuple(tuple((edge - mean) / std for edge in edges) for edges, mean, std in parts),
            categories=encoding.cardinalities,
            outputs=encoding.outputs,
            encoding=encoding,
        )


@dataclass(frozen=True)
class OwnNetwork:
    """What a source defines.

    Attributes
    ----------
    build : callable
        Makes the module from `NetworkInputs`.
    loss : callable or None
        What training makes small; None: as for the product's own networks.
    metrics : OwnMetrics or None
        What evaluations tell beside the product's own.
    """

    build: Callable[[NetworkInputs], Any]
    loss: OwnLoss | None = None
    metrics: OwnMetrics | None = None

    @classmethod
    def of(cls, source: str) -> Self:
        """Run a source, and return what it defines.

        Raises
        ------
        UsageError
            If it raises, or does not define what it should.
        """
        module = ModuleType(_MODULE)
        sys.modules[_MODULE] = module  # dataclasses look their module up
        try:
            exec(compile(source, f"{_MODULE}.py", "exec"), vars(module))  # noqa: S102 - approved code, see above
        except Exception as error:
            raise UsageError(f"the network's file cannot be run: {_told(error)}") from error
        build, loss = getattr(module, "build", None), getattr(module, "loss", None)
        if not callable(build):
            raise UsageError("the network's file defines no build(inputs), which returns a torch.nn.Module")
        if loss is not None and not callable(loss):
            raise UsageError("the network's file defines a loss that is no function of outputs, targets and weights")
        return cls(build, loss, OwnMetrics.of(getattr(module, "METRICS", None), getattr(module, "metrics", None)))

    @classmethod
    def named(cls, digest: str | None) -> Self | None:
        """Return the network that a run's settings name, if they name one; raises as `find_source` and `of` do."""
        return None if digest is None else cls.of(find_source(digest))

    def network(self, encoding: Encoding, seed: int) -> nn.Module:
        """Build the network, with first values that are the same to the bit on any processor.

        A parameter that starts at one number, such as 0 or 1, keeps it; all others are drawn from the seed, uniform by
        their fan-in.

        Raises
        ------
        UsageError
            If ``build`` raises, or its network cannot be trained over pods.
        """
        inputs = NetworkInputs.of(encoding)
        network, other = self._built(inputs, 0), self._built(inputs, 1)
        _check(network)
        again = dict(other.named_parameters())
        parameters = dict(network.named_parameters())
        if {n: p.shape for n, p in parameters.items()} != {n: p.shape for n, p in again.items()}:
            raise UsageError("build makes another network each time: it must follow from its inputs alone")
        for (name, buffer), (_, twin) in zip(network.named_buffers(), other.named_buffers(), strict=True):
            if not torch.equal(buffer, twin):
                raise UsageError(f"the buffer '{name}' is random: each pod would have another one")
        constant = {name for name, value in parameters.items() if _same_number(value, again[name])}
        draw_all_but(constant, network, seed, unknown=True)
        return network

    def _built(self, inputs: NetworkInputs, seed: int) -> nn.Module:
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                made = self.build(inputs)
        except Exception as error:
            raise UsageError(f"build raised an error: {_told(error)}") from error
        if not isinstance(made, nn.Module):
            raise UsageError(f"build returned {type(made).__name__}, expected a torch.nn.Module")
        return made

    def try_out(self, encoding: Encoding) -> None:
        """Build the network and give it a few blank rows, in training and not; raises `UsageError` if it will not do.

        What fails here would fail at every pod, once statistics have been summed.
        """
        network = self.network(encoding, 0)
        numbers = torch.zeros(_ROWS, len(encoding.continuous))
        bins = torch.zeros(numbers.shape, dtype=torch.int64)
        codes = torch.zeros(_ROWS, len(encoding.categorical), dtype=torch.int64)
        expected = (_ROWS, encoding.outputs)
        with torch.random.fork_rng(devices=[]):
            try:
                outputs = network.eval()(numbers, bins, codes)
                taught = network.train()(numbers, bins, codes)
            except Exception as error:
                raise UsageError(f"forward(numbers, bins, codes) raised an error: {_told(error)}") from error
            for given in (outputs, taught):
                if not isinstance(given, Tensor) or not given.is_floating_point():
                    raise UsageError(f"forward returned no tensor of floats, expected float {list(expected)}")
            if tuple(outputs.shape) != expected:
                raise UsageError(
                    f"forward returned {list(outputs.shape)} for {_ROWS} rows, expected {list(expected)}: "
                    "a logit for each class, or one number"
                )
            targets = torch.zeros(_ROWS, dtype=torch.float32 if encoding.numeric else torch.int64)
            try:
                with torch.inference_mode():
                    _ = self.metrics and self.metrics.shares(outputs.detach(), targets)
            except UsageError:
                raise
            except Exception as error:
                raise UsageError(f"metrics(outputs, targets) raised an error: {_told(error)}") from error
            if self.loss is None:
                if taught.ndim not in (2, 3) or (taught.shape[0], taught.shape[-1]) != expected:
                    raise UsageError(
                        f"forward returned {list(taught.shape)} in training, expected {list(expected)}, or "
                        f"[{_ROWS}, members, {encoding.outputs}]"
                    )
                return
            try:
                value = self.loss(taught, targets, torch.ones(_ROWS))
                value.backward()  # type: ignore[no-untyped-call]
            except Exception as error:
                raise UsageError(f"loss(outputs, targets, weights) raised an error: {_told(error)}") from error
            if value.ndim:
                raise UsageError(f"loss returned {list(value.shape)}, expected one number: the rows' mean")


def parameters_of(source: str, encoding: Encoding) -> int:
    """Count the parameters of the network that a source builds, without room for them.

    It is built on torch's meta device, whose tensors have a shape and no numbers, from a source that is run for this
    alone. One that looks at numbers while it builds cannot be counted so, and is built as it is.

    Raises
    ------
    UsageError
        If the source cannot be run, or ``build`` raises.
    """
    inputs = NetworkInputs.of(encoding)
    try:
        with torch.device("meta"):
            network = OwnNetwork.of(source)._built(inputs, 0)
    except UsageError:
        network = OwnNetwork.of(source)._built(inputs, 0)
    return sum(value.numel() for value in network.parameters() if not nn.parameter.is_lazy(value))


def _check(network: nn.Module) -> None:
    """Raise `UsageError` if a network has what pods cannot average."""
    named = list(network.named_parameters(remove_duplicate=False))
    if lazy := [name for name, value in named if nn.parameter.is_lazy(value)]:
        raise UsageError(f"'{lazy[0]}' has no size yet: lazy modules cannot be trained over pods; build sized ones")
    seen: dict[int, str] = {}
    for name, value in named:
        if (twin := seen.setdefault(id(value), name)) != name:
            raise UsageError(f"'{twin}' and '{name}' are one parameter: give each layer its own")
        if value.dtype != torch.float32 or value.is_sparse:
            raise UsageError(f"'{name}' is {str(value.dtype).removeprefix('torch.')}, expected float32")
    if kept := [name for name in network.state_dict() if name not in dict(named)]:
        raise UsageError(
            f"'{kept[0]}' is kept beside the parameters, and would be averaged over unlike pods: no batch norm that "
            "tracks statistics, and buffers with persistent=False"
        )
    if not any(value.numel() for _, value in named):
        raise UsageError("the network has no parameters: there is nothing to train")


def _same_number(value: Tensor, again: Tensor) -> bool:
    """Say whether a parameter starts at one number, and at the same whatever torch's generator draws."""
    return torch.equal(value, again) and (value.numel() == 0 or bool((value == value.flatten()[0]).all()))


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
