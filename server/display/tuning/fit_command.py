"""The command that trains a tuning's best settings once more."""

import shlex

from fl_app.secagg.field import FIELD_31
from fl_app.validation import listed_names
from server.modeller.tuning.directory import Tuning
from server.modeller.tuning.space import CLIP_NORM, LR_DECAY


def fit_command(tuning: Tuning) -> str:
    """Return the ``fl-app fit`` that trains the best settings so far for as many rounds as the final run takes.

    Columns that were proposed to the pods are in no option: their file has to be given beside it.
    """
    if not (best := tuning.best):
        return ""
    common, chosen = tuning.settings, best.settings
    structure = common["datastructure"]
    words = ["fl-app", "fit", "--federation", tuning.source, "--pods", listed_names(common["pods"])]
    words += ["--target", structure["target"]]
    if structure["ignore_cols"]:
        words += ["--ignore", listed_names(structure["ignore_cols"])]
    words += [
        "--architecture",
        chosen.architecture,
        "--optimizer",
        chosen.optimizer,
        "--lr",
        f"{chosen.learning_rate:g}",
    ]
    words += ["--weight-decay", f"{chosen.weight_decay:g}", "--lr-decay", f"{LR_DECAY:g}"]
    if chosen.optimizer == "SGD":
        words += ["--clip-norm", f"{CLIP_NORM:g}"]
    words += ["--batch-size", str(chosen.batch_size), "--local-epochs", str(chosen.local_epochs)]
    words += ["--rounds", str(tuning.rungs[-1].rounds), "--early-stopping", "never"]
    words += ["--seed", str(tuning.seed)]
    if common.get("positive") is not None:
        words += ["--positive", common["positive"]]
    if common.get("loss") is not None:
        words += ["--loss", common["loss"]]
    if common.get("class_weight") is not None:
        words += ["--class-weight", common["class_weight"]]
    if common.get("decision", "0.5") != "0.5":
        words += ["--threshold", common["decision"]]
    if common.get("prime_q") == FIELD_31.prime:
        words.append("--compact")
    if tuning.test_file:
        words += ["--test-file", tuning.test_file]
    return shlex.join(words)
