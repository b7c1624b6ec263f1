"""What is said of how the pods train: the settings in words, and which of them follow from the table."""

from collections.abc import Mapping
from typing import Any

from fl_app.tabular.settings import AUTO_ARCHITECTURE, PAIR
from fl_app.validation import counted
from server.app.results import ComparisonResult, Results
from server.display.words import number


def training_told(results: Results) -> str:
    """Return one sentence with the settings of the training; "" before they are known."""
    training = results.training
    if not training:
        return ""
    text = in_words(training.settings, private=results.private)
    return f"training: {text}{_why(training.rows, training.follows)}"


def comparison_told(compared: ComparisonResult) -> str:
    """Return one sentence with what came of comparing networks."""
    losses = ", ".join(f"{network} {number(loss)}" for network, loss in compared.losses.items())
    return f"network: {compared.chosen} goes on after round {compared.round}, since {compared.why} (loss: {losses})"


def in_words(settings: Mapping[str, Any], *, private: bool = False) -> str:
    """Return settings as they stand in `server.app.results.TrainingResult`, in words."""
    network = f"{settings['architecture']} network"
    if settings["architecture"] == AUTO_ARCHITECTURE:
        network = f"{' and '.join(PAIR)} networks, of which the better one or both go on after a third of the rounds"
    if private:
        return f"{network}, {counted(settings['rounds'], 'round')} of one step over all rows each"
    unit = "epoch" if settings["local_epochs"] else "step"
    stopping = settings["early_stopping"]
    rounds = f"{'up to ' if stopping else ''}{counted(settings['rounds'], 'round')}"
    parts = [
        network,
        f"{rounds} of {counted(settings[f'local_{unit}s'], f'local {unit}')}",
        f"batches of {settings['batch_size']}",
        optimizer_told(settings["optimizer"]),
    ]
    if stopping:
        parts.append(f"until {stopping['metric']} does not improve for {counted(stopping['patience'], 'round')}")
    return ", ".join(parts)


def optimizer_told(optimizer: Mapping[str, Any]) -> str:
    """Return an optimizer as it stands in settings, in words; one without a name follows from the table else."""
    params = [f"{name} {value}" for name, value in optimizer["params"].items()]
    norm = optimizer.get("clip_norm")
    clipped = [] if norm is None else [f"gradients of norm {norm:g} at most"]
    return ", ".join([optimizer["name"] or "the table's", *params, *clipped])


def _why(rows: int, follows: tuple[str, ...]) -> str:
    if not follows or not rows:
        return ""
    return f" (as {rows:,} rows suggest; options change it)"
