"""Who has logged in: one-time codes that become sessions, and sessions that end. All of it is in memory only.

A code gets into the browser in the fragment of a link, which browsers send to nobody, and is good once and for a short
time. What logs in is then a cookie that no script can read. Only digests of codes and sessions are kept, so that
looking one up tells nothing by the time it takes.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

CODE_SECONDS = 300.0
"""How long a one-time link is good."""
SESSION_SECONDS = 8 * 3600.0
"""How long a login lasts, however much it is used: a working day."""
_MOST = 100
"""Codes and sessions at a time; the oldest goes."""


class Sessions:
    """The codes and sessions of one hub.

    Parameters
    ----------
    now
        Returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._codes: dict[bytes, float] = {}
        self._sessions: dict[bytes, float] = {}
        self._users: dict[bytes, str] = {}
        self._form_key = secrets.token_bytes(32)

    def new_code(self) -> str:
        """Return a code that opens one session within `CODE_SECONDS`."""
        return self._add(self._codes, CODE_SECONDS)

    def open(self, code: str, user: str = "") -> str | None:
        """Return a new session for a code, which is used up; None for one that is unknown, used or too old.

        The session is of ``user`` of this machine, if one is given, and opens nothing for another.
        """
        ends = self._codes.pop(_digest(code), None)
        if ends is None or ends <= self._now():
            return None
        session = self._add(self._sessions, SESSION_SECONDS)
        self._users = {one: whose for one, whose in self._users.items() if one in self._sessions}
        if user:
            self._users[_digest(session)] = user
        return session

    def holds(self, session: str) -> bool:
        """Say whether a session is open."""
        ends = self._sessions.get(_digest(session))
        return ends is not None and ends > self._now()

    def user(self, session: str) -> str:
        """Return whose session it is, of the users of this machine; "" if it is bound to nobody."""
        return self._users.get(_digest(session), "")

    def close(self, session: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(session), None)

    def form_token(self, session: str) -> str:
        """Return what a form of this session carries, and one of another site cannot know."""
        return hmac.new(self._form_key, session.encode(), hashlib.sha256).hexdigest()

    def form_holds(self, session: str, token: str) -> bool:
        """Say whether a form was made for this session."""
        return hmac.compare_digest(self.form_token(session).encode(), token.encode())

    def _add(self, kept: dict[bytes, float], seconds: float) -> str:
        now, made = self._now(), secrets.token_urlsafe(32)
        for digest in [digest for digest, ends in kept.items() if ends <= now] or list(kept)[: len(kept) - _MOST + 1]:
            del kept[digest]
        kept[_digest(made)] = now + seconds
        return made


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
