"""Advice for runs that hardly train: a small table in large batches is over after a handful of steps."""

import math
from collections.abc import Sequence

from fl_app.config import Settled
from server.app.results import RoundResult

FEW_STEPS = 100
"""Steps in the whole run below which a network has hardly moved from where it began."""
_SAYS = "optimizer steps in all"


def steps_in_all(config: Settled, done: RoundResult) -> int | None:
    """Return how many optimizer steps a pod makes in the whole run.

    Parameters
    ----------
    config : Settled
        The run's settings.
    done : RoundResult
        A completed round, whose weight is the sum of its pods' training rows. Each pod is taken to have as many rows as
        the mean of them.

    Returns
    -------
    int or None
        None if the rows are not known: with equal weights the pods do not send their sum.
    """
    if config.local_steps is not None:
        return config.local_steps * config.rounds
    if config.weighting != "examples" or not done.pods:
        return None
    rows = done.weight / len(done.pods)
    return math.ceil(rows / config.batch_size) * (config.local_epochs or 1) * config.rounds


def advised(notes: Sequence[str], config: Settled, done: RoundResult) -> tuple[str, ...]:
    """Return the run's notes with the one on its steps, if these are few; one of an earlier attempt is left out."""
    others = tuple(note for note in notes if _SAYS not in note)
    steps = steps_in_all(config, done)
    if steps is None or steps >= FEW_STEPS:
        return others
    if config.local_steps is None:
        advice = f"lower --batch-size (now {config.batch_size}) or raise --rounds or --local-epochs"
    else:
        advice = f"raise --rounds or --local-steps (now {config.local_steps})"
    return (*others, f"{steps} {_SAYS} at each pod, which trains a network hardly at all: {advice}")
