"""The report of a run: one HTML file with its pictures, which are beside it as PNG too."""

from pathlib import Path
from typing import TYPE_CHECKING

from fl_app.system.files import replace_file
from server.app.run_directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "report.html"


def write_report(run: RunDirectory) -> tuple[Path, list[Path]]:
    """Write the report into the run's directory; return its path and those of the pictures."""
    text, figures = _made(run)

    from server.display.report.plots import png

    written = [run.path / f"{name}.png" for name in figures]
    for path, figure in zip(written, figures.values(), strict=True):
        replace_file(path, png(figure))
    replace_file(run.path / REPORT, text.encode())
    return run.path / REPORT, written


def report_page(run: RunDirectory) -> str:
    """Return the report's page, which nothing is written for."""
    return _made(run)[0]


def _made(run: RunDirectory) -> tuple[str, "dict[str, Figure]"]:
    """Return the page and its pictures, by their names."""
    results, settings = run.results(), run.settings()  # before matplotlib, which takes a second to import

    from server.display.report.description_plots import description_pictures
    from server.display.report.page import CAPTIONS, page
    from server.display.report.plots import pictures, svg

    figures = {**description_pictures(results.description), **pictures(results)}
    drawings = {name: svg(figure, name) for name, figure in figures.items() if name in CAPTIONS}
    return page(run.name, settings, results, drawings), figures
