"""Where a pod's table lies and how to read it: a definition only, nothing here opens the file."""

import codecs
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetPydanticSchema
from typing_extensions import TypedDict

from fl_app.system.files import absolute


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except (LookupError, ValueError) as error:
        raise ValueError("must be an encoding that Python knows, such as utf-8 or latin-1") from error
    return name


def _on_this_machine(path: Path) -> Path:
    # Path folds the two slashes of an address into one.
    if str(path).partition(":/")[0] in {"http", "https", "s3", "gs", "ftp", "file"}:
        raise ValueError("must be a file on this machine, not an address: the data stays with its pod")
    return path


_Character = Annotated[str, Field(min_length=1, max_length=1)]


class _CSVOptions(TypedDict, total=False):
    """What of ``pandas.read_csv`` an owner may set: how the file is written, nothing that runs code."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    sep: _Character
    encoding: Annotated[str, AfterValidator(_known_encoding)]
    decimal: _Character
    thousands: _Character
    quotechar: _Character
    escapechar: _Character
    comment: _Character
    skipinitialspace: bool
    skiprows: Annotated[int, Field(ge=0)]
    header: Annotated[int, Field(ge=0)] | None
    names: list[str]
    na_values: list[str]
    keep_default_na: bool


class _ParquetOptions(TypedDict, total=False):
    """What of ``pandas.read_parquet`` an owner may set."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    columns: list[str]


# Known to others as plain dictionaries, ready to be passed on; checked as the types above.
CSVOptions = Annotated[dict[str, Any], GetPydanticSchema(lambda _, handler: handler(_CSVOptions))]
ParquetOptions = Annotated[dict[str, Any], GetPydanticSchema(lambda _, handler: handler(_ParquetOptions))]


class _File(BaseModel):
    """A table in one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[Literal["csv", "parquet"]]
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
        ``names``, ``na_values``, ``keep_default_na``.
    """

    kind: ClassVar[Literal["csv", "parquet"]] = "csv"
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
        Options of ``pandas.read_parquet``: ``columns``, the names of those to read.
    """

    kind: ClassVar[Literal["csv", "parquet"]] = "parquet"
    read_options: ParquetOptions = {}

    def __init__(self, path: str | Path | None = None, /, **fields: Any) -> None:
        given: dict[str, Any] = {} if path is None else {"path": path}
        super().__init__(**given, **fields)
