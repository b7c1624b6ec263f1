"""What every export says of itself, beside its graph: format, classes, schema and encoding, where it came from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_app.errors import DataError, FlAppError
from fl_app.tabular.cell_text import missing_set
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.threshold import threshold_of

if TYPE_CHECKING:
    from fl_app.tabular.model_file import TrainedModel

FORMAT = "fl-app scoring graph 1"
TEXT_RULE = (
    "without surrounding space, in Unicode NFC; 7.0 and 7 are one text, so are TRUE, True and true; 007 is not 7"
)


def about(model: "TrainedModel") -> dict[str, Any]:
    """Return what JSON can hold of a model but for its parameters."""
    return {
        "format": FORMAT,
        "classes": list(model.classes) or [predicted_column(model.encoding)],
        "architecture": model.architecture,
        "encoding": json.loads(model.encoding.to_json()),
        "reading": reading(model.encoding),
        "origin": dict(model.extra),
    }


def predicted_column(encoding: Encoding) -> str:
    """Return the head of a column of predictions of a numeric target: its name, and its unit where owners name it."""
    target = encoding.target
    return f"{target.name} [{target.unit}]" if target.unit else target.name


def threshold_in(told: Mapping[str, Any]) -> float | None:
    """Return the decision threshold of an export, see `fl_app.tabular.threshold`."""
    origin = told.get("origin")
    return threshold_of(json.loads(origin) if isinstance(origin, str) else origin)


def reading(encoding: Encoding) -> dict[str, Any]:
    """Return what a program that knows nothing of ours needs in order to read a table's cells as the pods read theirs.

    Returns
    -------
    dict
        "text": the rule, in words; "decimal" and "thousands": the marks in numbers, "" for none; for each feature,
        "missing": the texts that stand for no value; "units": those that owners name; "dates": of each date, how many
        "seconds" its unit has, and the "format" of its text, "" for ISO 8601; "parts": of each category that is a part
        of a date, the "date" and which "part" it is.
    """
    return {
        "text": TEXT_RULE,
        "decimal": encoding.numbers.decimal,
        "thousands": encoding.numbers.thousands,
        "missing": {
            column.name: sorted({*column.missing, *missing_set(column.missing)}) for column in encoding.features
        },
        "units": {column.name: column.unit for column in encoding.features if column.unit},
        "dates": {
            column.name: {"seconds": column.date.seconds, "format": column.date.format}
            for column in encoding.features
            if column.date
        },
        "parts": {
            column.name: {"date": column.part.column, "part": column.part.part}
            for column in encoding.features
            if column.part
        },
    }


def encoding_of(told: Mapping[str, Any], path: Path) -> Encoding:
    """Read the encoding back; raises DataError where ``told`` is not what :func:`about` returned."""
    try:
        if told["format"] != FORMAT:
            raise DataError("its format is another one")
        return Encoding.from_json(json.dumps(told["encoding"]))
    except (FlAppError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path} was not exported by this version: {error}") from error
