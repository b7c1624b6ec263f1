"""A hub being served: its port, the file that tells the same user's commands of it, and the browser.

::

    $FL_APP_HOME/hub/          0700
        PORT.json              0600: the address and the secret of the hub on that port, while it is served
        PORT.html              0600: sends the browser to a one-time link, which so stands in no list of processes
        PORT.lock              held while it is served, so that a file which a dead hub has left counts for nothing
"""

import json
import os
import queue
import secrets
import socket
import ssl
import stat
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import uvicorn

from fl_app.errors import UsageError
from fl_app.federation.address import is_loopback
from fl_app.hub.app import Hub
from fl_app.hub.connections import Prompt, most_connections
from fl_app.hub.role import Role
from fl_app.system.files import held, replace_file
from fl_app.system.home import fl_app_home

DEFAULT_PORT = 8050
_GRACE_SECONDS = 2
_WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Address:
    """Where a hub listens.

    Attributes
    ----------
    host, port
        The interface and port; port 0 takes a free one.
    name
        The name by which browsers reach it, if it is not ``host``.
    certificate, key
        Of its TLS; without them it listens on the loopback interface only.
    authority
        The certificate that has signed ``certificate``, if this system does not know it.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    name: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    def origin(self, port: int) -> str:
        """Return the hub's origin."""
        host = (self.name or self.host).lower()
        written = f"[{host}]" if ":" in host else host
        scheme, usual = ("https", 443) if self.certificate else ("http", 80)
        return f"{scheme}://{written}" + (f":{port}" if port != usual else "")  # as browsers write it


@dataclass(frozen=True)
class Running:
    """What the file about a hub says."""

    origin: str
    secret: str
    pid: int
    authority: str | None = None


def serve(
    roles: Sequence[Role],
    address: Address,
    *,
    admits: Callable[[str, tuple[str, ...]], bool] = lambda _token, _origins: False,
    home: Path | None = None,
    metrics_token: str | None = None,
    said: Callable[[str, str], None] = lambda _origin, _link: None,
    ends: threading.Event | None = None,
) -> None:
    """Serve a hub until the process is asked to end.

    Parameters
    ----------
    roles
        What it shows.
    address
        Where it listens.
    admits
        Says whether a signed token opens the hub of these origins.
    home
        Where keys are kept; None: `fl_app_home`.
    metrics_token
        A secret that opens ``/metrics`` and nothing else; None: there is none.
    said
        Called with the hub's origin and a one-time link once it listens.
    ends
        Ends it, too, once it is set.

    Raises
    ------
    UsageError
        If it would listen beyond the loopback interface without TLS, or the port is in use.
    """
    if address.certificate is None and not is_loopback(f"{address.host}:{address.port}"):
        raise UsageError(f"--host {address.host}: beyond this machine a hub needs --certificate and --key")
    with _listening(address) as listener:
        port = listener.getsockname()[1]
        origin, secret = address.origin(port), secrets.token_urlsafe(32)
        hub = Hub(roles, (origin,), secret, lambda token: admits(token, (origin,)), metrics_token)
        config = uvicorn.Config(
            hub.app,
            http=Prompt,
            ws="none",
            proxy_headers=False,  # nobody says by a header who he is
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=20,
            limit_concurrency=most_connections(),
            h11_max_incomplete_event_size=16 << 10,
            ssl_certfile=address.certificate,
            ssl_keyfile=address.key,
        )
        with _told(
            port, Running(origin, secret, os.getpid(), str(address.authority) if address.authority else None), home
        ):
            said(origin, link(origin, hub.sessions.new_code()))
            _Server(config, hub, ends or threading.Event()).run(sockets=[listener])


@contextmanager
def served(roles: Sequence[Role], address: Address) -> Iterator[tuple[str, str]]:
    """Serve a hub in a thread while the block runs; yield its origin and a one-time link, or raise as `serve` does."""
    told: queue.Queue[tuple[str, str] | BaseException] = queue.Queue()
    ends = threading.Event()

    def run() -> None:
        try:
            serve(roles, address, said=lambda origin, link: told.put((origin, link)), ends=ends)
        except BaseException as error:
            told.put(error)

    thread = threading.Thread(target=run, name="hub")
    thread.start()
    try:
        first = told.get()
        if isinstance(first, BaseException):
            raise first
        yield first
    finally:
        ends.set()
        thread.join()


class _Server(uvicorn.Server):
    """A server that lets streams go when it is asked to end, by a signal or an event."""

    def __init__(self, config: uvicorn.Config, hub: Hub, ends: threading.Event) -> None:
        super().__init__(config)
        self._hub, self._ends = hub, ends

    async def on_tick(self, counter: int) -> bool:
        return self._ends.is_set() or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.live.end()
        await super().shutdown(sockets)


def link(origin: str, code: str) -> str:
    """Return a one-time link; a browser keeps its fragment to itself."""
    return f"{origin}/login#{code}"


def open_browser(url: str, port: int, home: Path | None = None) -> bool:
    """Send the user's browser to a one-time link, and say whether there is one.

    Without a screen there is none: what Python finds then is a browser that takes the terminal for itself.
    """
    page = _directory(home) / f"{port}.html"
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        return False
    text = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={escape(url)}">'
    replace_file(page, text.encode(), mode=0o600)
    return webbrowser.open(page.as_uri())


def running(home: Path | None = None) -> list[Running]:
    """Return the hubs that this user serves, the newest last; what was left of others is removed."""
    found = []
    for path in sorted(_place(home).glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        with suppress(OSError, ValueError, TypeError):
            one = Running(**json.loads(path.read_text("utf-8")))
            if _alive(path):
                found.append(one)
            else:
                path.unlink()
                path.with_suffix(".html").unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
    return found


def new_link(origin: str, secret: str, authority: Path | None = None) -> str:
    """Ask a hub for a one-time link, with its secret or a signed token.

    Raises
    ------
    UsageError
        If it does not answer, or refuses.
    """
    request = urllib.request.Request(  # noqa: S310 - the scheme is that of a hub's origin
        f"{origin}/login/link", method="POST", data=b"", headers={"Authorization": f"Bearer {secret}"}
    )
    context = None
    if origin.startswith("https:"):
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
    elif not origin.startswith("http:"):
        raise UsageError(f"{origin}: expected https://HOST:PORT")
    # The secret goes to the hub: to no proxy between, and to no address that an answer names instead.
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context),
        _Straight(),
        *([urllib.request.ProxyHandler({})] if context is None else []),
    )
    try:
        with opener.open(request, timeout=_WAIT_SECONDS) as answer:
            return link(origin, json.load(answer)["code"])
    except urllib.error.HTTPError as error:
        raise UsageError(f"{origin}: {error.read(500).decode('utf-8', 'replace').strip()}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{origin}: no hub answers there: {getattr(error, 'reason', None) or error}") from error


class _Straight(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


@contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address.host, address.port))
            listener.listen(256)  # at once: another user could listen on a port that is bound only
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"a hub cannot listen on {address.host} port {address.port}: {why}; give another --port"
            ) from error
        yield listener


@contextmanager
def _told(port: int, one: Running, home: Path | None) -> Iterator[None]:
    path = _directory(home) / f"{port}.json"
    with ExitStack() as stack:
        for tries_left in reversed(range(20)):
            try:
                stack.enter_context(held(path.with_suffix(".lock")))
                break
            except BlockingIOError:  # for a moment `running` looks at it
                if not tries_left:
                    raise UsageError(f"another hub of yours has port {port}; give another --port") from None
                time.sleep(0.05)
        replace_file(path, json.dumps(asdict(one)).encode(), mode=0o600)
        try:
            yield
        finally:
            for suffix in (".json", ".html", ".lock"):
                path.with_suffix(suffix).unlink(missing_ok=True)


def _place(home: Path | None) -> Path:
    return (home or fl_app_home()) / "hub"


def _directory(home: Path | None) -> Path:
    directory = _place(home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UsageError(f"{directory}: expected a directory of your own that nobody else may open: chmod 700")
    return directory


def _alive(path: Path) -> bool:
    """Say whether the hub that wrote a file is served still; the number of its process may be another's by now."""
    try:
        with held(path.with_suffix(".lock")):
            return False
    except BlockingIOError:
        return True
