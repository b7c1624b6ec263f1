"""The private runs' section of the study's page, and their picture, from private.json alone."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from benchmarks.joining.figures import deviation, spread
from benchmarks.privacy.cases import (
    CASES,
    DELTA,
    EPSILONS,
    PLAIN_RATE,
    PLAIN_ROUNDS,
    POOLED,
    PRIVATE,
    SEEDS,
    Entry,
    Kind,
)
from benchmarks.privacy.dp_ebm import PINNED
from fl_app.privacy.plan import rounds_for

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURE = "private.png"
LINES: list[tuple[Kind, int, int]] = [*sorted(PRIVATE, key=lambda line: (line[0] == "each by itself", line[1])), POOLED]

_TEXT = """\
## What a promise of privacy costs

Made from `docs/study/private.json`. With `privacy` a run tells of each row of each pod no more than an epsilon and a
delta of {delta:g} allow. The split is *iid*; a seed draws the split and the noise. The runs are the product's own: the
pods' answers, the codec, the rule and its settings, in one process and without masks, which cancel to the bit; only
gradients are summed in a shorter way, to the same sums. The network is the linear one, over bins.
{rounds}; these and all rates were chosen on validation rows of the training file.

- **secure sum**: the noise is in the sum. A pod adds as much as hides its rows if the pods *relied on*, itself
  included, keep their shares of it to themselves and all others collude; the shares of the others come on top. Of two
  pods, one of which may collude, each has to add all of it.
- **each by itself**: the same run without a secure sum. Each pod's own sums are read, and hold all the noise.
- **DP-EBM**: the boosted model of `interpret` {version}, with its defaults, on all rows in one place, a tenth more than
  the pods train on.
- **no privacy**: the same network in an ordinary secure run of three pods, which promises nothing of a row: {plain}
  rounds of FedAvg, AdamW at {rate:g}, the best of four rates by validation rows.

Bounds of numbers are what an owner would state without a look at them, for the pods and for DP-EBM; the pods' category
values are taken as public.
"""


def section(entries: Sequence[Entry]) -> str:
    """Return the section in Markdown; "" where nothing has been measured."""
    if not entries:
        return ""
    low, high = EPSILONS[0], EPSILONS[-1]
    rounds = f"It takes {rounds_for(low)} rounds at epsilon {low:g} and {rounds_for(high)} at {high:g}"
    version = PINNED[0].partition("==")[2]
    parts = [
        _TEXT.format(delta=DELTA, rounds=rounds, version=version, plain=PLAIN_ROUNDS, rate=PLAIN_RATE),
        _state(entries),
        f"![test AUC over epsilon](study/{PICTURE})\n",
        _table(entries, "auc", "test AUC"),
        _table(entries, "accuracy", "accuracy"),
        _findings(entries),
    ]
    return "\n".join(part for part in parts if part)


def write_picture(entries: Sequence[Entry], directory: Path) -> None:
    """Write the picture of the test AUC over epsilon, a part of it for each number of pods."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
    plain = [entry["auc"] for entry in entries if entry["case"]["kind"] == "no privacy"]
    for axis, pods in zip(axes, (2, 3, 10), strict=True):
        styles = iter(("C0o-", "C2s-"))
        for kind, own, honest in LINES:
            if own not in (pods, 1):
                continue
            style = {"secure sum": "", "each by itself": "C1^--", "DP-EBM": "C3v:"}.get(kind, "") or next(styles)
            name = f"{kind}, {honest} relied on" if kind == "secure sum" else kind
            cells = {e: [x["auc"] for x in _of(entries, kind, own, honest, e)] for e in EPSILONS}
            cells = {epsilon: values for epsilon, values in cells.items() if values}
            means, spreads = ([f(values) for values in cells.values()] for f in (np.mean, deviation))
            axis.errorbar(list(cells), means, yerr=spreads, fmt=style, label=name, capsize=2, ms=5)
        if plain:
            axis.axhline(float(np.mean(plain)), color="k", ls="--", lw=1, label="no privacy")
        axis.set(title=f"{pods} pods", xlabel="epsilon", xscale="log", ylim=(0.86, 0.93))
        axis.set_xticks(EPSILONS, [f"{epsilon:g}" for epsilon in EPSILONS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right", fontsize=7)
    axes[0].set_ylabel("test AUC")
    figure.savefig(directory / PICTURE, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _of(entries: Sequence[Entry], kind: Kind, pods: int, honest: int, epsilon: float) -> list[Entry]:
    """Return the entries of a line at one epsilon, a seed each."""
    wanted = {"kind": kind, "pods": pods, "honest": honest, "epsilon": epsilon}
    return [entry for entry in entries if wanted.items() <= entry["case"].items()]


def _state(entries: Sequence[Entry]) -> str:
    missing = len(CASES) - len(entries)
    unfinished = f" {missing} are still to be trained: `make study` goes on with them." if missing else ""
    minutes = sum(entry["seconds"] for entry in entries) / 60
    took = f"{len(entries)} of {len(CASES)} models, {minutes:.0f} minutes of one core"
    return f"{took}; mean and deviation over {SEEDS} seeds.{unfinished}\n"


def _table(entries: Sequence[Entry], metric: str, title: str) -> str:
    lines = [f"| {title} | " + " | ".join(f"epsilon {epsilon:g}" for epsilon in EPSILONS) + " | no privacy |"]
    lines.append("| --- |" + " --- |" * (len(EPSILONS) + 1))
    for kind, pods, honest in LINES:
        name = f"{kind}, {pods} pods, {honest} relied on" if kind == "secure sum" else f"{kind}, {pods} pods"
        name = f"{kind}, pooled rows" if kind == "DP-EBM" else name
        cells = [[entry[metric] for entry in _of(entries, kind, pods, honest, epsilon)] for epsilon in EPSILONS]
        lines.append(f"| {name} | " + " | ".join(spread(cell) if cell else "" for cell in cells) + " | |")
    if plain := [entry[metric] for entry in entries if entry["case"]["kind"] == "no privacy"]:
        lines.append("| the same network, 3 pods |" + " |" * len(EPSILONS) + f" {spread(plain)} |")
    return "\n".join([*lines, ""])


def _findings(entries: Sequence[Entry]) -> str:
    """Say what the tables show, where all that is compared has been measured."""
    means: dict[tuple[str, int, int, float], float] = {
        (kind, pods, honest, epsilon): float(np.mean([entry["auc"] for entry in found]))
        for kind, pods, honest in LINES
        for epsilon in EPSILONS
        if (found := _of(entries, kind, pods, honest, epsilon))
    }
    parts = []
    ours, theirs = ("secure sum", 3, 2, 1.0), (*POOLED, 1.0)
    if ours in means and theirs in means:
        parts.append(
            f"At epsilon 1, three pods of which one colludes are {means[ours] - means[theirs]:.3f} of AUC ahead of "
            "DP-EBM on pooled rows."
        )
    gains = [
        f"{means[summed] - means[apart]:.3f} at epsilon {epsilon:g}"
        for epsilon in EPSILONS
        if (summed := ("secure sum", 10, 9, epsilon)) in means
        and (apart := ("each by itself", 10, 1, epsilon)) in means
    ]
    if gains:
        parts.append(f"What the secure sum is worth to ten pods, nine of them relied on: {', '.join(gains)}.")
    told = []
    for epsilon in EPSILONS:
        off = [
            entry["reported"]["auc"] - entry["auc"]
            for entry in entries
            if (entry["case"]["kind"], entry["case"]["epsilon"]) == ("secure sum", epsilon)
        ]
        if off:
            told.append(f"{np.sqrt(np.mean(np.square(off))):.3f} at epsilon {epsilon:g}")
    if told:
        parts.append(
            "The AUC that a run itself reports, of the pods' validation rows and with noise, is off the test file's by "
            f"a root mean square of {', '.join(told)}."
        )
    return "\n".join([" ".join(parts), ""]) if parts else ""
