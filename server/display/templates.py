"""The templates that pages and cards are written by: Jinja2, with every value escaped unless it is markup already.

A template lies beside the code that fills it and is named by its path under ``server``, such as
``exports/model_card.md.j2``.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

_SERVER = Path(__file__).parents[1]


@cache
def environment() -> Environment:
    """Return the environment of all templates.

    Values are escaped as HTML, but for Markdown (``.md.j2``), where a name is quoted by the filter ``code``. A name
    that the code does not give is an error.
    """
    made = Environment(
        loader=FileSystemLoader(_SERVER),
        autoescape=select_autoescape(disabled_extensions=("md.j2",), default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["code"] = markdown_code
    made.filters["cell"] = markdown_cell
    return made


def render(template: str, **values: Any) -> str:
    """Fill in a template; raises `jinja2.UndefinedError` if it uses a name that is not among ``values``."""
    return environment().get_template(template).render(**values)


def markdown_code(text: object) -> str:
    """Quote a name of the user's as Markdown code, so that nothing in it is read as markup."""
    return f"`{' '.join(str(text).replace('`', chr(39)).split())}`"


def markdown_cell(text: object) -> str:
    """Write a value as one cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")
