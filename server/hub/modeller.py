"""The modeller's role: the federation's pods and their schemas, and the runs of one directory."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fl_app.errors import FlAppError
from fl_app.federation.kinds import Federation
from fl_app.hub.charts import Line
from fl_app.hub.role import Action, Content, Download, NotThere, Page, Parameters, Role
from server.display.compare import compare, curves
from server.display.folds import PAGE as FOLDS_PAGE
from server.display.tuning import PAGE as TUNING_PAGE
from server.hub.federation_page import FederationPage
from server.hub.look import Look
from server.hub.run_files import UNDER_WAY, RunFiles, Summary
from server.hub.run_page import RunPage
from server.modeller.folds.directory import PREFIX as CROSS_VALIDATIONS
from server.modeller.tuning.directory import PREFIX as TUNINGS

TEMPLATES = Path(__file__).parent / "templates" / "modeller"
PER_PAGE = 50
MOST_COMPARED = 8
_SEVERAL = {TUNINGS: TUNING_PAGE, CROSS_VALIDATIONS: FOLDS_PAGE}
"""What names of directories of several runs begin with -> the page in such a directory."""


class RunsPages:
    """The list of runs, and runs side by side.

    Parameters
    ----------
    files
        The runs.
    begin
        The command that starts a run, for when there is none.
    """

    def __init__(self, files: RunFiles, begin: str) -> None:
        self._files, self._begin = files, begin

    def runs(self, parameters: Parameters) -> Mapping[str, Any]:
        """Return a page of the list of runs."""
        names = self._files.names()
        last = max(1, -(-len(names) // PER_PAGE))
        given = parameters.get("page", "1")
        place = min(max(int(given) if given.isdecimal() and len(given) < 9 else 1, 1), last)
        shown = names[(place - 1) * PER_PAGE : place * PER_PAGE]
        return {
            "runs": [self._files.summary(name) for name in shown],
            "several": self._files.several() if place == 1 else [],
            "count": len(names),
            "place": place,
            "last": last,
            "begin": self._begin,
        }

    def several(self, parameters: Parameters) -> Content:
        """Return the page of a tuning or a cross-validation, as it was written."""
        name = parameters["name"]
        if name in self._files.several():
            page = self._files.path / name / next(file for start, file in _SEVERAL.items() if name.startswith(start))
            if page.is_file() and not page.is_symlink():
                return Content(page, "text/html; charset=utf-8")
        raise NotThere(f"There is no page of {name!r} yet.")

    def compared(self, parameters: Parameters) -> Mapping[str, Any]:
        """Return runs side by side: settings that differ, figures, and curves."""
        named = list(dict.fromkeys(name for name in parameters.get("run", "").split(",") if name))
        runs = [self._files.run(name) for name in named[:MOST_COMPARED]]
        values: dict[str, Any] = {"names": [run.name for run in runs], "most": MOST_COMPARED, "more": len(named)}
        values |= {"settings": {}, "figures": {}, "charts": [], "damage": ""}
        if len(runs) < 2:
            return values
        try:
            tables, drawn = compare(runs), curves(runs)
        except (FlAppError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            return {**values, "damage": str(error)}
        charts = [(title, [Line(name, points) for name, points in lines]) for title, lines in drawn.items()]
        texts = {part: {name: list(map(_text, row)) for name, row in rows.items()} for part, rows in tables.items()}
        return {**values, **texts, "charts": charts}


def modeller_role(federation: Federation, runs: Path, look: Look | None = None, options: Sequence[str] = ()) -> Role:
    """Return the modeller's role.

    Parameters
    ----------
    federation
        Whose pods are asked.
    runs
        The directory of the runs.
    look
        What asks them; None: a new one.
    options
        What a command needs to name the federation and the directory of the runs.
    """
    files, asked = RunFiles(runs), look or Look(federation)
    begin = shlex.join(["fl-app", "fit", *options]) if options else "fl-app demo"
    pods, listed, run = FederationPage(federation, asked, options), RunsPages(files, begin), RunPage(files)

    def federation_values(parameters: Parameters) -> Mapping[str, Any]:
        return {**pods.values(parameters), "running": _running(files)}

    def ask(_parameters: Parameters) -> str:
        asked.start()
        return "the pods are being asked"

    return Role(
        "modeller",
        f"modeller of {federation.name}",
        TEMPLATES,
        pages=(
            Page("/", "Federation", "federation.html.j2", federation_values, "Federation"),
            Page("/runs", "Runs", "runs.html.j2", listed.runs, "Runs"),
            Page("/compare", "Runs side by side", "compare.html.j2", listed.compared),
            Page("/runs/{run}", "Run", "run.html.j2", run.values),
        ),
        downloads=(
            Download("/runs/{run}/report", run.report),
            Download("/runs/{run}/files/{file}", run.file),
            Download("/several/{name}", listed.several),
        ),
        actions=(Action("/ask", ask),),
    )


def _running(files: RunFiles) -> list[Summary]:
    """Return the newest runs that are under way."""
    return [one for one in map(files.summary, files.names()[:PER_PAGE]) if one.status in UNDER_WAY]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None else str(value)
