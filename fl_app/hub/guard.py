"""What every request of a hub passes before anything of a page is touched, and what every answer carries.

1. The Host is one that the hub was told it has: a page of another site whose name was made to point here is refused.
2. The method is GET, HEAD or POST, and a body is small and states its length.
3. A POST comes from a page of the hub itself, by its Origin, unless it logs in by a secret of its own; and what a
   browser says another site's page asks for (Sec-Fetch-Site) is nothing but a page to go to.
4. All but the way in needs a session, from the user of this machine who logged in.
5. A body comes at once. What goes wrong behind the guard is told to the log, and to nobody else.

Answers forbid the browser to load, frame or send anything elsewhere, so that markup which got through would do nothing.
"""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from fl_app.hub.peers import user_of
from fl_app.hub.sessions import Sessions
from fl_app.system.printable import continued

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("fl_app.hub")
MAX_BODY = 16 << 10
BODY_SECONDS = 10.0
"""How long a request may take to send its body."""
WAY_IN = ("/login", "/login/link", "/login/session", "/healthz", "/metrics")
"""Paths that answer without a session; those that tell anything ask for a secret of their own."""
BY_SECRET = ("/login/link",)
"""Paths to which a program posts, with a secret; a browser, which names an Origin, does not."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with less, browsers do not name the hub's own pages as a form's Origin
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


class Guard:
    """ASGI middleware around the hub's pages.

    Parameters
    ----------
    app
        The application behind it.
    sessions
        Who has logged in.
    origins
        The hub's own origins, such as ``http://127.0.0.1:8050``; their hosts are the only ones it answers to.
    cookie
        The name of the session's cookie.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, origins: Collection[str], cookie: str) -> None:
        self._app, self._sessions, self._cookie = app, sessions, cookie
        self._origins = {origin.encode() for origin in origins}
        self._hosts = {origin.partition(b"://")[2] for origin in self._origins}
        self._secure = all(origin.startswith(b"https:") for origin in self._origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer it with a refusal."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        send = self._with_headers(send)
        scope["session"] = session = await self._session(scope)
        if refusal := self._refusal(scope):
            await _answer(send, *refusal)
        elif session is None and not _is_open(scope["path"]):
            if scope["method"] == "GET" and b"text/html" in (_single(scope, b"accept") or b""):
                await _answer(send, 303, "log in first", [(b"location", b"/login?next=" + _next(scope))])
            else:
                await _answer(send, 401, "log in first: `fl-app hub open` opens the browser")
        else:
            try:
                await self._app(scope, _soon(receive) if scope["method"] == "POST" else receive, send)
            except ClientDisconnect:
                return
            except Exception:
                # An error's text may quote what others have written, and logs are read in terminals.
                LOG.error("%s failed\n%s", continued(scope["path"]), continued(traceback.format_exc()))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if _single(scope, b"host") not in self._hosts:
            return 421, "this hub does not answer to that name"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "a hub is read, and has a few buttons"
        sizes = [value for name, value in scope["headers"] if name == b"content-length"]
        stated = len(sizes) <= 1 and all(size.isdigit() and len(size) <= 9 and int(size) <= MAX_BODY for size in sizes)
        if not stated or any(name == b"transfer-encoding" for name, _ in scope["headers"]):
            return 413, f"a request states its length, and has at most {MAX_BODY >> 10} KiB"
        if scope["method"] == "POST":
            origin = _single(scope, b"origin")
            if origin not in self._origins and not (origin is None and scope["path"] in BY_SECRET):
                return 403, "this was sent by another site's page"
        elsewhere = _single(scope, b"sec-fetch-site") in (b"cross-site", b"same-site")
        if elsewhere and _single(scope, b"sec-fetch-dest") != b"document":
            return 403, "this was asked for by another site's page"
        return None

    async def _session(self, scope: Scope) -> str | None:
        # Whatever else is served under the same name, on any port, may set cookies: also ones of this name.
        for pair in (_single(scope, b"cookie") or b"").decode("latin-1").split(";"):
            name, _, session = pair.strip().partition("=")
            if name == self._cookie and self._sessions.holds(session):
                user = self._sessions.user(session)
                if not user or user == await run_in_threadpool(user_of, scope.get("client"), scope.get("server")):
                    return session
        return None

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message.get("headers", ())}
                more = [*_HEADERS, (b"content-security-policy", POLICY.encode()), (b"cache-control", b"no-store")]
                if self._secure:
                    more.append((b"strict-transport-security", b"max-age=31536000"))
                headers = [*message.get("headers", ()), *(pair for pair in more if pair[0] not in given)]
                message = {**message, "headers": headers}
            await send(message)

        return sending


def _soon(receive: Receive) -> Receive:
    """Return a ``receive`` that takes a client for gone if a request's body is late."""
    whole = False

    async def receiving() -> Message:
        nonlocal whole
        try:
            message = await asyncio.wait_for(receive(), None if whole else BODY_SECONDS)
        except TimeoutError:
            return {"type": "http.disconnect"}
        whole = not message.get("more_body", False)
        return message

    return receiving


def _is_open(path: str) -> bool:
    return path in WAY_IN or path.startswith("/static/")


def _next(scope: Scope) -> bytes:
    query = scope.get("query_string", b"").decode("latin-1")
    return quote(scope["path"] + (f"?{query}" if query else ""), safe="").encode()


def _single(scope: Scope, header: bytes) -> bytes | None:
    """Return a header's value if it was sent exactly once."""
    values = [value for name, value in scope["headers"] if name == header]
    return values[0] if len(values) == 1 else None


async def _answer(send: Send, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    body = f"{text}\n".encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*head, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
