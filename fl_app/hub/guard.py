"""What every request of a hub passes before anything of a page is touched, and what every answer carries.

1. The Host is one that the hub was told it has: a page of another site whose name was made to point here is refused.
2. The method is GET, HEAD or POST, and a body is small and states its length.
3. A POST comes from a page of the hub itself, by its Origin, unless it logs in by a secret of its own.
4. All but the way in needs a session.

Answers forbid the browser to load, frame or send anything elsewhere, so that markup which got through would do nothing.
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote

from fl_app.hub.sessions import Sessions

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 16 << 10
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
    (b"referrer-policy", b"no-referrer"),
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
        scope["session"] = session = self._session(scope)
        if refusal := self._refusal(scope):
            await _answer(send, *refusal)
        elif session is None and not _is_open(scope["path"]):
            if scope["method"] == "GET" and b"text/html" in (_single(scope, b"accept") or b""):
                await _answer(send, 303, "log in first", [(b"location", b"/login?next=" + _next(scope))])
            else:
                await _answer(send, 401, "log in first: `fl-app hub open` opens the browser")
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if _single(scope, b"host") not in self._hosts:
            return 421, "this hub does not answer to that name"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "a hub is read, and has a few buttons"
        size = _single(scope, b"content-length")
        if any(name == b"transfer-encoding" for name, _ in scope["headers"]) or (
            size is not None and not (size.isdigit() and int(size) <= MAX_BODY)
        ):
            return 413, f"a request states its length, and has at most {MAX_BODY >> 10} KiB"
        if scope["method"] == "POST":
            origin = _single(scope, b"origin")
            if origin not in self._origins and not (origin is None and scope["path"] in BY_SECRET):
                return 403, "this was sent by another site's page"
        return None

    def _session(self, scope: Scope) -> str | None:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load((_single(scope, b"cookie") or b"").decode("latin-1"))
        except CookieError:
            return None
        session = cookies[self._cookie].value if self._cookie in cookies else ""
        return session if self._sessions.holds(session) else None

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
