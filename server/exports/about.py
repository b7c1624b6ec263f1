"""What every export says of itself, beside its graph: format, classes, schema and encoding, where it came from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_app.errors import DataError, FlAppError
from fl_app.tabular.encoding import Encoding
from fl_app.tabular.model_file import TrainedModel

FORMAT = "fl-app scoring graph 1"


def about(model: TrainedModel) -> dict[str, Any]:
    """Return what JSON can hold of a model but for its parameters."""
    return {
        "format": FORMAT,
        "classes": list(model.classes),
        "architecture": model.architecture,
        "encoding": json.loads(model.encoding.to_json()),
        "origin": dict(model.extra),
    }


def encoding_of(told: Mapping[str, Any], path: Path) -> Encoding:
    """Read the encoding back; raises DataError where ``told`` is not what :func:`about` returned."""
    try:
        if told["format"] != FORMAT:
            raise DataError("its format is another one")
        return Encoding.from_json(json.dumps(told["encoding"]))
    except (FlAppError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{path} was not exported by this version: {error}") from error
