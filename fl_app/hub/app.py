"""The hub as an ASGI application: its roles' pages, the way in, the streams, and what monitoring asks for.

::

    /ROLE/...            pages, downloads and actions of a role
    /events?page=/...    a stream of what that page shows, whenever it changes
    /login               the way in for a browser, by a one-time code in the link's fragment
    /login/link          the way in for `fl-app hub open`: a new one-time code, for the hub's secret or a party's token
    /healthz, /metrics   for monitoring; metrics for whoever has the secret, or has logged in
"""

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from fl_app.errors import FlAppError
from fl_app.hub.answers import Stream, sent
from fl_app.hub.guard import ASGIApp, Guard
from fl_app.hub.live import Live, digest_of
from fl_app.hub.pages import environment, static_files
from fl_app.hub.peers import user_of
from fl_app.hub.role import Action, Download, NotThere, Page, Role
from fl_app.hub.sessions import SESSION_SECONDS, Sessions

FORM_FIELD = "form"
"""The name of the hidden field by which a button's form is known to be of this session."""
_BARE = "hub/bare.html.j2"
_WHOLE = "hub/layout.html.j2"
_Endpoint = Callable[[Request], Any]


class Hub:
    """One hub: roles behind a guard.

    Parameters
    ----------
    roles
        What it shows, in the order of the navigation; the first one's first page is where ``/`` leads.
    origins
        The hub's own origins, such as ``http://127.0.0.1:8050``.
    secret
        What `fl-app hub open` and a monitor on the same machine know by a file that nobody else may read.
    admits
        Says whether a token, signed by a party's key for this hub, opens it; for whoever is on another machine.
    metrics_token
        A secret that opens ``/metrics`` and nothing else, and stays the same; None: there is none.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        origins: Sequence[str],
        secret: str,
        admits: Callable[[str], bool] = lambda _: False,
        metrics_token: str | None = None,
    ) -> None:
        self.roles, self.origins = tuple(roles), tuple(origins)
        self.sessions = Sessions()
        self.live = Live(self._content)
        self._secret, self._admits, self._metrics_token = secret, admits, metrics_token
        self._secure = all(origin.startswith("https:") for origin in origins)
        # Cookies know no ports: without it in the name, two hubs on a machine would log each other out.
        self._cookie = f"fl-app-hub-{urlsplit(origins[0]).port or 'tls'}"
        self._templates = environment(self.roles)
        self._pages = {role.address(page.path): (role, page) for role in self.roles for page in role.pages}
        inner = Starlette(
            routes=[*self._own_routes(), *self._role_routes()], exception_handlers={404: self._not_there, 500: _failed}
        )
        self._router = inner
        self.app: ASGIApp = Guard(inner, self.sessions, self.origins, self._cookie)

    @property
    def home(self) -> str:
        """The address of the first page."""
        return self.roles[0].address(self.roles[0].pages[0].path)

    def _own_routes(self) -> list[Route]:
        return [
            Route("/", self._root),
            Route("/login", self._login_page),
            Route("/login", self._log_in, methods=["POST"]),
            Route("/login/link", self._link, methods=["POST"]),
            Route("/login/session", self._session),
            Route("/logout", self._log_out, methods=["POST"]),
            Route("/events", self._events),
            Route("/healthz", self._health),
            Route("/metrics", self._metrics),
            Route("/static/{name}", self._static),
        ]

    def _role_routes(self) -> list[Route]:
        routes = []
        for role in self.roles:
            routes += [Route(role.address(page.path), self._page(role, page)) for page in role.pages]
            routes += [Route(role.address(one.path), self._download(one)) for one in role.downloads]
            routes += [Route(role.address(one.path), self._action(role, one), methods=["POST"]) for one in role.actions]
        return routes

    async def _root(self, _request: Request) -> Response:
        return RedirectResponse(self.home, 303)

    def _page(self, role: Role, page: Page) -> _Endpoint:
        async def show(request: Request) -> Response:
            parameters = {**_query(request.url.query), **request.path_params}
            try:
                content = await run_in_threadpool(self._rendered, role, page, parameters, _BARE)
            except NotThere as error:
                return await self._not_there(request, error)
            address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            whole = self._templates.get_template(_WHOLE).render(
                **self._frame(request, role),
                title=page.title,
                here=page.path,
                content=content,
                address=address if page.live else "",
                digest=digest_of(content),
            )
            return HTMLResponse(whole)

        return show

    def _rendered(self, role: Role, page: Page, parameters: Mapping[str, str], layout: str) -> str:
        values = page.values(parameters)
        template = self._templates.get_template(f"{role.name}/{page.template}")
        return template.render(layout=layout, role=role, base=f"/{role.name}", **values)

    def _frame(self, request: Request, role: Role) -> dict[str, Any]:
        session = request.scope["session"]
        token = self.sessions.form_token(session) if session else ""
        return {"roles": self.roles, "role": role, "form_token": token}

    async def _content(self, address: str) -> str | None:
        """Return what the page at an address shows now, without what is around it; None if there is no such page."""
        path, _, asked = address.partition("?")
        scope = {"type": "http", "method": "GET", "path": unquote(path), "root_path": "", "headers": []}
        for role in self.roles:
            for page in role.pages:
                match, child = Route(role.address(page.path), self._root).matches(scope)
                if match.value == 2 and page.live:
                    parameters = {**_query(asked), **child["path_params"]}
                    try:
                        return await run_in_threadpool(self._rendered, role, page, parameters, _BARE)
                    except NotThere:
                        return None
        return None

    async def _events(self, request: Request) -> Response:
        session, address = request.scope["session"], request.query_params.get("page", "")
        if await self._content(address) is None:
            return PlainTextResponse("no such page\n", 404)
        if not self.live.take():
            return PlainTextResponse("too many pages are open\n", 503, {"retry-after": "30", "connection": "close"})
        known = request.headers.get("last-event-id") or request.query_params.get("known", "")
        events = self.live.stream(address, known, lambda: self.sessions.holds(session))
        return Stream(events, self.live.give)

    def _download(self, download: Download) -> _Endpoint:
        async def send(request: Request) -> Response:
            try:
                content = await run_in_threadpool(download.read, {**_query(request.url.query), **request.path_params})
            except NotThere as error:
                return await self._not_there(request, error)
            return sent(content)

        return send

    def _action(self, role: Role, action: Action) -> _Endpoint:
        async def carry_out(request: Request) -> Response:
            form = parse_qs((await request.body()).decode("utf-8", "replace"))
            session, token = request.scope["session"], form.get(FORM_FIELD, [""])[-1]
            if not self.sessions.form_holds(session, token):
                return PlainTextResponse("this form is not of this session: load the page again\n", 403)
            try:
                await run_in_threadpool(action.carry_out, {**request.path_params})
            except NotThere as error:
                return await self._not_there(request, error)
            except FlAppError as error:
                return PlainTextResponse(f"{error}\n", 409)
            return RedirectResponse(role.address(action.back), 303)

        return carry_out

    async def _not_there(self, request: Request, error: Exception) -> Response:
        if b"text/html" not in request.headers.get("accept", "").encode():
            return PlainTextResponse("there is nothing here\n", 404)
        said = str(error) if isinstance(error, NotThere) else "There is nothing at this address."
        frame = self._frame(request, self.roles[0])
        content = self._templates.get_template("hub/missing.html.j2").render(layout=_BARE, said=said, home=self.home)
        whole = self._templates.get_template(_WHOLE).render(
            **frame, title="Not here", here="", content=content, address="", digest=""
        )
        return HTMLResponse(whole, 404)

    async def _login_page(self, _request: Request) -> Response:
        return HTMLResponse(self._templates.get_template("hub/login.html.j2").render())

    async def _log_in(self, request: Request) -> Response:
        try:
            code = json.loads(await request.body())["code"]
        except (ValueError, KeyError, TypeError, RecursionError):
            code = None
        user = await run_in_threadpool(user_of, request.scope.get("client"), request.scope.get("server"))
        session = self.sessions.open(code, user) if isinstance(code, str) else None
        if session is None:
            return PlainTextResponse("this link was used, or is too old: `fl-app hub open` makes a new one\n", 403)
        response = JSONResponse({"home": self.home})
        response.set_cookie(
            self._cookie,
            session,
            max_age=int(SESSION_SECONDS),
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return response

    async def _link(self, request: Request) -> Response:
        token = _bearer(request)
        if not (self._is_secret(token) or await run_in_threadpool(self._admits, token)):
            return PlainTextResponse("this key does not open this hub\n", 403)
        return JSONResponse({"code": self.sessions.new_code()})

    async def _session(self, request: Request) -> Response:
        return Response(status_code=204 if request.scope["session"] else 401)

    async def _log_out(self, request: Request) -> Response:
        self.sessions.close(request.scope["session"])
        response = RedirectResponse("/login", 303)
        response.delete_cookie(self._cookie, path="/", secure=self._secure, httponly=True, samesite="strict")
        return response

    async def _health(self, _request: Request) -> Response:
        healthy = [await run_in_threadpool(role.healthy) for role in self.roles]
        return PlainTextResponse("ok\n" if all(healthy) else "not up\n", 200 if all(healthy) else 503)

    async def _metrics(self, request: Request) -> Response:
        token = _bearer(request)
        scraper = self._metrics_token is not None and _same(token, self._metrics_token)
        if not (request.scope["session"] or scraper or self._is_secret(token)):
            return PlainTextResponse("metrics are for whoever has the hub's secret\n", 401)
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        for role in self.roles:
            for collector in role.collectors():
                registry.register(collector)
        return Response(await run_in_threadpool(generate_latest, registry), media_type=CONTENT_TYPE_LATEST)

    async def _static(self, request: Request) -> Response:
        found = static_files().get(request.path_params["name"])
        if found is None:
            return PlainTextResponse("there is nothing here\n", 404)
        content, media_type = found
        return Response(
            content, media_type=media_type, headers={"cache-control": "public, max-age=31536000, immutable"}
        )

    def _is_secret(self, token: str) -> bool:
        return _same(token, self._secret)


def _same(token: str, secret: str) -> bool:
    return hmac.compare_digest(token.encode("utf-8", "replace"), secret.encode())


async def _failed(_request: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        return PlainTextResponse("the request did not come to its end\n", 408, {"connection": "close"})
    return PlainTextResponse("this page failed: the hub's own log says why\n", 500)


def _query(text: str) -> dict[str, str]:
    """Return what a query names; of what it names more than once, as boxes that were ticked, all, with commas."""
    return {name: ",".join(values) for name, values in parse_qs(text, keep_blank_values=True).items()}


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
