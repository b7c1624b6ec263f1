"""What a pod is: its table, who may work with it, and on what terms. A definition only: no data is read, no key.

A pod is written in Python or in YAML, with the same fields::

    name: hospital-a                        Pod(
    datasource: CSVSource                       name="hospital-a",
    datasource_args:                            datasource=CSVSource("patients.csv"),
      path: patients.csv
    approved_pods: [hospital-b]                 approved_pods=["hospital-b"],
                                            )
"""

import runpy
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    GetPydanticSchema,
    ValidationError,
    model_validator,
)
from typing_extensions import TypedDict

from fl_app.datasources import CSVSource, ParquetSource
from fl_app.doors import open_door
from fl_app.errors import FlAppError, UsageError
from fl_app.home import NAME_RULE, is_pod_name
from fl_app.policy import Policy
from fl_app.problems import Location, Problem, dotted, explain, refusal, unknown
from fl_app.yaml_lines import content_of, parse_yaml

__all__ = [
    "CSVSource",
    "ParquetSource",
    "Pod",
    "PodDataConfig",
    "PodDetailsConfig",
    "PodName",
    "Policy",
    "dump_pod",
    "load_pod",
]

_LOADING = "fl_app_pod"
"""The ``__name__`` a Python pod file runs under while it is loaded, so that its ``__main__`` part is left out."""


def _pod_name(name: str) -> str:
    if not is_pod_name(name):
        raise ValueError(NAME_RULE)
    return name


def _without_table_name(given: object) -> object:
    """Take ``{table: {"categorical": [...]}}`` for ``{"categorical": [...]}``: a pod has one table."""
    if isinstance(given, Mapping) and len(given) == 1:
        (table,) = given.values()
        if isinstance(table, Mapping):
            return table
    return given


def _ordered(bounds: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[float, float]]:
    for column, (low, high) in bounds.items():
        if low >= high:
            raise ValueError(f"the bounds of column '{column}' must be [low, high] with low below high")
    return bounds


PodName = Annotated[str, AfterValidator(_pod_name)]
_Names = Annotated[Sequence[str], AfterValidator(tuple)]
"""Written as a list or a tuple, kept as a tuple."""


class _ForcedTypes(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    categorical: _Names
    continuous: _Names


class _Definition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PodDetailsConfig(_Definition):
    """How a pod presents itself to people.

    Attributes
    ----------
    display_name : str
        A name with spaces and capitals.
    description : str
        What the table holds.
    """

    display_name: str = ""
    description: str = ""


class PodDataConfig(_Definition):
    """What of the table a pod offers, and as what.

    Attributes
    ----------
    ignore_cols : sequence of str
        Columns that never leave the pod, not even by name.
    force_stypes : mapping
        ``{"categorical": [...], "continuous": [...]}``: kinds of columns whose values would suggest another.
    bounds : mapping of str to (float, float)
        Public ``(low, high)`` of continuous columns; without them, the least power of two that covers the data.
    optional : sequence of str
        Columns that may be missing in other pods.
    validation_percent, test_percent : int
        How many of a hundred rows are kept from training, to score models on; ``test_percent`` may be 0.
    """

    ignore_cols: _Names = ()
    force_stypes: Annotated[
        Mapping[str, Sequence[str]],
        BeforeValidator(_without_table_name),
        GetPydanticSchema(lambda _, handler: handler(_ForcedTypes)),
    ] = {}
    bounds: Annotated[Mapping[str, tuple[FiniteFloat, FiniteFloat]], AfterValidator(_ordered)] = {}
    optional: _Names = ()
    validation_percent: Annotated[int, Field(ge=1, le=40)] = 10
    test_percent: Annotated[int, Field(ge=0, le=40)] = 10

    @model_validator(mode="after")
    def _one_type_a_column(self) -> Self:
        categorical = set(self.force_stypes.get("categorical", ()))
        if both := categorical.intersection(self.force_stypes.get("continuous", ())):
            raise ValueError(f"column '{min(both)}' is forced to be both categorical and continuous")
        if bounded := categorical.intersection(self.bounds):
            raise ValueError(f"column '{min(bounded)}' has bounds but is forced to be categorical")
        return self


class Pod(_Definition):
    """A data holder: one table, the pods it agrees to work with, and its terms.

    Attributes
    ----------
    name : str
        1 to 64 lowercase letters, digits, hyphens, dots or underscores, the first a letter or digit.
    datasource : CSVSource or ParquetSource
        The table. A relative path is relative to the file in which the pod is written.
    pod_details_config : PodDetailsConfig
        How it presents itself.
    data_config : PodDataConfig
        What of the table it offers.
    approved_pods : sequence of str
        Names of the pods it computes with, once their keys are known too (``fl-app pod approve``).
    policy : Policy
        Its terms.

    Raises
    ------
    pydantic.ValidationError
        If a field is not as said here; a pod file's reader names the line.
    """

    name: PodName
    datasource: CSVSource | ParquetSource
    pod_details_config: PodDetailsConfig = PodDetailsConfig()
    data_config: PodDataConfig = PodDataConfig()
    approved_pods: Annotated[Sequence[PodName], AfterValidator(tuple)] = ()
    policy: Policy = Policy()

    def start(self) -> None:
        """Serve this pod until it is stopped; in a pod file this goes under ``if __name__ == "__main__":``.

        Raises
        ------
        UsageError
            If called while the file is only read: put it under ``if __name__ == "__main__":``.
        """
        caller = sys._getframe(1).f_globals
        if caller.get("__name__") == _LOADING:
            raise UsageError('put pod.start() under `if __name__ == "__main__":`, so that the file can also be read')
        open_door("pod.start")(self.from_directory(Path(caller.get("__file__", "")).parent))

    def from_directory(self, base: Path) -> Self:
        """Return the same pod with the path of its datasource seen from ``base`` and absolute."""
        return self.model_copy(update={"datasource": self.datasource.from_directory(base)})


_SOURCES: Mapping[str, type[CSVSource | ParquetSource]] = {
    source.__name__: source for source in (CSVSource, ParquetSource)
}
_MODELS: Mapping[str, type[BaseModel]] = {
    model.__name__: model for model in (Pod, PodDetailsConfig, PodDataConfig, Policy, *_SOURCES.values())
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
        variables = runpy.run_path(str(path), run_name=_LOADING)
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
        found = ", ".join(pod.name for pod in pods.values()) or "none"
        raise UsageError(f"{path}: must define exactly one Pod in a variable of the module, found {found}")
    return next(iter(pods.values()))


def _line_raising(error: BaseException, path: Path) -> int:
    """Return the line of ``path`` at which ``error`` passed through it, 0 if it did not."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (lines[-1] or 0) if lines else 0
