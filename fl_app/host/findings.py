"""What an examination found, one thing at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``text`` says what was found and, where it is wrong, what to do."""

    about: str
    ok: bool
    text: str

    def __str__(self) -> str:
        """Return the line of it that is shown to people."""
        return f"{'ok   ' if self.ok else 'WRONG'}  {self.about}: {self.text}"
