"""Which columns of several pods go together, why others do not, and what each owner would have to set."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fl_app.tabular.combining import (
    Columns,
    SchemaMismatch,
    check_target,
    combine,
    disagreements,
    misfits,
    names_of,
    pods_by_date,
    pods_by_kind,
)
from fl_app.tabular.schema import Column, Kind, Schema

Verdict = Literal["fits", "differs", "does not fit"]
_FAR = 8.0
"""Bounds of two pods that differ by this factor or more hint at another unit, or at values that are no measurements."""


@dataclass(frozen=True)
class ColumnVerdict:
    """How a column of several pods goes together.

    Attributes
    ----------
    name : str
        The column's.
    verdict : "fits", "differs" or "does not fit"
        "differs" where what differs is bridged.
    texts : tuple of str
        What differs or does not fit.
    commands : dict of str to str
        What an owner would have to do, by the pod's name.
    """

    name: str
    verdict: Verdict
    texts: tuple[str, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)


def judge(
    schemas: Sequence[Schema],
    *,
    target: str | None = None,
    ignore_cols: Collection[str] = (),
    files: Mapping[str, str] | None = None,
) -> list[ColumnVerdict]:
    """Return a verdict on every column of the pods, in the order of the first pod's table.

    Parameters
    ----------
    target : str or None
        The column to be predicted, of which more is asked.
    ignore_cols : names of columns
        Those that are left out.
    files : dict of str to str
        The pods' files, by their names, as far as they are known.
    """
    problems = misfits(schemas, ignore_cols=ignore_cols)
    names = names_of(schemas, ignore_cols)
    found = Columns(schemas)
    verdicts = [_verdict(name, found.held_by(name), schemas, problems.get(name, ""), files or {}) for name in names]
    if target is None:
        return verdicts
    others = [verdict for verdict in verdicts if verdict.name != target]
    own = next((verdict for verdict in verdicts if verdict.name == target), ColumnVerdict(target, "does not fit"))
    return [_as_target(own, schemas, files or {}), *others]


def _verdict(
    name: str, held: Mapping[str, Column], schemas: Sequence[Schema], problem: str, files: Mapping[str, str]
) -> ColumnVerdict:
    told = tuple(f"{name}: {pod}: {why}" for pod, why in disagreements(schemas, name).items())
    if problem:
        return ColumnVerdict(name, "does not fit", (problem, *told), _advice(held, schemas, files))
    own = {pod: (column,) for pod, column in held.items()}
    alone = [Schema(name=schema.name, columns=own.get(schema.name, ())) for schema in schemas]
    differences = (*combine(alone).differences, *told)
    commands: dict[str, str] = {}
    if far := _far_apart(held):
        low, high = min(c.bounds[0] for c in far.values()), max(c.bounds[1] for c in far.values())
        listed = ", ".join(f"{column.low:g} to {column.high:g} in {pod!r}" for pod, column in far.items())
        differences = (*differences, f"bounds of column {name!r} lie far apart: {listed}; is the unit the same?")
        commands = {
            pod: _command(files, pod, name, f"--bounds={low:g},{high:g}")
            for pod, column in far.items()
            if column.bounds != (low, high)
        }
    return ColumnVerdict(name, "differs" if differences else "fits", differences, commands)


def _far_apart(held: Mapping[str, Column]) -> dict[str, Column]:
    numbers = {
        pod: column
        for pod, column in held.items()
        if column.kind == "continuous" and not column.empty and not column.date
    }
    if not numbers:
        return {}
    sizes = [max(abs(end) for end in column.bounds) for column in numbers.values()]
    wide = [column for column in numbers.values() if not column.values]
    return numbers if len(wide) > 1 and max(sizes) >= _FAR * min(sizes) else {}


def _advice(held: Mapping[str, Column], schemas: Sequence[Schema], files: Mapping[str, str]) -> dict[str, str]:
    """Return what owners would have to do so that a column fits."""
    name = next(iter(held.values())).name
    absent = [schema.name for schema in schemas if schema.name not in held]
    dates, others = pods_by_date(held)
    if dates and others:
        return {pod: _command(files, pod, name, "--kind date") for pod in others}
    categorical, numbers = pods_by_kind(held)
    if categorical and numbers:
        wanted: Kind = "continuous" if len(numbers) >= len(categorical) else "categorical"
        others = categorical if wanted == "continuous" else numbers
        return {pod: _command(files, pod, name, f"--kind {wanted}") for pod in others}
    if len({column.unit for column in held.values() if column.unit}) > 1:
        return {}
    return {pod: _command(files, pod, name, "--optional") for pod in held} if absent else {}


def _as_target(verdict: ColumnVerdict, schemas: Sequence[Schema], files: Mapping[str, str]) -> ColumnVerdict:
    """Add to the verdict on a column what is asked of a target."""
    name = verdict.name
    held = Columns(schemas).held_by(name)
    if not held:
        return ColumnVerdict(name, "does not fit", (f"no pod has a column {name!r}",))
    problems, commands = [], dict(verdict.commands)
    classes = [pod for pod, column in held.items() if column.values or column.kind == "categorical"]
    if lacking := [schema.name for schema in schemas if name not in schema.names]:
        problems.append(f"the target {name!r} is missing in {', '.join(map(repr, lacking))}")
    for pod, column in held.items():
        if column.numeric and not column.empty and classes:
            commands[pod] = _command(files, pod, name, "--kind categorical")
        if column.empty and not classes:
            problems.append(f"the target {name!r} holds no number in {pod!r}")
        if column.optional:
            problems.append(f"the target {name!r} is declared optional in {pod!r}, and every pod needs it")
            commands[pod] = _command(files, pod, name, "--no-optional")
    if classes and len({value for column in held.values() for value in column.values}) < 2 and not problems:
        problems.append(f"the target {name!r} has fewer than two published values at all pods together")
    try:
        check_target(schemas, name)
    except SchemaMismatch as error:
        problems.append(str(error))
    if not problems:
        return verdict
    texts = (*problems, *(text for text in verdict.texts if verdict.verdict == "does not fit"))
    return ColumnVerdict(name, "does not fit", texts, commands)


def _command(files: Mapping[str, str], pod: str, column: str, setting: str) -> str:
    file = files.get(pod, f"{pod}.yaml")
    return f"fl-app pod column {shlex.quote(file)} {shlex.quote(column)} {setting}"
