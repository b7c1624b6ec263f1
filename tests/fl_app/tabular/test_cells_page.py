"""docs/reference/cells.md lists the texts that are missing by default, as the reader has them."""

import re
from pathlib import Path

from fl_app.tabular.cell_text import DEFAULT_MISSING

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cells.md"


def test_the_texts_that_are_missing_are_those_of_the_reader() -> None:
    listed = PAGE.read_text().split("<!-- texts that are missing -->")[1].split("<!-- end")[0]
    assert {"", *re.findall(r"`(.+?)`", listed)} == set(DEFAULT_MISSING)
