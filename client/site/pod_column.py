"""What an owner says of one column, entered in the pod file without disturbing the rest of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from client.app.pod_table import PodTable
from client.site.yaml_edit import CannotEdit, edit, write_pod
from fl_app.errors import UsageError
from fl_app.pod.definition import DateConfig, PodDataConfig
from fl_app.pod.pod_file import load_pod
from fl_app.tabular.dates import day_in
from fl_app.tabular.schema import KINDS, Column, Kind, Schema
from fl_app.validation import Location, dotted, explain


@dataclass(frozen=True)
class ColumnSettings:
    """What is to be said of a column; None leaves a setting as it is.

    Attributes
    ----------
    kind : "categorical", "continuous", "date", "auto" or None
        Its kind; "auto": as its cells suggest.
    ignore : bool or None
        Whether nothing of it leaves the pod, not even its name. Whatever else the file says of it is then taken out.
    optional : bool or None
        Whether other pods may lack it.
    unit : str or None
        In which unit its numbers are; "": not said.
    bounds : pair of str or None
        Its public bounds: numbers, or dates.
    parts : tuple of str or None
        Of a date: which parts of it are learnt too.
    """

    kind: Kind | Literal["date", "auto"] | None = None
    ignore: bool | None = None
    optional: bool | None = None
    unit: str | None = None
    bounds: tuple[str, str] | None = None
    parts: tuple[str, ...] | None = None


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
    bounds, units, dates = dict(config.bounds), dict(config.units), dict(config.dates)
    ignored, optional = tuple(config.ignore_cols), tuple(config.optional)
    if settings.kind is not None:
        forced = {kind: tuple(other for other in names if other != name) for kind, names in forced.items()}
        if settings.kind in KINDS:
            forced[settings.kind] = (*forced.get(settings.kind, ()), name)
        dates.pop(name, None)
    own = config.dates.get(name, DateConfig()) if name in config.dates and settings.kind in (None, "date") else None
    if settings.kind == "date" or own:
        bounds.pop(name, None)
        units.pop(name, None)
        dates[name] = _as_date(path, name, own or DateConfig(), settings)
    elif settings.parts is not None:
        raise UsageError(f"{path}: {name!r} is no date, and has no parts: say --kind date too")
    elif settings.bounds is not None:
        bounds[name] = _numbers(settings.bounds)
    elif settings.kind == "categorical":
        bounds.pop(name, None)
    if settings.unit is not None and name not in dates:
        units = {key: value for key, value in units.items() if key != name}
        units |= {name: settings.unit} if settings.unit else {}
    optional = _toggled(optional, name, settings.optional)
    if settings.ignore is not None:
        ignored = _toggled(ignored, name, settings.ignore)
    if name in ignored:
        forced = {kind: tuple(other for other in names if other != name) for kind, names in forced.items()}
        bounds.pop(name, None)
        units.pop(name, None)
        dates.pop(name, None)
        optional = _toggled(optional, name, False)
    fields: dict[str, Any] = {
        "ignore_cols": ignored,
        "force_stypes": {kind: names for kind, names in forced.items() if names or kind in config.force_stypes},
        "bounds": bounds,
        "units": units,
        "dates": dates,
        "optional": optional,
    }
    try:
        return PodDataConfig(**{**dict(config), **fields})
    except ValidationError as error:
        raise _unsound(path, error, PodDataConfig) from None


def _as_date(path: Path, name: str, before: DateConfig, settings: ColumnSettings) -> DateConfig:
    said = {"unit": settings.unit or None, "bounds": settings.bounds, "parts": settings.parts}
    given = {key: value for key, value in said.items() if getattr(settings, key) is not None}
    try:
        return DateConfig.model_validate({**dict(before), **given})
    except ValidationError as error:
        raise _unsound(path, error, DateConfig, ("dates", name)) from None


def _unsound(path: Path, error: ValidationError, model: type[BaseModel], above: Location = ()) -> UsageError:
    problems = explain(error, model.model_json_schema())
    text = "; ".join(f"{dotted((*above, *where))}: {why}".lstrip(": ") for where, why in problems)
    return UsageError(f"{path}: would not be a sound pod file: {text}")


def _numbers(bounds: tuple[str, str]) -> tuple[float, float]:
    try:
        return float(bounds[0]), float(bounds[1])
    except ValueError:
        raise UsageError(
            f"--bounds {','.join(bounds)}: give the least and the greatest number, as in 0,120; of a date two days"
        ) from None


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
    for way, new in _differences(_plain(before), _plain(after)):
        text = edit(text, ("data_config", *way), lambda _, new=new: new)  # type: ignore[misc]
    return text.encode()


def _plain(config: PodDataConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude_none=True)


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
    """Write whole bounds without a decimal point, and days without quotation marks, as people do."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, str):
        return day_in(value)
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
