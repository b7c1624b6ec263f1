"""The report of a run: one HTML file with its pictures, which are beside it as PNG too."""

from pathlib import Path

from fl_app.system.files import replace_file
from server.app.run_directory import RunDirectory

REPORT = "report.html"


def write_report(run: RunDirectory) -> tuple[Path, list[Path]]:
    """Write the report into the run's directory; return its path and those of the pictures."""
    results, settings = run.results(), run.settings()  # before matplotlib, which takes a second to import

    from server.display.report.description_plots import description_pictures
    from server.display.report.page import CAPTIONS, page
    from server.display.report.plots import pictures, png, svg

    figures = {**description_pictures(results.description), **pictures(results)}
    written = [run.path / f"{name}.png" for name in figures]
    for path, figure in zip(written, figures.values(), strict=True):
        replace_file(path, png(figure))
    drawings = {name: svg(figure, name) for name, figure in figures.items() if name in CAPTIONS}
    replace_file(run.path / REPORT, page(run.name, settings, results, drawings).encode())
    return run.path / REPORT, written
