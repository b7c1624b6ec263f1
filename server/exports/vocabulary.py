"""What texts in a CSV file stand for which code of a categorical column, for programs that know nothing of ours."""

import unicodedata
from collections.abc import Iterator

from fl_app.tabular.cell_text import key_of, missing_set
from fl_app.tabular.encoding import FIRST_VALUE, MISSING
from fl_app.tabular.schema import Column


def vocabulary(column: Column) -> dict[str, int]:
    """Map every text to its code, as `fl_app.tabular.encoding.codes_of` gives it for the same CSV file.

    A text that is not in the mapping is unknown: code 0. A published value goes before a spelling of another one.
    """
    codes = {value: code for code, value in enumerate(column.values, start=FIRST_VALUE)}
    for text in sorted({*column.missing, *missing_set(column.missing)}):
        codes.setdefault(text, MISSING)
    for text, code in list(codes.items()):
        for spelling in _spellings(text):
            codes.setdefault(spelling, code)
    return codes


def _spellings(text: str) -> Iterator[str]:
    """Give other ways in which a CSV file may write the same value."""
    yield f" {text}"  # as after a comma
    if text.removeprefix("-").isdecimal():
        yield f"{text}.0"  # a column of whole numbers that some program has held as floats
    if key_of(text) in ("true", "false"):
        yield from (text.lower(), text.upper(), text.title())
    if (decomposed := unicodedata.normalize("NFD", text)) != text:
        yield decomposed
