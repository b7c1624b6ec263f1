"""The pieces a page is made of; every text that comes in is escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


class Markup(str):
    """Text that is HTML already, and not to be escaped again."""

    __slots__ = ()


def tag(name: str, *content: Any, **attributes: str) -> Markup:
    """Make an element; ``klass`` and ``style`` say what they say, and underscores in names stand for hyphens."""
    given = "".join(
        f' {"class" if key == "klass" else key.replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{''.join(map(markup, content))}</{name}>")


def markup(content: Any) -> str:
    """Escape what is not HTML yet."""
    return content if isinstance(content, Markup) else escape(str(content))


def section(title: str, *content: Any) -> Markup:
    """Make a part of the page, with a heading."""
    return tag("section", tag("h2", title), *content)


def table(heads: Sequence[Any], rows: Iterable[Sequence[Any]], *, klass: str = "") -> Markup:
    """Make a table that scrolls by itself where the page is narrow; the first cell of each row is its head."""
    head = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in heads)))
    body = tag("tbody", *(tag("tr", *_cells(heads, row)) for row in rows))
    made = tag("table", head, body, klass=klass) if klass else tag("table", head, body)
    return tag("div", made, klass="wide", tabindex="0")


def pairs(rows: Iterable[tuple[str, Any]]) -> Markup:
    """Make a list of names and what they are."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows))


def bullets(lines: Iterable[Any]) -> Markup:
    """Make a list."""
    return tag("ul", *(tag("li", line) for line in lines))


def _cells(heads: Sequence[Any], row: Sequence[Any]) -> Iterable[Markup]:
    for position, (head, cell) in enumerate(zip(heads, row, strict=True)):
        if isinstance(cell, Markup) and cell.startswith("<td"):
            yield cell
        elif position == 0:
            yield tag("th", cell, scope="row")
        else:
            # A narrow page shows a cell's head beside it, where the style says so.
            number = {"klass": "number"} if _is_number(cell) else {}
            yield tag("td", cell, data_head=str(head), **number)


def _is_number(cell: Any) -> bool:
    return not isinstance(cell, Markup) and (cell == "-" or str(cell)[:1].isdigit())
