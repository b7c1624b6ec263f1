"""What the text of a cell means, by one rule for pods, scoring and exports: docs/reference/cells.md states it.

A cell is text first. Whether it is missing, a number or a category follows from its own text, from its column's kind
and from how the file is written, and from no other cell.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from pydantic import Field

from fl_app.validation import Frozen

RULE: Literal["fl-app cells 1"] = "fl-app cells 1"
"""The name of this module's rule. A model carries it, since another rule would give its texts other codes."""
DEFAULT_MISSING = (
    *("", "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"),
)
"""Texts that stand for a missing value where an owner says nothing else. None is not one: it is often a class."""

_PLAIN = re.compile(r"(-?)(0|[1-9][0-9]*)\.([0-9]*)")
_SCIENTIFIC = re.compile(r"(-?)([1-9])(?:\.([0-9]+))?[eE]([+-])0*([0-9]{1,3})")
_MIDNIGHT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]00:00:00(?:\.0+)?")
_SECONDS = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]*?)?0*")
_BOOLEANS = frozenset({"true", "false"})


class NumberFormat(Frozen):
    """How a file writes numbers.

    Attributes
    ----------
    decimal : str
        The decimal mark, one character.
    thousands : str
        The mark between groups of three digits; "" for none.
    """

    decimal: str = Field(default=".", min_length=1, max_length=1)
    thousands: str = Field(default="", max_length=1)

    @property
    def pattern(self) -> str:
        """The regular expression of a whole cell that holds a number, in the syntax that `re` and RE2 share."""
        whole = "[0-9]+"
        if self.thousands:
            whole = f"(?:[0-9]{{1,3}}(?:{re.escape(self.thousands)}[0-9]{{3}})+|[0-9]+)"
        mark = re.escape(self.decimal)
        return rf"^[+-]?(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]+)?$"

    def holds(self, text: str) -> bool:
        """Say whether a text without surrounding space is a number in this format."""
        return re.match(self.pattern, text) is not None

    def standard(self, text: str) -> str:
        """Return a number in this format with a decimal point and without marks for thousands."""
        if self.thousands:
            text = text.replace(self.thousands, "")
        return text.replace(self.decimal, ".")


STANDARD = NumberFormat()


def canonical(text: str, numbers: NumberFormat = STANDARD) -> str:
    """Return the one text that stands for all spellings of a cell: without surrounding space, in NFC, 7.0 as 7.

    Leading zeros stay, since they make a code: 007 is not 7. So do long runs of digits, which are never rounded.
    """
    text = text.strip()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if numbers != STANDARD and numbers.holds(text):
        text = numbers.standard(text)
    if not text.lstrip("-")[:1].isdecimal():
        return text
    if found := _PLAIN.fullmatch(text):
        sign, whole, fraction = found[1], found[2], found[3].rstrip("0")
        if fraction:
            return f"{sign}{whole}.{fraction}"
        return whole if whole == "0" else f"{sign}{whole}"
    if found := _SCIENTIFIC.fullmatch(text):
        return canonical(_expanded(*found.groups()))
    if found := _MIDNIGHT.fullmatch(text):
        return found[1]
    if found := _SECONDS.fullmatch(text):
        return f"{found[1]} {found[2]}{(found[3] or '').rstrip('.')}"
    return "0" if text == "-0" else text


def _expanded(sign: str, digit: str, fraction: str | None, way: str, exponent: str) -> str:
    """Write 1e-05, 1e-5 or 0.00001 alike: programs differ in where they begin to write an exponent."""
    digits, places = digit + (fraction or ""), int(exponent)
    if way == "-":
        return f"{sign}0.{'0' * (places - 1)}{digits}" if places else f"{sign}{digit}.{fraction or ''}"
    digits = digits.ljust(places + 1, "0")
    return f"{sign}{digits[: places + 1]}.{digits[places + 1 :]}"


def key_of(category: str) -> str:
    """Return what two spellings of one category have in common; only TRUE, True and true differ from their key."""
    folded = category.lower() if len(category) < 6 else category
    return folded if folded in _BOOLEANS else category


def missing_set(texts: Iterable[str]) -> frozenset[str]:
    """Return spellings of missing values as `canonical` gives them; the empty cell is always one."""
    return _missing_set(tuple(texts))


@lru_cache(maxsize=256)
def _missing_set(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset({"", *map(canonical, texts)})
