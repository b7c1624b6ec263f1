"""A cross-validation shown: its progress, its table, and a page with the curves of its runs."""

from pathlib import Path

from fl_app.system.files import replace_file
from server.modeller.folds.directory import FoldsDirectory

PAGE = "folds.html"


def write_page(directory: FoldsDirectory) -> Path:
    """Write the page into the cross-validation's directory, and return its path."""
    from server.display.folds.page import page  # and matplotlib, which takes a second to import

    replace_file(directory.path / PAGE, page(directory.read()).encode())
    return directory.path / PAGE
