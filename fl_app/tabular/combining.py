"""One schema of several pods: what they agree on, what differs and is bridged, and what does not fit."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fl_app.errors import DataError, UsageError
from fl_app.tabular.cell_text import STANDARD, NumberFormat, key_of
from fl_app.tabular.dates import SECONDS, DateForm, finest
from fl_app.tabular.schema import Column, CombinedSchema, Schema
from fl_app.validation import first_of

_SHOWN = 12
"""Most values that a text lists in full."""
_EXAMPLES, _LONGEST = 3, 40
"""Of more than that: values named as examples, and characters of each."""


class SchemaMismatch(DataError):
    """The tables of two pods cannot be used together; the text names pods, columns and what differs.

    Attributes
    ----------
    problems : tuple of str
        A sentence for each column that does not fit.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        count = f"{len(problems)} columns do not fit: " if len(problems) > 1 else ""
        super().__init__(count + "; ".join(problems))
        self.problems = tuple(problems)


def combine(schemas: Sequence[Schema], *, ignore_cols: Collection[str] = ()) -> CombinedSchema:
    """Unite the schemas of several pods: all category values, the widest bounds, the first pod's column order.

    A column that is empty at a pod fits any kind. One that is categorical at some pods and holds few whole numbers at
    the others is categorical. Dates in different units become numbers of the finest of these.

    Raises
    ------
    SchemaMismatch
        Pods disagree on a column's kind or unit, or one lacks a column that no pod declares optional; all such columns
        are named.
    """
    if not schemas:
        raise UsageError("combine needs the schema of at least one pod")
    if problems := misfits(schemas, ignore_cols=ignore_cols):
        raise SchemaMismatch(list(problems.values()))
    columns: list[Column] = []
    differences: list[str] = []
    found = Columns(schemas)
    for name in names_of(schemas, ignore_cols):
        column, bridged = _combine_column(found.held_by(name), found.absent(name))
        columns.append(column)
        differences += bridged
        differences += [f"{name}: {pod}: {why}" for pod, why in disagreements(schemas, name).items()]
    formats = {schema.numbers for schema in schemas}
    if len(formats) > 1:
        differences += [f"numbers: {schema.name} writes them {_written(schema.numbers)}" for schema in schemas]
    return CombinedSchema(
        name=" + ".join(schema.name for schema in schemas),
        columns=tuple(columns),
        numbers=formats.pop() if len(formats) == 1 else STANDARD,
        differences=(*differences, *_missing_differences(found, columns)),
    )


def misfits(schemas: Sequence[Schema], *, ignore_cols: Collection[str] = ()) -> dict[str, str]:
    """Return why columns of several pods cannot become one, for each column that cannot."""
    found = Columns(schemas)
    problems = {name: _problem(found.held_by(name), found.absent(name)) for name in names_of(schemas, ignore_cols)}
    return {name: problem for name, problem in problems.items() if problem}


def disagreements(schemas: Sequence[Schema], name: str) -> dict[str, str]:
    """Return, for each pod that does not follow the modeller's proposal for a column, the reason."""
    return {schema.name: schema.disagreements[name] for schema in schemas if name in schema.disagreements}


def names_of(schemas: Sequence[Schema], ignore_cols: Collection[str]) -> list[str]:
    """Return the names of all columns that any pod has but the ignored ones, those of the first pod first."""
    ignored = set(ignore_cols)
    return list(dict.fromkeys(name for schema in schemas for name in schema.names if name not in ignored))


class Columns:
    """The columns of several pods, each found by its name and not by looking through all: a pod may publish many."""

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._pods = tuple(schema.name for schema in schemas)
        self._held: dict[str, dict[str, Column]] = {}
        self._alike: dict[str, dict[str, str]] = {}
        for schema in schemas:
            alike = self._alike.setdefault(schema.name, {})
            for column in schema.columns:
                self._held.setdefault(column.name, {})[schema.name] = column
                alike.setdefault(_plain(column.name), column.name)

    def held_by(self, name: str) -> dict[str, Column]:
        """Return the column of each pod that has it."""
        return dict(self._held.get(name, {}))

    def absent(self, name: str) -> dict[str, str]:
        """Return, for each pod without the column, its own whose name differs in case, spaces or punctuation, or ""."""
        held = self._held.get(name, {})
        return {pod: self._alike[pod].get(_plain(name), "") for pod in self._pods if pod not in held}


def check_target(schemas: Sequence[Schema], target: str) -> None:
    """Raise unless the pods code the target's classes alike: each shares one with another, none spells one otherwise.

    Raises
    ------
    SchemaMismatch
        The text shows both codings.
    """
    held = Columns(schemas).held_by(target)
    coded = {pod: column.values for pod, column in held.items() if column.values}
    if coded and (numbers := [pod for pod, column in held.items() if column.numeric and not column.empty]):
        raise SchemaMismatch(
            [
                f"the target {target!r} holds a few whole numbers in {_quoted(list(coded))}, which may be classes, and "
                f"others in {_quoted(numbers)}: name a loss, squared or absolute, to learn a number, or all owners "
                "must declare it categorical"
            ]
        )
    for pod, values in coded.items():
        keys = set(map(key_of, values))
        others = {name: set(map(key_of, theirs)) for name, theirs in coded.items() if name != pod}
        for other, theirs in others.items():
            spelt = set(map(_folded, theirs))
            twice = any(_folded(key) in spelt for key in keys - theirs)
            alone = not any(keys & those for those in others.values())
            if alone or twice:
                what = "spell a class differently" if twice else "share no class"
                raise SchemaMismatch(
                    [
                        f"pods code the target {target!r} differently: {pod!r} has {_quoted(values)}, {other!r} has "
                        f"{_quoted(coded[other])}; they {what}: one owner must recode the column"
                    ]
                )


def learnt(schema: CombinedSchema, target: str, loss: str | None) -> CombinedSchema:
    """Return the schema with the target as it is learnt: as a number where a ``loss`` of numbers is named.

    Raises
    ------
    DataError
        Such a loss is named, and the target is categorical.
    """
    if loss is None:
        return schema
    if schema.column(target).kind == "categorical":
        raise DataError(
            f"the target {target!r} is categorical, and has no {loss} error: leave the loss out to learn its classes"
        )
    columns = tuple(
        column.model_copy(update={"values": ()}) if column.name == target else column for column in schema.columns
    )
    return schema.model_copy(update={"columns": columns})


def check_numbers(schemas: Sequence[Schema], target: str) -> None:
    """Raise `SchemaMismatch` unless every pod has numbers in the target: one without would add nothing to any sum."""
    held = Columns(schemas).held_by(target)
    without = [schema.name for schema in schemas if schema.name not in held or held[schema.name].empty]
    if without:
        raise SchemaMismatch([f"the target {target!r} holds no number in {', '.join(map(repr, without))}"])


def _quoted(values: Sequence[str]) -> str:
    return first_of(list(map(repr, values)), _SHOWN)


def _few(texts: Sequence[str], of: int, what: str = "values") -> str:
    """Return the texts if they are a dozen at most; else how many they are ``of`` all, with examples cut to size."""
    if len(texts) <= _SHOWN:
        return ", ".join(texts)
    examples = (text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..." for text in texts[:_EXAMPLES])
    return f"{len(texts):,} of {of:,} {what} ({', '.join(examples)}, ...)"


def _written(numbers: NumberFormat) -> str:
    return f"with {numbers.decimal!r} before decimals" + (
        f" and {numbers.thousands!r} between thousands" if numbers.thousands else ""
    )


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold() or text


def _folded(text: str) -> str:
    return "".join(text.split()).casefold()


def pods_by_kind(held: Mapping[str, Column]) -> tuple[list[str], list[str]]:
    """Return the pods where a column is categorical, and those where it is numbers that cannot be taken for categories.

    A pod where it is empty, or holds few whole numbers, is neither: it fits both. Dates are numbers here.
    """
    filled = {pod: column for pod, column in held.items() if not column.empty}
    categorical = [pod for pod, column in filled.items() if column.kind == "categorical"]
    return categorical, [pod for pod, column in filled.items() if column.kind == "continuous" and not column.values]


def _problem(held: Mapping[str, Column], absent: Mapping[str, str]) -> str:
    """Return why the columns of several pods cannot become one, "" if they can."""
    first_pod, first = next(iter(held.items()))
    dates, others = pods_by_date(held)
    if dates and others:
        return (
            f"column {first.name!r} is a date in {', '.join(map(repr, dates))} but none in "
            f"{', '.join(map(repr, others))}; all owners must declare it one (`fl-app pod column FILE COLUMN --kind "
            "date`) or none, or leave it out with ignore_cols"
        )
    categorical, numbers = pods_by_kind(held)
    if categorical and numbers:
        return (
            f"column {first.name!r} is categorical in {', '.join(map(repr, categorical))} but continuous in "
            f"{', '.join(map(repr, numbers))}; one owner must set force_stypes for it, or leave it out with ignore_cols"
        )
    units = {pod: column.unit for pod, column in held.items() if column.unit and not column.date}
    if len(set(units.values())) > 1:
        named = ", ".join(f"{unit!r} in {pod!r}" for pod, unit in units.items())
        return f"column {first.name!r} is in different units: {named}; one owner must convert it"
    if absent and not any(column.optional for column in held.values()):
        lacking = [f"{pod!r}" + (f" (which has {alike!r})" if alike else "") for pod, alike in absent.items()]
        return (
            f"column {first.name!r} of {first_pod!r} is missing in {', '.join(lacking)}; "
            "declare it optional where it exists, or leave it out with ignore_cols"
        )
    return ""


def _combine_column(held: Mapping[str, Column], absent: Mapping[str, str]) -> tuple[Column, list[str]]:
    name = next(iter(held.values())).name
    filled = {pod: column for pod, column in held.items() if not column.empty}
    differences = [f"{name}: {pod} lacks this optional column" for pod in absent]
    differences += [f"{name}: {pod} holds no value" for pod in held if pod not in filled]
    kinds = {column.kind for column in (filled or held).values()}
    spellings: dict[str, str] = {}
    for column in held.values():
        for value in column.values:
            spellings[key_of(value)] = min(spellings.get(key_of(value), value), value)
    values = tuple(spelling for _, spelling in sorted(spellings.items()))
    dated = {pod: column for pod, column in held.items() if column.date and (not column.empty or not filled)}
    if dated:
        combined, bridged = _combine_dates(name, dated)
        optional = any(column.optional for column in held.values())
        texts = dict.fromkeys(text for column in held.values() for text in column.missing)
        shared = {"optional": optional, "missing": tuple(texts), "empty": not filled}
        return combined.model_copy(update=shared), [*differences, *bridged]
    units = {pod: column.unit for pod, column in held.items()}
    unit = next(filter(None, units.values()), "")
    differences += [f"{name}: {pod} names no unit, others {unit!r}" for pod, given in units.items() if given != unit]
    missing = dict.fromkeys(text for column in held.values() for text in column.missing)
    facts: dict[str, Any] = {
        "name": name,
        "optional": any(column.optional for column in held.values()),
        # What some pod publishes as a value cannot stand for no value elsewhere.
        "missing": tuple(text for text in missing if key_of(text) not in spellings),
        "unit": unit,
        "empty": not filled,
    }
    if "categorical" in kinds:
        for pod, column in filled.items():
            keys = set(map(key_of, column.values))
            if lacking := [value for value in values if key_of(value) not in keys]:
                differences.append(f"{name}: {pod} does not publish {_few(lacking, len(values))}")
        return Column(kind="categorical", values=values, **facts), differences
    numbers = (filled or held).values()
    low, high = min(column.bounds[0] for column in numbers), max(column.bounds[1] for column in numbers)
    for pod, column in filled.items():
        if column.bounds != (low, high):
            differences.append(f"{name}: {pod} has {column.low:g}..{column.high:g} of {low:g}..{high:g}")
    integer = all(column.integer for column in numbers)
    return (
        Column(kind="continuous", low=low, high=high, integer=integer, values=values if integer else (), **facts),
        differences,
    )


def pods_by_date(held: Mapping[str, Column]) -> tuple[list[str], list[str]]:
    """Return the pods where a column is a date, and those where it is anything else but empty."""
    filled = {pod: column for pod, column in held.items() if not column.empty}
    return [pod for pod in filled if filled[pod].date], [pod for pod in filled if not filled[pod].date]


def _combine_dates(name: str, held: Mapping[str, Column]) -> tuple[Column, list[str]]:
    """Unite columns of dates: the finest unit, the widest bounds, the parts that all give.

    Each pod reads its cells in the unit that comes out, so that nobody has to convert a table.
    """
    forms = {pod: column.date or DateForm() for pod, column in held.items()}
    unit = finest([form.unit for form in forms.values()])
    ends = {pod: [end * (forms[pod].seconds // SECONDS[unit]) for end in column.bounds] for pod, column in held.items()}
    low, high = min(low for low, _ in ends.values()), max(high for _, high in ends.values())
    formats = {form.format for form in forms.values()}
    first = next(iter(forms.values()))
    form = DateForm(
        unit=unit,
        format=formats.pop() if len(formats) == 1 else "",
        zoned=all(form.zoned for form in forms.values()),
        parts=tuple(part for part in first.parts if all(part in form.parts for form in forms.values())),
    )
    integer = all(column.integer for column in held.values())
    combined = Column(name=name, kind="continuous", low=low, high=high, integer=integer, unit=form.text, date=form)
    differences = []
    for pod, own in forms.items():
        if own.unit != unit:
            differences.append(f"{name}: {pod} has dates in {own.unit}, which it reads in {unit} as the others do")
        if ends[pod] != [low, high]:
            told = "..".join(combined.written(end) for end in ends[pod])
            differences.append(f"{name}: {pod} has {told} of {combined.written(low)}..{combined.written(high)}")
        if left := [part for part in own.parts if part not in form.parts]:
            differences.append(f"{name}: {pod} gives {', '.join(left)} too, which others do not")
        if own.zoned and not form.zoned:
            differences.append(f"{name}: {pod} names time zones and is read in UTC, others as they stand")
        if own.format and own.format != form.format:
            differences.append(f"{name}: {pod} writes dates as {own.format}; a model's own files are read by ISO 8601")
    return combined, differences


def _missing_differences(found: Columns, columns: Sequence[Column]) -> list[str]:
    """Say which pods take a text for a missing value that others do not, in one line for each pod and text."""
    extra: dict[tuple[str, str], list[str]] = {}
    for combined in columns:
        held = found.held_by(combined.name)
        for pod, column in held.items():
            for text in column.missing:
                if any(text not in other.missing for other in held.values()):
                    extra.setdefault((pod, text), []).append(combined.name)
    return [
        f"{_named(names, len(columns))}: only {pod} takes {text!r} for a missing value"
        for (pod, text), names in extra.items()
    ]


def _named(names: Sequence[str], columns: int) -> str:
    return "all columns" if len(names) == columns else _few(names, columns, "columns")
