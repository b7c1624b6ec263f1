"""Reading tables: text for categories, float64 for numbers, one rule for what is missing.

pandas is imported where a table is read, here and in the modules around. A pod answers each message in a process of its
own; one that trains on rows that are encoded already needs no pandas, whose import would cost it .6 s.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

MISSING_TEXTS = frozenset({"", "?"})


def read_rows(path: str | Path, read_options: Mapping[str, Any] | None = None) -> "pd.DataFrame":
    """Read a CSV file (plain or compressed; spaces after a comma are skipped), or a ``.parquet`` file.

    Raises
    ------
    DataError
        If it cannot be read; the text names it.
    """
    import pandas as pd

    try:
        frame: pd.DataFrame
        if Path(path).suffix == ".parquet":
            frame = pd.read_parquet(path, **(read_options or {}))
        else:
            frame = pd.read_csv(path, **{"skipinitialspace": True, **(read_options or {})})
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as a table: {why}") from error
    return frame


def series_of(frame: "pd.DataFrame", name: str, *, optional: bool) -> "pd.Series[Any]":
    """Return one column of a table; an absent one is all missing if optional, else a DataError that names it."""
    if name in frame.columns:
        return frame[name]
    if optional:
        import pandas as pd

        return pd.Series(np.full(len(frame), np.nan), index=frame.index, name=name)
    raise DataError(f"the table has no column {name!r}, which the schema requires")


def text_of(value: object) -> str | None:
    """Give the text of one category, or None where ``?`` or blank text stands for a missing value.

    A whole number reads the same whether it came as integer or as float, because a column of integers
    becomes one of floats as soon as a value is missing.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return None if text in MISSING_TEXTS else text


def categories_of(series: "pd.Series[Any]") -> tuple[NDArray[np.int64], list[str | None]]:
    """Factorise a column: the index of each row's text, int64 [n] with -1 for missing, and the texts."""
    import pandas as pd

    indices, distinct = pd.factorize(series)
    return np.asarray(indices, dtype=np.int64), [text_of(value) for value in distinct]


def numbers_of(series: "pd.Series[Any]", name: str) -> NDArray[np.float64]:
    """Read a column as numbers, float64 [n] with NaN for missing.

    Raises
    ------
    DataError
        The column ``name`` holds text that is not a number, or an infinite number.
    """
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(series):
        texts = series.astype("object").map(text_of, na_action="ignore")
        parsed = pd.to_numeric(texts, errors="coerce")
        if bool((parsed.isna() & texts.notna()).any()):
            raise DataError(f"column {name!r} is declared continuous but holds text that is not a number")
        series = parsed
    numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        raise DataError(f"column {name!r} holds infinite numbers: remove them or leave the cells empty")
    return numbers
