"""The modeller's role: the federation's pods and their schemas, and the runs of one directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_app.federation.kinds import Federation
from fl_app.hub.role import Page, Parameters, Role
from server.hub.run_files import RunFiles

TEMPLATES = Path(__file__).parent / "templates" / "modeller"
PER_PAGE = 50


class ModellerPages:
    """What the modeller's pages show.

    Parameters
    ----------
    federation
        Whose pods are asked.
    runs
        The directory of the runs.
    """

    def __init__(self, federation: Federation, runs: Path) -> None:
        self._federation = federation
        self._files = RunFiles(runs)

    def runs(self, parameters: Parameters) -> Mapping[str, Any]:
        """Return a page of the list of runs."""
        names = self._files.names()
        last = max(1, -(-len(names) // PER_PAGE))
        given = parameters.get("page", "1")
        number = min(max(int(given) if given.isdecimal() else 1, 1), last)
        shown = names[(number - 1) * PER_PAGE : number * PER_PAGE]
        return {
            "runs": [self._files.summary(name) for name in shown],
            "count": len(names),
            "number": number,
            "last": last,
        }


def modeller_role(federation: Federation, runs: Path) -> Role:
    """Return the modeller's role over a federation and a directory of runs."""
    pages = ModellerPages(federation, runs)
    return Role(
        "modeller",
        f"modeller of {federation.name}",
        TEMPLATES,
        pages=(Page("/runs", "Runs", "runs.html.j2", pages.runs, "Runs"),),
    )
