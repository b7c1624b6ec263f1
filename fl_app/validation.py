"""Everything that is wrong with a file that a user wrote, in one message and in the user's terms."""

import csv
import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from fl_app.errors import DataError, UsageError

Location = tuple[int | str, ...]


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: its line (0 where unknown), the dotted key ("" for the whole file), and what is wrong with it."""

    line: int
    key: str
    text: str

    def __str__(self) -> str:
        """Return ``line N: key: text`` without the parts that are not known."""
        line = f"line {self.line}" if self.line else ""
        return ": ".join(part for part in (line, self.key, self.text) if part)


def refusal(file: Path, problems: Iterable[Problem]) -> UsageError:
    """Return the error that names ``file`` and lists its problems in the order of their lines."""
    lines = [str(problem) for problem in sorted(set(problems))]
    if len(lines) == 1:
        return UsageError(f"{file}: {lines[0]}")
    return UsageError("\n  ".join([f"{file}: {len(lines)} problems", *lines]))


def explain(error: ValidationError, schema: Mapping[str, Any]) -> list[tuple[Location, str]]:
    """Return, for each mistake found by pydantic, where it is and what is wrong in plain words.

    ``schema`` is the JSON schema of what was validated: it tells which keys would have been allowed.
    """
    return [(details["loc"], _text(details, schema)) for details in error.errors(include_url=False)]


def dotted(location: Location) -> str:
    """Return ``("policy", "minimum_cohort")`` as ``policy.minimum_cohort`` and list positions as ``[0]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")


def names_in(given: str | Iterable[str], known: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names that a text, or each of several, lists between commas, without the spaces around them.

    A name that holds a comma itself stands in quotation marks, as in CSV; a text that is one of the ``known`` names is
    that name.
    """
    texts = [given] if isinstance(given, str) else given
    names: list[str] = []
    for text in texts:
        listed = [text] if text.strip() in known else next(csv.reader([text], skipinitialspace=True), [])
        names += [name.strip() for name in listed if name.strip()]
    return tuple(names)


def listed_names(names: Iterable[str]) -> str:
    """Return names between commas as `names_in` reads them, those with a comma in quotation marks."""
    return ",".join('"' + name.replace('"', '""') + '"' if set(name) & set(',"') else name for name in names)


def named_values(parts: Iterable[str], allowed: Collection[str], what: str) -> dict[str, str]:
    """Return the values in texts of the form ``NAME=VALUE``, by their names.

    Raises
    ------
    UsageError
        If one is not of that form, or of another name than those ``allowed``; ``what`` says of what they are settings.
    """
    given: dict[str, str] = {}
    for part in parts:
        name, equals, value = (side.strip() for side in part.partition("="))
        if not equals or name not in allowed:
            raise UsageError(f"{what}: {part!r}: {unknown(name, allowed, 'setting')}, each as NAME=VALUE")
        given[name] = value
    return given


def counted(number: int, one: str, many: str = "") -> str:
    """Return "1 category", "2,000 categories"; ``many`` is ``one`` with an s if it is not given."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def first_of(texts: Sequence[str], most: int, what: str = "") -> str:
    """Return texts between commas; of more than ``most`` the first ones, and how many more there are, of ``what``."""
    left = len(texts) - most
    more = f" and {left:,} more{f' {what}' if what else ''}" if left > 0 else ""
    return ", ".join(texts[:most]) + more


def unknown(word: object, allowed: Iterable[str], what: str = "key") -> str:
    """Say that ``word`` is not one of ``allowed``, and which of them may have been meant."""
    names = list(allowed)
    near = difflib.get_close_matches(str(word), names, n=1)
    meant = f", did you mean '{near[0]}'?" if near else ""
    return f"unknown {what}{meant} (allowed: {', '.join(names) or 'none'})"


def _text(details: ErrorDetails, schema: Mapping[str, Any]) -> str:
    kind, location, given = details["type"], details["loc"], details["input"]
    if kind == "missing":
        return "required, but missing"
    if kind == "extra_forbidden":
        return unknown(location[-1], _keys_at(location[:-1], schema))
    if kind == "union_tag_not_found":
        return f"the key {details['ctx']['discriminator']} is required, but missing"
    if kind == "union_tag_invalid":
        return f"{details['ctx']['discriminator']} must be one of {details['ctx']['expected_tags']}"
    if kind == "too_short":
        return f"should have at least {details['ctx']['min_length']} items, not {details['ctx']['actual_length']}"
    text = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    text = "should be a list" if kind in {"tuple_type", "sequence_str"} else text[0].lower() + text[1:]
    return f"{text}, not {given!r:.60}" if isinstance(given, str | int | float | None) else text


def _keys_at(location: Location, schema: Mapping[str, Any]) -> list[str]:
    """Return the keys that a JSON schema allows at ``location``."""
    definitions = schema.get("$defs", {})

    def resolve(node: Mapping[str, Any]) -> Mapping[str, Any]:
        target: Mapping[str, Any] = definitions.get(node.get("$ref", "").rpartition("/")[2], node)
        return target

    node = resolve(schema)
    for step in location:
        # Where a union is told apart by a key, pydantic puts that key's value into the location.
        tags = node.get("discriminator", {}).get("mapping", {})
        node = resolve({"$ref": tags[step]} if step in tags else node.get("properties", {}).get(step, {}))
    return list(node.get("properties", {}))


class Frozen(BaseModel):
    """A validated, immutable pydantic model that raises :class:`UsageError` instead of pydantic's own error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UsageError(_mistakes(type(self), error)) from None

    def to_json(self) -> str:
        """Write as JSON; equal objects give equal text, and floats keep every bit."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote; anything else raises DataError."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise DataError(_mistakes(cls, error)) from None
        except UsageError as error:
            raise DataError(str(error)) from None


def _mistakes(model: type[BaseModel], error: ValidationError) -> str:
    problems = explain(error, model.model_json_schema())
    return f"{model.__name__}: " + "; ".join(f"{dotted(where)}: {text}".lstrip(": ") for where, text in problems)
