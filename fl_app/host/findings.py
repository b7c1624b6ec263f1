"""The result of one check, as `fl-app doctor` and `fl-app pod check` list it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check: ``text`` says what is there and, unless it is ``ok``, what to do about it."""

    about: str
    ok: bool
    text: str

    def __str__(self) -> str:
        """Return the line that is shown to people."""
        return f"{'ok   ' if self.ok else 'WRONG'}  {self.about}: {self.text}"
