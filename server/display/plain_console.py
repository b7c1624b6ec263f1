"""A console that shows names as they are: pods choose them, and none may draw on the modeller's terminal."""

from typing import Any

from rich.console import Console
from rich.text import Text

from fl_app.system.printable import one_line, printable


class PlainConsole(Console):
    """A console to which no text is markup; control characters, as in escape sequences, are shown as escapes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render_str(self, text: str, **style: Any) -> Text:
        """Return the text as rich draws it; it passes here from lines and from the cells of tables."""
        return super().render_str(printable(text), **style)

    def say(self, text: str) -> None:
        """Print ``text`` as one line, however many are in it and however long it is."""
        self.print(one_line(text), highlight=False, soft_wrap=True)
