"""Text of other parties, made fit to be shown: names, values and error texts that nobody here has written.

A terminal acts on what it is sent, a reader believes a line that stands by itself, and a log is read in a terminal
later. Text on its way to any of them passes through here; pages and cards quote it besides, each in its own way.
"""


def printable(text: str, keep: str = "\n\t") -> str:
    """Return the text with every character that would not simply be shown written as its escape, but for ``keep``.

    Control characters, and so escape sequences, are not shown, nor are marks that turn the direction of writing.
    """
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def one_line(text: object) -> str:
    """Return the text so that it cannot end the line in which it stands."""
    return printable(str(text), keep="")


def continued(text: str) -> str:
    """Return the text so that no line but the first stands at the margin, where it could pass for another message."""
    first, *more = printable(text).split("\n")
    return "\n".join([first, *(line if not line or line.startswith(" ") else f"  {line}" for line in more)])
