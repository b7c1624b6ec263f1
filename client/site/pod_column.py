"""What an owner says of one column, entered in the pod file without disturbing the rest of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from client.app.pod_table import PodTable
from client.site.yaml_edit import CannotEdit, edit, write_pod
from fl_app.errors import UsageError
from fl_app.pod.definition import PodDataConfig
from fl_app.pod.pod_file import load_pod
from fl_app.tabular.schema import KINDS, Column, Kind, Schema
from fl_app.validation import dotted, explain


@dataclass(frozen=True)
class ColumnSettings:
    """What is to be said of a column; None leaves a setting as it is.

    Attributes
    ----------
    kind : "categorical", "continuous", "auto" or None
        Its kind; "auto": as its cells suggest.
    ignore : bool or None
        Whether nothing of it leaves the pod, not even its name. Whatever else the file says of it is then taken out.
    optional : bool or None
        Whether other pods may lack it.
    unit : str or None
        In which unit its numbers are; "": not said.
    bounds : pair of float or None
        Its public bounds.
    """

    kind: Kind | Literal["auto"] | None = None
    ignore: bool | None = None
    optional: bool | None = None
    unit: str | None = None
    bounds: tuple[float, float] | None = None


def set_column(path: Path, name: str, settings: ColumnSettings) -> Column | None:
    """Enter in the pod file at ``path`` what is said of the column ``name``, if the table agrees.

    Returns
    -------
    The column as the pod publishes it from now on; None if it is ignored.

    Raises
    ------
    UsageError
        The file is no sound pod file in YAML, is written in a way this cannot change, or has no such column.
    DataError
        The table does not go with it, as where text stands among numbers. The file is then untouched.
    """
    pod = load_pod(path)
    if path.suffix == ".py":
        raise UsageError(f"{path}: a pod written in Python is not changed from here")
    config = _with_column(path, pod.data_config, name, settings)
    meant = pod.model_copy(update={"data_config": config})
    schema = Schema.from_json(PodTable.of(meant).schema())
    if name not in (*schema.names, *config.ignore_cols):
        raise UsageError(f"{path}: {pod.datasource.path.name} has no column {name!r}; it has {', '.join(schema.names)}")
    try:
        write_pod(path, _edited(path, pod.data_config, config), meant)
    except CannotEdit as error:
        raise UsageError(
            f"{path}: is written in a way that cannot be changed from here; change data_config by hand"
        ) from error
    return schema.column(name) if name in schema.names else None


def _with_column(path: Path, config: PodDataConfig, name: str, settings: ColumnSettings) -> PodDataConfig:
    """Return what the pod file is to say, checked as a pod file is."""
    forced = {kind: tuple(names) for kind, names in config.force_stypes.items()}
    bounds, units = dict(config.bounds), dict(config.units)
    ignored, optional = tuple(config.ignore_cols), tuple(config.optional)
    if settings.kind is not None:
        forced = {kind: tuple(other for other in names if other != name) for kind, names in forced.items()}
        if settings.kind in KINDS:
            forced[settings.kind] = (*forced.get(settings.kind, ()), name)
    if settings.bounds is not None:
        bounds[name] = settings.bounds
    elif settings.kind == "categorical":
        bounds.pop(name, None)
    if settings.unit is not None:
        units = {key: value for key, value in units.items() if key != name}
        units |= {name: settings.unit} if settings.unit else {}
    optional = _toggled(optional, name, settings.optional)
    if settings.ignore is not None:
        ignored = _toggled(ignored, name, settings.ignore)
    if name in ignored:
        forced = {kind: tuple(other for other in names if other != name) for kind, names in forced.items()}
        bounds.pop(name, None)
        units.pop(name, None)
        optional = _toggled(optional, name, False)
    fields: dict[str, Any] = {
        "ignore_cols": ignored,
        "force_stypes": {kind: names for kind, names in forced.items() if names or kind in config.force_stypes},
        "bounds": bounds,
        "units": units,
        "optional": optional,
    }
    try:
        return PodDataConfig(**{**dict(config), **fields})
    except ValidationError as error:
        problems = explain(error, PodDataConfig.model_json_schema())
        text = "; ".join(f"{dotted(where)}: {why}".lstrip(": ") for where, why in problems)
        raise UsageError(f"{path}: would not be a sound pod file: {text}") from None


def _toggled(names: Sequence[str], name: str, wanted: bool | None) -> tuple[str, ...]:
    if wanted is None or wanted == (name in names):
        return tuple(names)
    return (*names, name) if wanted else tuple(other for other in names if other != name)


def _edited(path: Path, before: PodDataConfig, after: PodDataConfig) -> bytes:
    """Return the file's content with each setting that differs changed, and the others as they are."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise CannotEdit from error
    for way, new in _differences(before.model_dump(mode="json"), after.model_dump(mode="json")):
        text = edit(text, ("data_config", *way), lambda _, new=new: new)  # type: ignore[misc]
    return text.encode()


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """Return the ways to the values that differ, and the new values; None for one that is gone."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [((key, *way), value) for way, value in _differences(old, new)]
        elif old != new:
            found.append(((key,), _short(new)))
    return found


def _short(value: Any) -> Any:
    """Write whole bounds without a decimal point, as people do."""
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
