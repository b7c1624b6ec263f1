"""Which columns of a table are dates, and how others that look like dates may be written: for its owner alone."""

import numpy as np

from fl_app.tabular.cells import Numeric, Table
from fl_app.tabular.dates import SECONDS, DateForm, DateSettings, Unit, public_span

_SAMPLE = 50
_UNITS: tuple[Unit, ...] = ("days", "hours", "minutes", "seconds")
_DAYS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%B %d, %Y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def date_settings(table: Table) -> dict[str, DateSettings]:
    """Return the columns whose cells are all dates, by ISO 8601 or as the table's options say, as they are offered.

    The unit is the coarsest in which all are whole.
    """
    found = {}
    for name in table.names:
        numeric = dates_in(table, name)
        if numeric is None or numeric.number_rows < numeric.rows or numeric.mixed:
            continue
        seconds = numeric.values
        if len(np.unique(seconds)) > 1:
            unit = next((unit for unit in _UNITS if not (seconds % SECONDS[unit]).any()), _UNITS[-1])
            found[name] = DateSettings(unit, public_span(seconds.tolist()))
    return found


def dates_in(table: Table, name: str) -> Numeric | None:
    """Return how far a column consists of dates, in seconds; None where its first cells are none."""
    form = DateForm(unit="seconds")
    cells = table.columns[name]
    first = type(cells)(np.zeros(0, np.int8), cells.distinct[:_SAMPLE], cells.dated)
    if np.isnan(first.dates(table.date_form(name, form))[0]).all():
        return None
    numeric = table.numeric(name, None, form)
    return numeric if numeric.rows else None


def formats_of(table: Table, name: str) -> tuple[str, ...]:
    """Return the formats in which every cell of a column is a date; of days and months that may change places, both."""
    held = table.numeric(name).where
    cells = table.columns[name]
    wanted = type(cells)(np.zeros(0, np.int8), cells.texts.take(held))
    return tuple(
        form for day in _DAYS for form in (day + time for time in _TIMES) if not np.isnan(wanted.dates(form)[0]).any()
    )
