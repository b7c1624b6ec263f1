"""A tuning shown: its progress, its table, and a page with the curves of its trials."""

from pathlib import Path

from fl_app.system.files import replace_file
from server.modeller.tuning.directory import TuningDirectory

PAGE = "tune.html"


def write_page(directory: TuningDirectory) -> Path:
    """Write the page into the tuning's directory, and return its path."""
    from server.display.tuning.page import page  # and matplotlib, which takes a second to import

    replace_file(directory.path / PAGE, page(directory.read()).encode())
    return directory.path / PAGE
