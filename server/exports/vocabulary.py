"""What texts in a CSV file stand for which code of a categorical column, for programs that know nothing of ours."""

import unicodedata
from collections.abc import Iterator

from fl_app.tabular.cell_text import STANDARD, NumberFormat, key_of, missing_set
from fl_app.tabular.encoding import FIRST_VALUE, MISSING
from fl_app.tabular.schema import Column


def vocabulary(column: Column, numbers: NumberFormat = STANDARD) -> dict[str, int]:
    """Map every text to its code, as `fl_app.tabular.encoding.codes_of` gives it for the same CSV file.

    A published value goes before a spelling of another one. A text that is not in the mapping is unknown, code 0: also
    where it spells a value in one more way, of which there is no end: 0.50 for 0.5, or several spaces.

    Parameters
    ----------
    numbers : NumberFormat
        How the pods' files write numbers.
    """
    codes = {value: code for code, value in enumerate(column.values, start=FIRST_VALUE)}
    for text in sorted({*column.missing, *missing_set(column.missing)}):
        codes.setdefault(text, MISSING)
    for text, code in list(codes.items()):
        for spelling in _spellings(text, numbers):
            codes.setdefault(spelling, code)
    return codes


def _spellings(text: str, numbers: NumberFormat) -> Iterator[str]:
    """Give other ways in which a CSV file may write the same value."""
    ways = [text]
    if STANDARD.holds(text) and not text.startswith("+"):
        ways.append(text.replace(".", numbers.decimal))
        if text.removeprefix("-").isdecimal() and (text.lstrip("-")[0] != "0" or text == "0"):
            # a column of whole numbers that some program has held as floats
            ways += [f"{text}{mark}0" for mark in dict.fromkeys((".", numbers.decimal))]
    if key_of(text) in ("true", "false"):
        ways += [text.lower(), text.upper(), text.title()]
    ways.append(unicodedata.normalize("NFD", text))
    for way in dict.fromkeys(ways):
        yield way
        yield f" {way}"  # as after a comma
        yield f"{way} "
