"""The owner's pages about what has left the pod: entries, runs, and what private runs have told."""

import math

from client.app.ledger_entries import Entry
from client.hub.ledger_sums import RunSums, Sums, cohort_of
from client.hub.ledger_view import LedgerUnread
from client.hub.source import Source, Values
from client.hub.words import EVENTS, spent_text, told_budget, told_time, what_and_form, who
from fl_app.hub.role import NotThere, Parameters

ROWS = 50
RUNS = 25


class LeftPages:
    """Their values, read anew for each look."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def ledger(self, parameters: Parameters) -> Values:
        """Return one page of entries, the newest first, of all runs or one, of all events or one."""
        sums, unread = self._source.sums()
        run, event = parameters.get("run", "").strip(), parameters.get("event", "")
        number = _number(parameters.get("page", "1"))
        entries: list[Entry] = []
        count, pages = 0, 1
        try:
            entries, count = self._source.ledger.page(number, ROWS, run or None, event)
            pages = max(1, math.ceil(count / ROWS))
            if number > pages:
                raise NotThere(f"there are {pages} pages of entries")
        except LedgerUnread as error:
            unread = str(error)
        rows = [(entry, *what_and_form(entry, sums), who(cohort_of(entry))) for entry in entries]
        asked = {"run": run, "event": event}
        return self._source.frame(sums, unread) | {
            "rows": rows,
            "count": count,
            "number": number,
            "pages": pages,
            **asked,
            "events": EVENTS,
            "query": {name: value for name, value in asked.items() if value},
            "totals": sums.totals,
            "time": told_time,
        }

    def runs(self, parameters: Parameters) -> Values:
        """Return one page of runs, the newest first."""
        sums, unread = self._source.sums()
        found, number = runs_of(sums), _number(parameters.get("page", "1"))
        pages = max(1, math.ceil(len(found) / RUNS))
        if number > pages:
            raise NotThere(f"there are {pages} pages of runs")
        shown = found[(number - 1) * RUNS : number * RUNS]
        return self._source.frame(sums, unread) | {
            "runs": shown,
            "count": len(found),
            "number": number,
            "pages": pages,
            "time": told_time,
        }

    def run(self, parameters: Parameters) -> Values:
        """Return what left in one run, when, to whom and in which form."""
        sums, unread = self._source.sums()
        found = sums.runs.get(parameters["run"])
        if found is None:
            raise NotThere("the ledger knows no such run")
        try:
            entries, count = self._source.ledger.page(1, ROWS, found.run)
        except LedgerUnread as error:
            entries, count, unread = [], 0, str(error)
        known = self._source.known()[0]
        pods = [(name, key, self._source.key_is(known, name, key)) for name, key in sorted(found.pods.items())]
        return self._source.frame(sums, unread) | {
            "run": found,
            "pods": pods,
            "apps": [(app, self._source.apps.approved(app)) for app in found.apps],
            "spent": spent_text(found),
            "rows": [(entry, *what_and_form(entry, sums)) for entry in entries],
            "more": max(0, count - len(entries)),
            "time": told_time,
        }

    def budget(self, _parameters: Parameters) -> Values:
        """Return what private runs have told of a row, and what is left."""
        sums, unread = self._source.sums()
        budget, wrong = self._source.budget()
        private = [(run, spent_text(run)) for run in runs_of(sums) if run.spent][:RUNS]
        return self._source.frame(sums, wrong or unread) | {
            "budget": told_budget(budget),
            "private": private,
            "time": told_time,
        }


def runs_of(sums: Sums) -> list[RunSums]:
    """Return the runs, the one with the newest entry first."""
    return sorted(sums.runs.copy().values(), key=lambda run: run.last, reverse=True)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and 1 <= len(text) <= 6 and int(text) else 1
