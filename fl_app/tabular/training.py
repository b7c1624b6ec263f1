"""Training a network on one table's rows, and evaluating it there as counts."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_app.errors import DataError, RunFailed, UsageError
from fl_app.tabular.eager import without_compiler
from fl_app.tabular.encoding import Encoded
from fl_app.tabular.evaluation import Counts
from fl_app.tabular.network import parts_of
from fl_app.tabular.own_metrics import OwnMetrics
from fl_app.tabular.own_module import OwnLoss
from fl_app.tabular.regression import Errors, NumericTarget, errors_of
from fl_app.tabular.score_cells import Edges
from fl_app.tabular.settings import Optimizer
from fl_app.tabular.thin_classes import APART, count_by, counted

EVALUATION_ROWS = 8192
"""Rows scored at once, which bounds the memory that an ensemble's activations take."""


@without_compiler()
def train(
    network: nn.Module,
    encoded: Encoded,
    *,
    optimizer: Optimizer,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 256,
    min_batch_rows: int = 1,
    seed: int = 0,
    lr_factor: float = 1.0,
    proximal_mu: float = 0.0,
    numeric: NumericTarget | None = None,
    class_weights: NDArray[np.float64] | None = None,
    own_loss: OwnLoss | None = None,
) -> float:
    """Train in place for exactly one of ``epochs`` and ``steps``, and return the mean loss over the rows seen.

    An epoch is cut into as few batches as hold at most ``batch_size`` rows each, alike in size, and into fewer if they
    had less than ``min_batch_rows``. The optimiser starts afresh: its state belongs to one pod's path, not to the
    average that the next round starts from. ``lr_factor`` scales its learning rate (a schedule over rounds), and
    ``proximal_mu`` penalises the distance to the parameters the network came with (FedProx, Li et al. 2020). A row's
    loss counts as many times as ``class_weights``, float64 [C], say of its class. A numeric target, ``numeric``, is
    learnt in its standard deviations. ``own_loss`` takes the place of the cross entropy or error, and is given what
    each row counts. Each part of a pair takes its steps as if it were alone. The same arguments and thread count give
    the same parameters; torch's own generator is left alone.

    Raises
    ------
    UsageError
        The duration, the batch size or the optimiser's parameters are not allowed.
    DataError
        There is no labelled row.
    RunFailed
        Training diverged: the loss is no longer a finite number.
    """
    if (epochs is None) == (steps is None):
        raise UsageError("give exactly one of epochs and steps")
    if any(number is not None and number < 1 for number in (epochs, steps, batch_size, min_batch_rows)):
        raise UsageError("batch_size, min_batch_rows, epochs and steps must be at least 1")
    learnt = numeric.standardised(encoded.values) if numeric and encoded.values is not None else encoded.labels
    if learnt is None or not len(encoded):
        raise DataError("there is no labelled row to train on")
    parts = parts_of(network)
    anchors = [[parameter.detach().clone() for parameter in part.parameters()] if proximal_mu else [] for part in parts]
    descent = _optimizer(network, optimizer, lr_factor)
    inputs, labels = _tensors(encoded), torch.from_numpy(learnt)
    rng = np.random.default_rng(seed)
    loss_sum, rows_seen = 0.0, 0
    weights = None if class_weights is None else torch.from_numpy(class_weights.astype(np.float32))
    network.train()
    # Batches are drawn by numpy and dropout by torch: both from ``seed``, so that a run can be repeated exactly.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the processor's alone: others keep each call's stack to tell of it
        batches = max(1, min(-(-len(encoded) // batch_size), len(encoded) // min_batch_rows))
        for rows in _batches(rng, len(encoded), batches, epochs, steps):
            batch = list(_widened(column[rows] for column in inputs))
            targets = labels[rows] if numeric else labels[rows].long()
            descent.zero_grad()
            for part, start in zip(parts, anchors, strict=True):
                outputs = part(*batch)
                if own_loss:
                    counts = torch.ones(len(rows)) if weights is None or numeric else weights[targets]
                    loss = own_loss(outputs, targets, counts)
                else:
                    loss = _error(outputs, targets, numeric) if numeric else _loss(outputs, targets, weights)
                loss_sum += loss.item() * len(rows) / len(parts)
                for parameter, anchor in zip(part.parameters() if start else (), start, strict=True):
                    loss = loss + proximal_mu / 2 * (parameter - anchor).square().sum()
                loss.backward()  # type: ignore[no-untyped-call]
                if optimizer.clip_norm is not None:
                    nn.utils.clip_grad_norm_(part.parameters(), optimizer.clip_norm)
            rows_seen += len(rows)
            descent.step()
    # One NaN among the updates would spoil the sum of all pods, and behind the masks nobody could tell whose it was.
    if not math.isfinite(loss_sum):
        raise RunFailed("training diverged: the loss is not finite; use a smaller learning rate")
    return loss_sum / rows_seen


def predict_proba(network: nn.Module, encoded: Encoded) -> NDArray[np.float64]:
    """Predict class probabilities, float64 [n, C], each row summing to one."""
    return torch.cat([outputs.double().softmax(dim=1) for outputs in _outputs(network, encoded)]).numpy()


def predict_numbers(network: nn.Module, encoded: Encoded, numeric: NumericTarget) -> NDArray[np.float64]:
    """Predict a numeric target, float64 [n], in its own unit and within its bounds."""
    return numeric.predicted(torch.cat(list(_outputs(network, encoded))).squeeze(1).numpy())


def evaluate(
    network: nn.Module, encoded: Encoded, edges: Edges | None = None, ways: Sequence[str] | None = None
) -> Counts:
    """Return the counts of a network's predictions against the labels, in score cells with these ``edges``.

    Each class is counted in one of the ``ways`` of `fl_app.tabular.thin_classes`; None: by itself.

    Raises
    ------
    DataError
        The rows were encoded without labels.
    """
    if encoded.labels is None:
        raise DataError("these rows were encoded without labels and cannot be evaluated")
    probabilities = predict_proba(network, encoded)
    return count_by(encoded.labels, probabilities, edges, ways or [APART] * probabilities.shape[1])


def evaluate_numbers(network: nn.Module, encoded: Encoded, numeric: NumericTarget) -> Errors:
    """Return the errors of a network's predictions of a numeric target, as sums.

    Raises
    ------
    DataError
        The rows were encoded without the target.
    """
    if encoded.values is None:
        raise DataError("these rows were encoded without their target and cannot be evaluated")
    return errors_of(encoded.values, predict_numbers(network, encoded, numeric), numeric)


def own_sums(
    network: nn.Module,
    encoded: Encoded,
    metrics: OwnMetrics,
    numeric: NumericTarget | None = None,
    ways: Sequence[str] | None = None,
) -> NDArray[np.float64]:
    """Sum a network's own metrics over the rows that are counted by ``ways``, float64 [metrics], in units of bounds.

    Raises
    ------
    DataError
        The rows were encoded without the target.
    """
    if numeric is not None and encoded.values is not None:
        targets, kept = torch.from_numpy(numeric.standardised(encoded.values)), None
    elif encoded.labels is not None:
        targets = torch.from_numpy(encoded.labels).long()  # as a loss has them
        kept = torch.from_numpy(counted(encoded.labels, ways)) if ways else None
    else:
        raise DataError("these rows were encoded without their target and cannot be evaluated")
    total, start = torch.zeros(len(metrics.bounds), dtype=torch.float64), 0
    for outputs in _outputs(network, encoded):
        part = slice(start, start := start + len(outputs))
        shares = metrics.shares(outputs, targets[part])
        total += shares.sum(0) if kept is None else shares[kept[part]].sum(0)
    sums: NDArray[np.float64] = total.numpy()
    return sums


def _outputs(network: nn.Module, encoded: Encoded) -> Iterator[Tensor]:
    network.eval()
    with torch.inference_mode():
        for part in zip(*(torch.split(part, EVALUATION_ROWS) for part in _tensors(encoded)), strict=True):
            yield network(*_widened(part))


def _error(outputs: Tensor, values: Tensor, numeric: NumericTarget) -> Tensor:
    """Mean error of outputs, float [n, 1] or of an ensemble [n, members, 1], against standardised values."""
    values = values.reshape(-1, *[1] * (outputs.ndim - 1)).expand_as(outputs)
    if numeric.loss == "absolute":
        return nn.functional.l1_loss(outputs, values)
    return nn.functional.mse_loss(outputs, values)


def _loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy of logits, float [n, C]; of an ensemble's, float [n, members, C], the members' mean.

    With ``weights``, float [C], each row's cross entropy is that many times what it is.
    """
    if logits.ndim == 3:
        # Each member is taught by its own loss: that of their mean would let some rest on the others.
        labels = labels.repeat_interleave(logits.shape[1])
        logits = logits.flatten(0, 1)
    if weights is None:
        return nn.functional.cross_entropy(logits, labels)
    return (nn.functional.cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()


def _tensors(encoded: Encoded) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(encoded.numbers), torch.from_numpy(encoded.bins), torch.from_numpy(encoded.codes)


def _widened(parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield numbers as they are, and codes as the int64 that networks take: a batch at a time, not the table."""
    return (part if part.is_floating_point() else part.long() for part in parts)


def _optimizer(network: nn.Module, optimizer: Optimizer, lr_factor: float) -> torch.optim.Optimizer:
    try:
        made: torch.optim.Optimizer = getattr(torch.optim, str(optimizer.name))(
            network.parameters(), **optimizer.params
        )
    except ValueError as error:
        raise UsageError(f"{optimizer.name} refuses its parameters: {error}") from None
    for group in made.param_groups:
        group["lr"] *= lr_factor  # after the fact, so that torch's own default rate is scaled too
    return made


def _batches(
    rng: np.random.Generator, rows: int, batches: int, epochs: int | None, steps: int | None
) -> Iterator[Tensor]:
    """Shuffle and cut the rows once an epoch, until ``epochs`` are over or ``steps`` batches were yielded.

    The batches of an epoch differ by one row at most. A last one of a few rows would show these, to whoever picks a
    decay by which the earlier ones are forgotten; and so would a sum that leaves a few rows out.
    """
    yielded = 0
    for _ in range(epochs) if epochs is not None else itertools.count():
        for rows_of_batch in torch.tensor_split(torch.from_numpy(rng.permutation(rows)), batches):
            if yielded == steps:
                return
            yield rows_of_batch
            yielded += 1
