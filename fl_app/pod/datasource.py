"""Where a pod's table lies and how to read it: a definition only, nothing here opens the file."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict

from fl_app.system.files import absolute
from fl_app.tabular.read_options import CSVOptions, ParquetOptions


def _on_this_machine(path: Path) -> Path:
    # Path folds the two slashes of an address into one.
    if str(path).partition(":/")[0] in {"http", "https", "s3", "gs", "ftp", "file"}:
        raise ValueError("must be a file on this machine, not an address: the data stays with its pod")
    return path


class _File(BaseModel):
    """A table in one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[Path, AfterValidator(_on_this_machine)]

    def from_directory(self, base: Path) -> Self:
        """Return the same datasource with its path seen from ``base`` and absolute."""
        return self.model_copy(update={"path": absolute(self.path, base)})


class CSVSource(_File):
    """A CSV file, plain or compressed (``.gz``, ``.bz2``, ``.xz``, ``.zip``).

    Attributes
    ----------
    path : Path
        A file on this machine, never an address.
    read_options : dict
        Options of ``pandas.read_csv`` that say how the file is written: ``sep``, ``encoding``, ``decimal``,
        ``thousands``, ``quotechar``, ``escapechar``, ``comment``, ``skipinitialspace``, ``skiprows``, ``header``,
        ``names``, ``na_values``, ``keep_default_na``, ``date_format``: a text as for `datetime.strptime`, or one for
        each of several columns by name.
    """

    kind: Literal["csv"] = "csv"
    read_options: CSVOptions = {}

    def __init__(self, path: str | Path | None = None, /, **fields: Any) -> None:
        given: dict[str, Any] = {} if path is None else {"path": path}
        super().__init__(**given, **fields)


class ParquetSource(_File):
    """A Parquet file.

    Attributes
    ----------
    path : Path
        A file on this machine, never an address.
    read_options : dict
        Options of ``pandas.read_parquet``: ``columns``, the names of those to read; and of those above the ones that
        say how texts are written: ``decimal``, ``thousands``, ``na_values``, ``keep_default_na``, ``date_format``.
    """

    kind: Literal["parquet"] = "parquet"
    read_options: ParquetOptions = {}

    def __init__(self, path: str | Path | None = None, /, **fields: Any) -> None:
        given: dict[str, Any] = {} if path is None else {"path": path}
        super().__init__(**given, **fields)
