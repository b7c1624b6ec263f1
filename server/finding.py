"""What `fl-app doctor` finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``text`` says what was found and, where it is wrong, what to do."""

    about: str
    ok: bool
    text: str
