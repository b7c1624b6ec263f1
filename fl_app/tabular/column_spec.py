"""One specification of columns that a modeller proposes to all pods, and what comes of it at a pod.

The owner has the last word: a proposal decides only what the owner's file leaves open, and makes a pod publish nothing
that the file does not allow.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from fl_app.errors import DataError
from fl_app.tabular.cell_text import DEFAULT_MISSING, canonical, missing_set
from fl_app.tabular.dates import SECONDS, DateForm, DateSettings, Part, Unit, moved, public_span
from fl_app.tabular.schema import Kind, ReadAs, kind_of, public_bounds
from fl_app.validation import Frozen

if TYPE_CHECKING:
    from fl_app.tabular.cells import Table

_UNITS: tuple[Unit, ...] = ("days", "hours", "minutes", "seconds")
MAX_SPEC = 256 << 10
"""Most bytes of a proposal, as JSON in UTF-8."""
_Name = Annotated[str, Field(min_length=1, max_length=500)]
_Text = Annotated[str, Field(max_length=200)]


class ProposedColumn(Frozen):
    """What a modeller proposes for a column; None leaves it to the pods.

    Attributes
    ----------
    kind : "categorical", "continuous", "date" or None
        Its kind.
    bounds : pair of float or None
        Its public bounds, if it is continuous. Of a date they are numbers of its unit, and may be given as dates.
    unit : str or None
        In which unit its numbers are; of a date "days", "hours", "minutes" or "seconds".
    missing : tuple of str or None
        Texts that stand for a missing value in it.
    parts : tuple of str or None
        Of a date: which parts of it are learnt as categories beside it.
    """

    kind: Kind | Literal["date"] | None = None
    bounds: tuple[FiniteFloat, FiniteFloat] | None = None
    unit: Annotated[str, Field(max_length=40)] | None = None
    missing: Annotated[tuple[_Text, ...], Field(max_length=50)] | None = None
    parts: Annotated[tuple[Part, ...], Field(max_length=3)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _dates_as_numbers(cls, given: Any) -> Any:
        return moved(given)

    @model_validator(mode="after")
    def _consistent(self) -> "ProposedColumn":
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError("bounds must be [low, high] with low below high")
        if self.bounds is not None and self.kind == "categorical":
            raise ValueError("a categorical column has no bounds")
        if self.kind == "date" and self.unit is not None and self.unit not in SECONDS:
            raise ValueError(f"the unit of a date is {', '.join(SECONDS)}")
        if self.parts is not None and self.kind != "date":
            raise ValueError("parts go with kind: date")
        return self

    @property
    def date(self) -> DateSettings:
        """What is proposed for a date."""
        unit: Unit | None = next((known for known in _UNITS if known == self.unit), None)
        size = SECONDS[unit or "days"]
        bounds = (self.bounds[0] * size, self.bounds[1] * size) if self.bounds else None
        return DateSettings(unit, bounds, self.parts)


class ColumnSpec(Frozen):
    """A modeller's proposal for the columns of all pods.

    Attributes
    ----------
    columns : dict of str to ProposedColumn
        By the columns' names. One that a pod lacks, or ignores, is passed over there without a word.
    """

    columns: Annotated[dict[_Name, ProposedColumn], Field(max_length=5000)]

    @classmethod
    def proposed(cls, text: str) -> "ColumnSpec":
        """Read a proposal that came with a request; "" proposes nothing.

        Raises
        ------
        DataError
            It is longer than `MAX_SPEC`, or no proposal.
        """
        if len(text) > MAX_SPEC:
            raise DataError(f"a specification of columns may have {MAX_SPEC:,} characters, not {len(text):,}")
        return cls.from_json(text) if text else cls(columns={})


@dataclass(frozen=True)
class Agreement:
    """What a pod makes of a proposal: settings as `schema_of` takes them, and where it does not follow.

    Attributes
    ----------
    force_stypes, bounds, units, dates, read_as
        See `schema_of`.
    disagreements : dict of str to str
        For each column for which the proposal is not followed the reason, without a cell or a count.
    """

    force_stypes: dict[str, tuple[str, ...]]
    bounds: dict[str, tuple[float, float]]
    units: dict[str, str]
    dates: dict[str, DateSettings] = field(default_factory=dict)
    read_as: dict[str, ReadAs] = field(default_factory=dict)
    disagreements: dict[str, str] = field(default_factory=dict)


def agree(
    table: "Table",
    spec: ColumnSpec,
    *,
    force_stypes: Mapping[str, Sequence[str]],
    bounds: Mapping[str, tuple[float, float]],
    units: Mapping[str, str],
    dates: Mapping[str, DateSettings] = MappingProxyType({}),
    min_count: int,
) -> Agreement:
    """Return what a pod makes of a proposal.

    Parameters
    ----------
    table : Table
        The pod's, without what its owner ignores.
    force_stypes, bounds, units, dates
        What the owner's file says.
    min_count : int
        Fewest rows of a category that is published. A proposed spelling of missing that fewer rows hold changes nothing
        in how a column is described, since whether it did would tell of them.
    """
    owner = {column: kind for kind, columns in force_stypes.items() for column in columns}
    forced = {kind: tuple(names) for kind, names in force_stypes.items()}
    agreed = Agreement(forced, dict(bounds), dict(units), dict(dates))
    for name, proposal in spec.columns.items():
        if name in table.names:
            settle = _settle_date if name in dates or proposal.kind == "date" else _settle
            reasons = settle(table, name, proposal, owner.get(name), agreed, min_count)
            if reasons:
                agreed.disagreements[name] = "; ".join(reasons)
    return agreed


def _settle(
    table: "Table", name: str, proposal: ProposedColumn, forced: str | None, agreed: Agreement, min_count: int
) -> list[str]:
    """Enter in ``agreed`` what becomes of the proposal for one column; returns why it is not followed in all."""
    reasons = []
    base = DEFAULT_MISSING if table.missing is None else table.missing
    extra = proposal.missing or ()
    if table.missing is not None:
        if proposal.missing is not None and missing_set(proposal.missing) != missing_set(table.missing):
            reasons.append("its owner says which texts are missing values")
        extra = ()
    described_by = (*base, *_heeded(table, name, base, extra, min_count))
    numeric = table.numeric(name, described_by)
    given = agreed.bounds.get(name)
    kind: Kind = "continuous" if given else kind_of(numeric)
    if forced is not None:
        kind = "continuous" if forced == "continuous" else "categorical"
    if proposal.kind is not None and proposal.kind != kind:
        if forced is not None:
            reasons.append(f"its owner declares it {forced}, not {proposal.kind}")
        elif given:
            reasons.append("its owner gives it bounds, and so declares it continuous")
        elif proposal.kind == "continuous" and numeric.number_rows < numeric.rows:
            reasons.append("it holds text that is not a number, and stays categorical")
        elif proposal.kind != "date":  # those are settled elsewhere
            kind = proposal.kind
    if forced is None and proposal.kind == kind:
        agreed.force_stypes[kind] = (*agreed.force_stypes.get(kind, ()), name)
    if proposal.bounds is not None and kind == "continuous":
        if given and given != proposal.bounds:
            reasons.append("its owner gives it other bounds")
        agreed.bounds.setdefault(name, proposal.bounds)
    elif extra and kind == "continuous":
        # Of all numbers: bounds that depended on the proposed spellings would tell which numbers occur.
        values = table.numeric(name, base).values
        agreed.bounds.setdefault(name, public_bounds(values[values == values]))
    if proposal.unit is not None:
        if agreed.units.get(name, proposal.unit) != proposal.unit:
            reasons.append(f"its owner says that it is in {agreed.units[name]!r}, not in {proposal.unit!r}")
        agreed.units.setdefault(name, proposal.unit)
    if extra:
        missing = (*base, *extra) if kind == "continuous" else tuple(extra)
        agreed.read_as[name] = ReadAs(kind, missing, described_by)
    return reasons


def _settle_date(
    table: "Table", name: str, proposal: ProposedColumn, forced: str | None, agreed: Agreement, min_count: int
) -> list[str]:
    """Enter in ``agreed`` what becomes of a proposal for a column that is a date, or is proposed to be one."""
    given = agreed.dates.get(name)
    base = DEFAULT_MISSING if table.missing is None else table.missing
    extra = proposal.missing or ()
    reasons = []
    if table.missing is not None:
        if proposal.missing is not None and missing_set(proposal.missing) != missing_set(table.missing):
            reasons.append("its owner says which texts are missing values")
        extra = ()
    described_by = (*base, *_heeded(table, name, base, extra, min_count))
    if given is None:
        numeric = table.numeric(name, described_by, DateForm())
        if forced is not None:
            return [*reasons, f"its owner declares it {forced}, not a date"]
        if name in agreed.bounds:
            return [*reasons, "its owner gives it bounds, and so declares it continuous"]
        if name in agreed.units:
            return [*reasons, f"its owner says that it is in {agreed.units[name]!r}, and so no date"]
        if numeric.number_rows < numeric.rows:
            return [*reasons, "it holds cells that are no dates, and is described as they suggest"]
        if numeric.mixed:
            return [*reasons, "some of its cells name a time zone and others none, which its owner has to mend"]
    elif proposal.kind not in (None, "date"):
        return [*reasons, f"its owner declares it a date, not {proposal.kind}"]
    own, wanted = given or DateSettings(), proposal.date
    if proposal.unit is not None and (own.unit or wanted.unit) != proposal.unit:
        reasons.append(f"its owner says that it is in {own.unit or 'days'}, not in {proposal.unit!r}")
    if own.bounds and wanted.bounds and own.bounds != wanted.bounds:
        reasons.append("its owner gives it other bounds")
    if own.parts is not None and wanted.parts is not None and set(own.parts) != set(wanted.parts):
        reasons.append("its owner says which parts of it are given")
    bounds = own.bounds or wanted.bounds
    if bounds is None and extra:
        # Of all dates, as for numbers: bounds that depended on the proposed spellings would tell which occur.
        seconds = table.numeric(name, base, DateForm(unit="seconds")).values
        bounds = public_span(seconds[seconds == seconds].tolist())
    parts = own.parts if own.parts is not None else wanted.parts
    agreed.dates[name] = DateSettings(own.unit or wanted.unit, bounds, parts)
    if extra:
        agreed.read_as[name] = ReadAs("continuous", (*base, *extra), described_by)
    return reasons


def _heeded(table: "Table", name: str, base: Collection[str], extra: Collection[str], min_count: int) -> list[str]:
    """Return those proposed spellings of missing that may show in how a column is described."""
    if not extra:
        return []
    import numpy as np

    indices, texts = table.texts(name, base)
    counted = np.bincount(indices[indices >= 0], minlength=len(texts)).tolist()
    counts = dict(zip(texts, counted, strict=True))
    return [text for text in extra if counts.get(canonical(text, table.numbers), 0) >= min_count]
