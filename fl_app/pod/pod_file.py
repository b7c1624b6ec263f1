"""Pod files: a pod written in YAML or in Python, read with every problem named, and written as YAML."""

import runpy
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from fl_app.errors import FlAppError, UsageError
from fl_app.pod.datasource import CSVSource, ParquetSource
from fl_app.pod.definition import LOADING, DateConfig, Pod, PodDataConfig, PodDetailsConfig
from fl_app.pod.policy import Policy
from fl_app.pod.yaml_lines import content_of, parse_yaml
from fl_app.validation import Location, Problem, dotted, explain, refusal, unknown

_SOURCES: Mapping[str, type[CSVSource | ParquetSource]] = {
    source.__name__: source for source in (CSVSource, ParquetSource)
}
_MODELS: Mapping[str, type[BaseModel]] = {
    model.__name__: model for model in (Pod, PodDetailsConfig, PodDataConfig, DateConfig, Policy, *_SOURCES.values())
}


def load_pod(path: str | Path) -> Pod:
    """Read the pod written in a ``.yaml``, ``.yml`` or ``.py`` file; the path of its datasource becomes absolute.

    A ``.py`` file is run, and must leave exactly one `Pod` in a variable of its own.

    Raises
    ------
    UsageError
        If the file is not such a file, with every problem found, its key and its line.
    """
    path = Path(path)
    readers = {".yaml": _read_yaml_pod, ".yml": _read_yaml_pod, ".py": _read_python_pod}
    if path.suffix not in readers:
        raise UsageError(f"{path}: a pod file ends in {', '.join(readers)}")
    if not path.is_file():
        raise UsageError(f"{path}: no such pod file")
    return readers[path.suffix](path).from_directory(path.parent)


def dump_pod(pod: Pod) -> str:
    """Return the YAML of ``pod``; `load_pod` reads it back equal but for a relative path, which becomes absolute."""
    fields = pod.from_directory(Path()).model_dump(mode="json", exclude_defaults=True)
    arguments = fields.pop("datasource")
    source = {"datasource": type(pod.datasource).__name__, "datasource_args": arguments}
    return yaml.safe_dump({"name": fields.pop("name"), **source, **fields}, sort_keys=False, allow_unicode=True)


def _read_yaml_pod(path: Path) -> Pod:
    return _yaml_pod(path, content_of(path))


@lru_cache(maxsize=64)
def _yaml_pod(path: Path, content: bytes) -> Pod:
    """Return the pod in the content of a file, which is parsed again for the next message only if it has changed."""
    document = parse_yaml(path, content)
    if not isinstance(document.value, dict):
        raise UsageError(f"{path}: a pod file gives keys and values, starting with name and datasource")
    fields: dict[str, Any] = _with_text_keys(document.value)
    problems: list[Problem] = []

    def complain(location: Location, text: str) -> None:
        problems.append(Problem(document.line(location), dotted(location), text))

    approved = "other_pods" if "other_pods" in fields else "approved_pods"
    if approved == "other_pods":
        if "approved_pods" in fields:
            complain((approved,), "the older name of approved_pods: give one of the two")
        fields["approved_pods"] = fields.pop(approved)

    named, arguments = fields.get("datasource"), fields.pop("datasource_args", None) or {}
    source = _SOURCES.get(str(named))
    if source is None:
        complain(("datasource",), unknown(named, _SOURCES, "datasource") if named else "required, but missing")
    else:
        try:
            fields["datasource"] = source.model_validate(_with_text_keys(arguments))
        except ValidationError as error:
            for location, text in explain(error, source.model_json_schema()):
                complain(("datasource_args", *location), text)

    try:
        pod = Pod.model_validate(fields)
    except ValidationError as error:
        schema = Pod.model_json_schema()
        schema["properties"]["datasource_args"] = {}
        for location, text in explain(error, schema):
            if location[0] != "datasource":  # a wrong datasource has been explained above
                complain((approved, *location[1:]) if location[0] == "approved_pods" else location, text)
    if problems:
        raise refusal(path, problems)
    return pod


def _with_text_keys(given: Any) -> Any:
    """Return a mapping with its keys as text (YAML reads ``on:`` as True); anything else as it is."""
    return {str(key): value for key, value in given.items()} if isinstance(given, dict) else given


def _read_python_pod(path: Path) -> Pod:
    try:
        variables = runpy.run_path(str(path), run_name=LOADING)
    except ValidationError as error:
        schema = _MODELS[error.title].model_json_schema() if error.title in _MODELS else {}
        line = _line_raising(error, path)
        raise refusal(path, [Problem(line, dotted(where), text) for where, text in explain(error, schema)]) from error
    except SyntaxError as error:
        raise refusal(path, [Problem(error.lineno or 0, "", f"not Python: {error.msg}")]) from error
    except FlAppError as error:
        raise refusal(path, [Problem(_line_raising(error, path), "", str(error))]) from error
    except (Exception, SystemExit) as error:
        text = f"stopped with {type(error).__name__}: {error}"
        raise refusal(path, [Problem(_line_raising(error, path), "", text)]) from error
    pods = {id(value): value for value in variables.values() if isinstance(value, Pod)}
    if len(pods) != 1:
        defined = ", ".join(pod.name for pod in pods.values()) or "none"
        raise UsageError(f"{path}: must define exactly one Pod in a variable of the module, found {defined}")
    return next(iter(pods.values()))


def _line_raising(error: BaseException, path: Path) -> int:
    """Return the line of ``path`` at which ``error`` passed through it, 0 if it did not."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (lines[-1] or 0) if lines else 0
