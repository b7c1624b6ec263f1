"""The report of a run: one HTML file and its pictures beside it, made of results.json alone."""

from pathlib import Path

from fl_app.system.files import replace_file
from server.app.run_directory import RunDirectory

REPORT = "report.html"


def write_report(run: RunDirectory) -> tuple[Path, list[Path]]:
    """Write the report into the run's directory and return its path, and those of the pictures."""
    results, configuration = run.results(), run.configuration()  # before matplotlib, which takes a second to import

    from server.display.report.page import CAPTIONS, page
    from server.display.report.plots import pictures, png, svg

    drawn = pictures(results)
    written = [run.path / f"{name}.png" for name in drawn]
    for path, figure in zip(written, drawn.values(), strict=True):
        replace_file(path, png(figure))
    drawings = {name: svg(figure, name) for name, figure in drawn.items() if name in CAPTIONS}
    text = "".join(page(run.name, configuration, results, drawings))
    replace_file(run.path / REPORT, text.encode())
    return run.path / REPORT, written
