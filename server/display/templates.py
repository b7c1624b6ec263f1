"""The templates that pages and cards are written by: Jinja2, with every value escaped unless it is markup already.

A template lies beside the code that fills it and is named by its path under ``server``, such as
``exports/model_card.md.j2``.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from fl_app.system.printable import printable

_SERVER = Path(__file__).parents[1]


@cache
def environment() -> Environment:
    """Return the environment of all templates.

    Values are escaped as HTML, but for Markdown (``.md.j2``), where names are quoted by the filter
    ``code`` and other text by ``text``. A name that the code does not give is an error.
    """
    made = Environment(
        loader=FileSystemLoader(_SERVER),
        autoescape=select_autoescape(disabled_extensions=("md.j2",), default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["code"] = markdown_code
    made.filters["cell"] = markdown_cell
    made.filters["text"] = markdown_text
    return made


def render(template: str, **values: Any) -> str:
    """Fill in a template; raises `jinja2.UndefinedError` if it uses a name that is not among ``values``."""
    return environment().get_template(template).render(**values)


def _shown(value: object) -> object:
    """Return what a template prints of a value: of text, no character that acts instead of being shown."""
    return value if not isinstance(value, str) or hasattr(value, "__html__") else printable(value)


def markdown_code(text: object) -> str:
    """Quote a name of the user's as Markdown code, so that nothing in it is read as markup."""
    return f"`{' '.join(str(text).replace('`', chr(39)).split())}`"


def markdown_cell(text: object) -> str:
    """Write Markdown as one cell of a table.

    Backslashes before a bar are doubled: otherwise they would take the one that protects the bar.
    """
    return re.sub(r"(\\*)\|", lambda bar: f"{bar[1]}{bar[1]}\\|", str(text).replace("\n", " "))


def markdown_text(text: object) -> str:
    """Write plain text so that no character of it is read as markup, in a paragraph, a list item or a table's cell.

    An address is no link, and a sign or number at the beginning makes no list.
    """
    return re.sub(
        r"([\\`*_\[\]<>|~&#@]|(?<=http)s?:|(?<=ftp):|(?<=www)\.|^[-+]|(?<=^\d)[.)])",
        lambda mark: mark[0][:-1] + "\\" + mark[0][-1],
        " ".join(str(text).split()),
    )
