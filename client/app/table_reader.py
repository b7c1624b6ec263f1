"""A pod's own table: read from its file, and split into rows for training, validation and test."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_app.errors import DataError
from fl_app.tabular.columns import MISSING_TEXTS

if TYPE_CHECKING:
    import pandas as pd

MINIMUM_ROWS = 10

Indices = NDArray[np.int64]


class Datasource(Protocol):
    """Where a table lies and how it is to be read."""

    @property
    def kind(self) -> Literal["csv", "parquet"]:
        """The file's format."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def read_options(self) -> Mapping[str, Any]:
        """Options of pandas' reader of that format."""


def read_table(datasource: Datasource) -> "pd.DataFrame":
    """Read a pod's table. ``?`` and empty text are missing values; spaces after a comma are skipped.

    Raises
    ------
    DataError
        The file cannot be read as what it is said to be, or holds no row. The text names the file without its
        directory, and none of its content: it may leave the pod.
    """
    import pandas as pd

    name = datasource.path.name
    options = dict(datasource.read_options)
    frame: pd.DataFrame
    try:
        if datasource.kind == "csv":
            options.setdefault("skipinitialspace", True)
            options["na_values"] = [*MISSING_TEXTS, *options.get("na_values", ())]
            frame = pd.read_csv(datasource.path, **options)
        else:
            frame = pd.read_parquet(datasource.path, **options)
            frame = frame.mask(frame.isin(list(MISSING_TEXTS)))
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file; check the datasource's path in the pod file") from error
    except PermissionError as error:
        raise DataError(f"{name}: this user may not read the file") from error
    except Exception as error:
        # Parsers and decompressors raise errors of their own kinds, and their texts quote the data.
        raise DataError(
            f"{name}: cannot be read as {datasource.kind}; check the file, its encoding and read_options"
        ) from error
    if frame.empty:
        raise DataError(f"{name}: the table has no rows")
    frame.columns = [str(column).strip() for column in frame.columns]
    if not frame.columns.is_unique:
        raise DataError(f"{name}: two columns have the same name")
    return frame


def split_rows(
    rows: int, seed_text: str, *, validation_percent: int = 10, test_percent: int = 10
) -> tuple[Indices, Indices, Indices]:
    """Split the rows 0..rows-1 at random into those for training, for validation and for test.

    The same arguments give the same split; another ``seed_text`` gives an unrelated one.

    Returns
    -------
    tuple
        Three arrays of row numbers, int64, ascending, disjoint; none is empty but the last, where it is to be.

    Raises
    ------
    DataError
        There are fewer than ten rows, or too few for the shares that are to be kept.
    """
    if rows < MINIMUM_ROWS:
        raise DataError(f"the table has too few rows: a pod needs at least {MINIMUM_ROWS} to train and validate")
    seed = int.from_bytes(hashlib.sha256(seed_text.encode()).digest(), "big")
    order = np.random.default_rng(seed).permutation(rows)
    cuts = [rows * (100 - validation_percent - test_percent) // 100, rows * (100 - test_percent) // 100]
    train, validation, test = np.split(order, cuts)
    if not len(validation) or (test_percent and not len(test)):
        raise DataError(
            "the table has too few rows for its validation_percent and test_percent: not one row for each; raise them"
        )
    return np.sort(train), np.sort(validation), np.sort(test)
