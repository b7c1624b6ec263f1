"""What a pod is: its table, who may work with it, and on what terms. A definition only: no data is read, no key.

A pod is written in Python or in YAML, with the same fields::

    name: hospital-a                        Pod(
    datasource: CSVSource                       name="hospital-a",
    datasource_args:                            datasource=CSVSource("patients.csv"),
      path: patients.csv
    approved_pods: [hospital-b]                 approved_pods=["hospital-b"],
                                            )
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    GetPydanticSchema,
    model_validator,
)
from typing_extensions import TypedDict

from fl_app.errors import UsageError
from fl_app.pod.datasource import CSVSource, ParquetSource
from fl_app.pod.policy import Policy
from fl_app.system.home import NAME_RULE, is_pod_name
from fl_app.tabular.dates import DateSettings, Part, Unit, seconds_of

__all__ = [
    "CSVSource",
    "DateConfig",
    "ParquetSource",
    "Pod",
    "PodDataConfig",
    "PodDetailsConfig",
    "PodName",
    "Policy",
]

LOADING = "fl_app_pod"
"""The ``__name__`` a Python pod file runs under while it is loaded, so that its ``__main__`` part is left out."""


def _pod_name(name: str) -> str:
    if not is_pod_name(name):
        raise ValueError(NAME_RULE)
    return name


def _without_table_name(given: object) -> object:
    """Take ``{table: {"categorical": [...]}}`` for ``{"categorical": [...]}``: a pod has one table."""
    if isinstance(given, Mapping) and len(given) == 1:
        (table,) = given.values()
        if isinstance(table, Mapping):
            return table
    return given


def _ordered(bounds: Mapping[str, tuple[float, float]]) -> Mapping[str, tuple[float, float]]:
    for column, (low, high) in bounds.items():
        if low >= high:
            raise ValueError(f"the bounds of column '{column}' must be [low, high] with low below high")
    return bounds


def _day(given: object) -> str:
    seconds_of(given)
    return given if isinstance(given, str) else str(given)


PodName = Annotated[str, AfterValidator(_pod_name)]
_Day = Annotated[str, BeforeValidator(_day)]
_Names = Annotated[Sequence[str], AfterValidator(tuple)]
"""Written as a list or a tuple, kept as a tuple."""


class _ForcedTypes(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    categorical: _Names
    continuous: _Names


class _Definition(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PodDetailsConfig(_Definition):
    """How a pod presents itself to people.

    Attributes
    ----------
    display_name : str
        A name with spaces and capitals.
    description : str
        What the table holds.
    """

    display_name: str = ""
    description: str = ""


class DateConfig(_Definition):
    """How a pod offers a column of dates; what is left out a modeller may propose.

    Attributes
    ----------
    unit : str or None
        "days", "hours", "minutes" or "seconds" since 1970-01-01, of which a date becomes a number; days where nobody
        says.
    bounds : pair of str or None
        The public bounds, as dates; without them the least of 8, 16, 32 ... years
        that hold all dates.
    parts : sequence of str or None
        "month", "weekday" and "hour": parts of the date that are learnt as categories beside it.
    """

    unit: Unit | None = None
    bounds: tuple[_Day, _Day] | None = None
    parts: Annotated[Sequence[Part], AfterValidator(tuple)] | None = None

    @property
    def settings(self) -> DateSettings:
        """The same with the bounds in seconds."""
        bounds = (seconds_of(self.bounds[0]), seconds_of(self.bounds[1])) if self.bounds else None
        return DateSettings(self.unit, bounds, None if self.parts is None else tuple(self.parts))

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.settings.bounds and self.settings.bounds[0] >= self.settings.bounds[1]:
            raise ValueError("the bounds must be [first, last] with the first before the last")
        return self


class PodDataConfig(_Definition):
    """What of the table a pod offers, and as what.

    Attributes
    ----------
    ignore_cols : sequence of str
        Columns that never leave the pod, not even by name.
    force_stypes : mapping
        ``{"categorical": [...], "continuous": [...]}``: kinds of columns whose values would suggest another.
    bounds : mapping of str to (float, float)
        Public ``(low, high)`` of continuous columns; without them, the least power of two that covers the data.
    optional : sequence of str
        Columns that may be missing in other pods.
    units : mapping of str to str
        In which unit a column's numbers are, such as ``{"weight": "kg"}``; pods that name different ones are refused.
    dates : mapping of str to DateConfig
        Columns whose cells are dates, by ISO 8601 or as ``date_format`` of the datasource's ``read_options`` says.
    validation_percent, test_percent : int
        How many of a hundred rows are kept from training, to score models on; ``test_percent`` may be 0.
    """

    ignore_cols: _Names = ()
    force_stypes: Annotated[
        Mapping[str, Sequence[str]],
        BeforeValidator(_without_table_name),
        GetPydanticSchema(lambda _, handler: handler(_ForcedTypes)),
    ] = {}
    bounds: Annotated[Mapping[str, tuple[FiniteFloat, FiniteFloat]], AfterValidator(_ordered)] = {}
    optional: _Names = ()
    units: Mapping[str, str] = {}
    dates: Mapping[str, DateConfig] = {}
    validation_percent: Annotated[int, Field(ge=1, le=40)] = 10
    test_percent: Annotated[int, Field(ge=0, le=40)] = 10

    @model_validator(mode="after")
    def _one_type_a_column(self) -> Self:
        categorical = set(self.force_stypes.get("categorical", ()))
        if both := categorical.intersection(self.force_stypes.get("continuous", ())):
            raise ValueError(f"column '{min(both)}' is forced to be both categorical and continuous")
        if bounded := categorical.intersection(self.bounds):
            raise ValueError(f"column '{min(bounded)}' has bounds but is forced to be categorical")
        numbers = categorical.union(self.force_stypes.get("continuous", ()), self.bounds, self.units)
        if both := numbers.intersection(self.dates):
            raise ValueError(f"column '{min(both)}' is a date: say all of it under dates")
        return self


class Pod(_Definition):
    """A data holder: one table, the pods it agrees to work with, and its terms.

    Attributes
    ----------
    name : str
        1 to 64 lowercase letters, digits, hyphens, dots or underscores, the first a letter or digit.
    datasource : CSVSource or ParquetSource
        The table. A relative path is relative to the file in which the pod is written.
    pod_details_config : PodDetailsConfig
        How it presents itself.
    data_config : PodDataConfig
        What of the table it offers.
    approved_pods : sequence of str
        Names of the pods it computes with, once their keys are known too (``fl-app pod approve``).
    policy : Policy
        Its terms.

    Raises
    ------
    pydantic.ValidationError
        If a field is not as said here; a pod file's reader names the line.
    """

    name: PodName
    datasource: Annotated[CSVSource | ParquetSource, Field(discriminator="kind")]
    pod_details_config: PodDetailsConfig = PodDetailsConfig()
    data_config: PodDataConfig = PodDataConfig()
    approved_pods: Annotated[Sequence[PodName], AfterValidator(tuple)] = ()
    policy: Policy = Policy()

    def start(self) -> None:
        """Serve this pod until it is stopped; in a pod file this goes under ``if __name__ == "__main__":``.

        Raises
        ------
        UsageError
            If called while the file is only read: put it under ``if __name__ == "__main__":``.
        """
        caller = sys._getframe(1).f_globals
        if caller.get("__name__") == LOADING:
            raise UsageError('put pod.start() under `if __name__ == "__main__":`, so that the file can also be read')
        from client.site.serve_pod import start  # the only upward import of this package: a definition that runs

        start(self.from_directory(Path(caller.get("__file__", "")).parent))

    def from_directory(self, base: Path) -> Self:
        """Return the same pod with the path of its datasource seen from ``base`` and absolute."""
        return self.model_copy(update={"datasource": self.datasource.from_directory(base)})
