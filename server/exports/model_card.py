"""The model card: what a model is, what it was made of and how good it is, in Markdown beside the exported file.

After Mitchell et al. 2019, "Model Cards for Model Reporting". The text is in ``model_card.md.j2``. What only people can
know is left for them to write, and marked so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_app.tabular.encoding import MIN_BIN_ROWS
from fl_app.tabular.model_file import SUFFIXES, TrainedModel
from fl_app.tabular.network_source import digest_of
from fl_app.tabular.schema import Column
from fl_app.validation import counted
from server.app.privacy_result import PrivacyResult
from server.app.results import Results
from server.display import importance
from server.display.groups import groups_told, heads, rows
from server.display.rows_told import rows_told
from server.display.scored_rows import figures_told, scored_rows
from server.display.templates import render
from server.display.training_told import optimizer_told
from server.display.words import NUMERIC_METRICS, interval_told, test_rows
from server.exports.about import TEXT_RULE
from server.exports.formats import format_of

NUMERIC_FIGURES = (*NUMERIC_METRICS, "num_examples")
FIGURES = ("accuracy", "balanced_accuracy", "auc", "f1", "recall", "precision", "brier", "loss", "num_examples")
SHOWN_VALUES = 12
"""A category with more values than this is shown with its first ones and the number of the others."""

_READERS: Mapping[str, str] = {
    "safetensors": "`fl-app predict`, or `TrainedModel.load` in Python; opening it runs no code.",
    "pt": "`fl-app predict`, or `TrainedModel.load` in Python; `torch.load(weights_only=True)` opens it.",
    "onnx": "any ONNX runtime, without fl-app: one [N, 1] input for each column below, text as strings "
    '("" where missing), numbers as float64 (NaN where missing); the output `probabilities` is float32 [N, C], '
    "or `prediction` is float32 [N, 1] where the target is a number. "
    "Classes, schema and how cells are read stand in its metadata.",
    "pt2": "`torch.export.load`: `codes` int64 [N, c] and `numbers` float32 [N, p] in the columns' order, "
    "vocabulary and schema in the extra file `about.json`. PyTorch unpickles parts of such a file: open only those you "
    "trust. A number beyond 2^24 is rounded as float32 rounds it.",
}


@dataclass(frozen=True)
class _ColumnRow:
    """A column's row of the table: either the values of a category, or the range of a number."""

    name: str
    kind: str
    values: tuple[str, ...] = ()
    more: int = 0
    range: str = ""
    unit: str = ""


@dataclass(frozen=True)
class _Training:
    """How the model was trained, from the settings that it carries."""

    strategy: str
    rounds: str
    extent: str
    batch_size: int
    optimizer: str
    weights: str
    seed: int
    secure: bool
    private: bool


_OWN = " The network's source, which `fl-app export` writes as a .py file, is given as --network once you have read it."


def card_path(model: Path) -> Path:
    """Return the path of the card that belongs to the model file ``model``."""
    return model.with_name(f"{model.name}.card.md")


def card(model: TrainedModel, path: Path, results: Mapping[str, Any] | None = None) -> str:
    """Write the card of ``model`` as it is exported to ``path``.

    Parameters
    ----------
    results : mapping or None
        What the run left in results.json; without it, the card has only what the model itself knows.
    """
    known = results or {}
    found = Results.model_validate(known)
    scored = scored_rows(found)
    settings = model.extra.get("settings") or {}
    return render(
        "exports/model_card.md.j2",
        file=path.name,
        target=model.encoding.target,
        numeric=model.encoding.numeric,
        classes=model.classes,
        shown=SHOWN_VALUES,
        architecture=_network(model),
        parameters=sum(array.size for array in model.state.values()),
        run=model.extra.get("run", "-"),
        started=known.get("started", "-"),
        format=format_of(path),
        reader=_READERS[format_of(path)] + (_OWN if model.source and path.suffix in SUFFIXES else ""),
        columns=[_column_row(column) for column in model.encoding.features],
        text_rule=TEXT_RULE,
        marks=model.encoding.numbers,
        missing=_missing(model.encoding.features),
        bare=format_of(path) in ("onnx", "pt2"),
        settings=_training(settings) if settings else None,
        stopped=known.get("stopped"),
        kept=known.get("kept"),
        notes=known.get("notes", ()),
        pods=settings.get("pods", ()),
        pods_with_keys=known.get("pods"),
        figures_told=list(figures_told(found)),
        groups=found.groups,
        group_heads=heads(found.groups) if found.groups else [],
        group_rows=list(rows(found.groups)) if found.groups else [],
        groups_told=list(groups_told(found.groups)) if found.groups else [],
        importance_heads=importance.heads(found.importance) if found.importance else [],
        importance_rows=list(importance.rows(found.importance)) if found.importance else [],
        importance_told=list(importance.importance_told(found.importance)) if found.importance else [],
        rows_told=list(rows_told(found)),
        schema_differences=known.get("schema_differences"),
        figure_names=NUMERIC_FIGURES if model.encoding.numeric else FIGURES,
        figures=_figures(test_rows(found), known.get("final") or model.extra.get("final"), known.get("test")),
        confusion=scored.confusion,
        scored=scored.label,
        threshold=(known.get("secure_aggregation") or {}).get("threshold"),
        min_bin_rows=settings.get("min_bin_rows", MIN_BIN_ROWS),
        privacy=PrivacyResult.model_validate(known.get("privacy") or model.extra.get("privacy") or {}),
    )


def _network(model: TrainedModel) -> str:
    return model.architecture if model.source is None else f"own, sha256 {digest_of(model.source)[:12]}"


def _column_row(column: Column) -> _ColumnRow:
    if column.part:
        what = f"text, the {column.part.part} of the date {column.part.column}"
        return _ColumnRow(column.name, what, values=column.values)
    if column.kind == "categorical":
        more = max(0, len(column.values) - SHOWN_VALUES)
        return _ColumnRow(column.name, "text", values=column.values[:SHOWN_VALUES], more=more)
    kind = "date" if column.date else "whole number" if column.integer else "number"
    return _ColumnRow(column.name, kind, range=column.range, unit=column.unit)


def _missing(columns: Sequence[Column]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return spellings of missing values, each with the columns that it holds for; no columns where it is all."""
    found: dict[tuple[str, ...], list[str]] = {}
    for column in columns:
        found.setdefault(tuple(sorted(filter(None, column.missing))), []).append(column.name)
    return [(texts, tuple(names) if len(found) > 1 else ()) for texts, names in found.items()]


def _training(settings: Mapping[str, Any]) -> _Training:
    unit = "epochs" if settings["local_epochs"] else "steps"
    return _Training(
        strategy=settings["strategy"],
        rounds=counted(settings["rounds"], "round"),
        extent=counted(settings[f"local_{unit}"], f"local {unit[:-1]}"),
        batch_size=settings["batch_size"],
        optimizer=optimizer_told(settings["optimizer"]),
        weights="their examples" if settings["weighting"] == "examples" else "one each",
        seed=settings["seed"],
        secure=settings.get("secure", False),
        private=bool(settings.get("privacy")),
    )


def _figures(label: str, final: Mapping[str, Any] | None, test: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Return a column of the table of figures for each set of rows that was scored."""
    scored = ((label, final), ("public test file", test))
    return [
        {
            "label": label,
            **{
                name: _number(figures.get(name), _deviation(figures, name)) + _interval(figures, name)
                for name in dict.fromkeys((*FIGURES, *NUMERIC_FIGURES))
            },
        }
        for label, figures in scored
        if figures
    ]


def _deviation(figures: Mapping[str, Any], name: str) -> float | None:
    value: float | None = (figures.get("deviations") or {}).get(name)
    return value


def _interval(figures: Mapping[str, Any], name: str) -> str:
    ends = (figures.get("intervals") or {}).get(name)
    return f" ({interval_told(ends)})" if ends else ""


def _number(value: Any, deviation: float | None = None) -> str:
    if deviation is not None and value is not None:
        return (
            f"{_number(value)} ± {deviation:,.0f}" if isinstance(value, int) else f"{_number(value)} ± {deviation:.4f}"
        )
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else "-"
