"""The model card: what a model is, what it was made of and how good it is, in Markdown beside the exported file.

After Mitchell et al. 2019, "Model Cards for Model Reporting". What only people can know is left for them to write,
and marked so.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fl_app.tabular.encoding import MIN_BIN_ROWS
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.schema import Column
from server.exports.formats import format_of

FIGURES = ("accuracy", "auc", "f1", "recall", "precision", "brier", "loss", "num_examples")
SHOWN_VALUES = 12

_READS = {
    "safetensors": "`fl-app predict`, or `TrainedModel.load` in Python; no code in it is run.",
    "pt": "`fl-app predict`, or `TrainedModel.load` in Python; `torch.load(weights_only=True)` opens it.",
    "onnx": "any ONNX runtime, without Python code of ours: one [N, 1] input for each column below, text as strings "
    '("" where missing), numbers as float64 (NaN where missing); the output `probabilities` is float32 [N, C]. '
    "Classes and schema are in its metadata.",
    "pt2": "`torch.export.load`: `codes` int64 [N, c] and `numbers` float32 [N, p] in the columns' order, "
    "vocabulary and schema in the extra file `about.json`. PyTorch unpickles parts of such a file: open only those you "
    "trust. A number beyond 2^24 is rounded as float32 rounds it.",
}


def card_path(model: Path) -> Path:
    """Return where the card of the model file ``model`` stands."""
    return model.with_name(f"{model.name}.card.md")


def card(model: TrainedModel, path: Path, results: Mapping[str, Any] | None = None) -> str:
    """Write the card of ``model`` as it is exported to ``path``.

    Parameters
    ----------
    results : mapping or None
        What the run left in results.json; without, the card tells what the model itself knows.
    """
    known = results or {}
    settings = model.extra.get("settings") or {}
    parts = (
        _head(model, path, known),
        _columns(model),
        _training(settings, known),
        _cohort(settings, known),
        _figures(model, known),
        _privacy(settings, known),
        _use(model),
        _limits(),
    )
    return "\n".join(line for part in parts for line in part)


def _head(model: TrainedModel, path: Path, results: Mapping[str, Any]) -> Iterator[str]:
    target = model.encoding.target.name
    yield f"# Model card: {path.name}\n"
    yield f"Gives, for each row of a table, the probability of every class of {_code(target)}. It was trained on"
    yield "several data holders' tables at once, none of which left its holder.\n"
    rows = [
        ("classes", ", ".join(map(_code, model.classes))),
        ("network", f"{model.architecture}, {sum(array.size for array in model.state.values()):,} parameters"),
        ("run", f"{model.extra.get('run', '-')}, started {results.get('started', '-')}"),
        ("format", format_of(path)),
        ("read by", _READS[format_of(path)]),
    ]
    yield from _table(("", ""), rows)


def _columns(model: TrainedModel) -> Iterator[str]:
    yield "## Columns\n"
    yield "As they stand in the CSV file, in this order; missing cells are allowed everywhere.\n"
    yield from _table(("column", "kind", "values"), [_column(column) for column in model.encoding.features])


def _column(column: Column) -> tuple[str, str, str]:
    if column.kind == "categorical":
        values = ", ".join(map(_code, column.values[:SHOWN_VALUES]))
        more = len(column.values) - SHOWN_VALUES
        return _code(column.name), "text", values + (f" and {more} more" if more > 0 else "")
    low, high = column.bounds
    return _code(column.name), "whole number" if column.integer else "number", f"{low:g} to {high:g}"


def _training(settings: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[str]:
    if not settings:
        return
    unit = "epochs" if settings["local_epochs"] else "steps"
    optimizer = settings["optimizer"]
    yield "## Training\n"
    weighted = "their examples" if settings["weighting"] == "examples" else "one each"
    yield (
        f"Federated averaging ({settings['strategy']}), {settings['rounds']} rounds of "
        f"{settings[f'local_{unit}']} local {unit}, batches of {settings['batch_size']}, {optimizer['name']} "
        f"{optimizer['params']}, pods weighted by {weighted}, seed {settings['seed']}."
    )
    if stopped := results.get("stopped"):
        yield f"Training ended with round {stopped['round']}: {stopped['why']}."
    if kept := results.get("kept"):
        yield f"The model is that of round {kept}."
    yield ""


def _cohort(settings: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[str]:
    yield "## Cohort\n"
    if pods := results.get("pods"):
        yield from _table(("pod", "key"), [(_code(pod["name"]), _code(pod["key"])) for pod in pods])
    elif pods := settings.get("pods"):
        yield f"{', '.join(map(_code, pods))}.\n"
    else:
        yield "Not known to this file.\n"
    if differences := results.get("schema_differences"):
        yield "Their tables differ in this:\n"
        yield from (f"- {difference}" for difference in differences)
        yield ""


def _figures(model: TrainedModel, results: Mapping[str, Any]) -> Iterator[str]:
    yield "## Figures\n"
    final, test = results.get("final") or model.extra.get("final"), results.get("test")
    rows = [("pods' test rows", final)] if final else []
    rows += [("public test file", test)] if test else []
    if not rows:
        yield "Not known to this file.\n"
        return
    yield "On rows held back from training, of all pods together: from summed counts, not a mean of means.\n"
    yield from _table(
        ("", *(label for label, _ in rows)), [(n, *(_number(r.get(n)) for _, r in rows)) for n in FIGURES]
    )
    if matrix := results.get("confusion"):
        yield "Confusion matrix of the pods' test rows; true classes down, predicted ones across:\n"
        names = list(map(_code, model.classes))
        yield from _table(("", *names), [(name, *row) for name, row in zip(names, matrix, strict=True)])


def _privacy(settings: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[str]:
    yield "## Privacy\n"
    pods = len(settings.get("pods", ()))
    threshold = (results.get("secure_aggregation") or {}).get("threshold")
    yield "- No row of a table left any pod."
    if settings.get("secure", False):
        least = f", and only if at least {threshold} of {pods} pods were in it" if threshold else ""
        yield "- Updates, example counts, statistics and metrics left each pod masked: only their sum over the pods was"
        yield f"  decoded{least}."
        if pods == 2:
            yield "- With two pods, each can compute the other's sum from the total and its own."
    elif settings:
        yield "- Secure aggregation was off: each pod's update and counts were seen in the clear by the modeller."
    rows = settings.get("min_bin_rows", MIN_BIN_ROWS)
    yield "- The model holds the pods' published column names, category values and bounds, each number's mean and"
    yield f"  deviation over all pods, and bins of numbers with {rows} rows or more."
    yield "- Secure aggregation is not differential privacy: nothing was added to hide what the sum itself, and so the"
    yield "  model, tells of single rows. Membership of a row may be inferred from any model like this one.\n"


def _use(model: TrainedModel) -> Iterator[str]:
    yield "## Intended use\n"
    yield f"Estimating {_code(model.encoding.target.name)} for rows with the columns above, drawn from populations like"
    yield "those of the cohort, with a person answerable for what is decided by it. *Who may use it, for what, and who"
    yield "agreed to that: for the data holders to write here.*\n"


def _limits() -> Iterator[str]:
    yield "## Limits\n"
    yield "- A value that no pod published counts as unknown; a number outside the bounds counts as the nearest bound."
    yield "- Scores are as good as the figures above on rows like the pods' own, and unknown on others."
    yield "- No figure was computed for groups within the rows: check for unequal errors before use."
    yield "- A pod may have sent a wrong update; the protocol finds mistakes in form, not lies in content."


def _table(heads: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    for row in (heads, ["---"] * len(heads), *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    yield ""


def _code(text: str) -> str:
    """Quote a name of the user's, so that nothing in it is read as Markdown."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else "-"
