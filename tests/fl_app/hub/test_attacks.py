"""A hub that is served, and what is sent to it by somebody who should see nothing of it."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_app.errors import UsageError
from fl_app.hub import connections, guard, serve
from fl_app.hub.app import Hub
from fl_app.hub.live import MOST_STREAMS
from fl_app.hub.peers import user_of
from fl_app.hub.serve import Address, new_link, running
from fl_app.hub.tokens import admits
from tests.fl_app.hub.test_hub import ORIGIN, Things, call, hub, session_of, things  # noqa: F401

SERVED = """
import sys
from pathlib import Path
from fl_app.host.signals import until_interrupted
from fl_app.hub import connections, guard, serve
from tests.fl_app.hub.test_hub import Things
connections.HEAD_SECONDS = guard.BODY_SECONDS = 1.0
said = lambda *told: print(*told, flush=True)
with until_interrupted():
    serve.serve([Things().role()], serve.Address(port=0), home=Path(sys.argv[1]), said=said)
"""


class Served:
    """A hub in a process of its own, with short time limits."""

    def __init__(self, home: Path) -> None:
        self.home = home
        command = [sys.executable, "-c", SERVED, str(home)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.origin, self.link = self.process.stdout.readline().split()
        self.host, self.port = self.origin.removeprefix("http://"), int(self.origin.rpartition(":")[2])
        self.cookie = self.log_in(self.link.partition("#")[2])

    def log_in(self, code: str) -> str:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("POST", "/login", json.dumps({"code": code}), {"Host": self.host, "Origin": self.origin})
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.headers["set-cookie"].partition(";")[0]

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back until the hub closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def get(self, *headers: str, target: str = "/tester/", version: str = "1.1") -> int:
        lines = [f"GET {target} HTTP/{version}", "Connection: close", f"Cookie: {self.cookie}", *headers, "", ""]
        return int(self.raw("\r\n".join(lines).encode("latin-1")).split()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = Served(tmp_path_factory.mktemp("home"))
    yield one
    one.process.terminate()
    assert one.process.stdout is not None
    one.process.stdout.close()
    assert one.process.wait(20) is not None
    assert list((one.home / "hub").iterdir()) == []


def test_a_session_opens_the_hub_that_is_served(served: Served) -> None:
    assert served.get(f"Host: {served.host}") == 200


@pytest.mark.parametrize(
    ("headers", "target", "version", "status"),
    [
        (("Host: {}", "Host: evil.example"), "/tester/", "1.1", 400),
        (("Host: evil.example", "X-Forwarded-Host: {}"), "/tester/", "1.1", 421),
        (("Host: {}, evil.example",), "/tester/", "1.1", 421),
        (("Host: evil.example", " {}"), "/tester/", "1.1", 421),
        ((), "/tester/", "1.0", 421),
        ((), "/tester/", "1.1", 400),
        (("Host: {}",), "http://evil.example/tester/", "1.1", 404),
        (("Host: {}",), "/static/..%2ftester%2f", "1.1", 404),
        (("Host: {}",), "/tester/..%2f..%2fetc%2fpasswd", "1.1", 404),
        (("Host: {}",), "//evil.example/", "1.1", 404),
        (("Host: {}", "Cookie: other=1"), "/tester/", "1.1", 401),
        (("Host: {}", "Upgrade: websocket", "Connection: upgrade"), "/tester/", "1.1", 200),
        (("Host: {}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: image"), "/tester/", "1.1", 403),
        (("Host: {}", "Sec-Fetch-Site: same-site", "Sec-Fetch-Dest: iframe"), "/tester/", "1.1", 403),
        (("Host: {}", "Sec-Fetch-Site: same-site", "Sec-Fetch-Dest: empty"), "/events?page=/tester/", "1.1", 403),
        (("Host: {}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: document"), "/tester/", "1.1", 200),
    ],
)
def test_a_request_that_is_not_what_a_browser_of_the_hubs_sends(
    served: Served, headers: tuple[str, ...], target: str, version: str, status: int
) -> None:
    assert served.get(*(line.format(served.host) for line in headers), target=target, version=version) == status


def test_a_connection_that_says_nothing_is_closed(served: Served) -> None:
    assert served.raw(b"") == b""
    assert served.raw(b"GET /tester/ HTTP/1.1\r\nHost: ") == b""


def test_a_body_that_does_not_come_is_not_waited_for(served: Served) -> None:
    head = f"POST /login HTTP/1.1\r\nHost: {served.host}\r\nOrigin: {served.origin}\r\nContent-Length: 9\r\n\r\n{{"
    assert served.raw(head.encode()).startswith(b"HTTP/1.1 408 ")


def test_a_thousand_streams_leave_the_pages_to_others(served: Served) -> None:
    request = f"GET /events?page=/tester/ HTTP/1.1\r\nHost: {served.host}\r\nCookie: {served.cookie}\r\n\r\n".encode()

    async def open_all() -> tuple[list[int], int]:
        opened = []
        for _ in range(1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request)
            opened.append((reader, writer))
        said = [int((await asyncio.wait_for(reader.readline(), 60)).split()[1]) for reader, _ in opened]
        page = await asyncio.to_thread(served.get, f"Host: {served.host}")
        for _, writer in opened:
            writer.close()
        return said, page

    said, page = asyncio.run(open_all())
    assert (said.count(200), said.count(503)) == (MOST_STREAMS, 1000 - MOST_STREAMS)
    assert page == 200
    deadline = time.monotonic() + 20
    while _opens(served, request) != 200:
        assert time.monotonic() < deadline, "the places of streams that ended are not given back"
        time.sleep(0.2)


def _opens(served: Served, request: bytes) -> int:
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(request)
        return int(connection.recv(200).split()[1])


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/net/tcp").exists(), reason="needs root, to be another user")
def test_a_session_that_another_user_of_the_machine_was_sent_opens_nothing(served: Served) -> None:
    """A browser sends its cookies to any port of a host, so to what another user serves on 127.0.0.1."""
    asked = (
        "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=20);"
        "c.request('GET', '/tester/', headers={'Cookie': sys.argv[2]}); print(c.getresponse().status)"
    )
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")  # .venv may be where nobody else gets to
    if python is None:
        pytest.skip("no Python that other users may run")
    command = [python, "-I", "-S", "-c", asked, str(served.port), served.cookie]
    for user, status in ((0, "200"), (65534, "401")):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, user=user, cwd="/", check=False)
        assert done.stdout.strip() == status, done.stderr


def test_the_user_at_the_other_end_is_read_from_the_kernels_list(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        ends = client.getsockname(), listener.getsockname()
        if Path("/proc/net/tcp").exists():
            assert user_of(*ends) == str(os.geteuid())
        assert user_of(ends[0], ("127.0.0.1", 1)) == ""
        assert user_of(*ends, tables=[tmp_path / "none"]) == ""
    assert user_of(("192.0.2.1", 5), ("192.0.2.2", 6)) == ""
    assert user_of(None, None) == ""


def test_a_session_is_of_the_user_who_logged_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("fl_app.hub.app.user_of", lambda *_: "1000")
    session = session_of(hub)
    for user, status in (("1000", 200), ("1001", 401), ("", 401)):
        monkeypatch.setattr(guard, "user_of", lambda *_, user=user: user)
        assert call(hub, "GET", "/tester/", headers=session).status_code == status


def test_a_cookie_that_another_port_has_set_does_not_hide_the_hubs(hub: Hub) -> None:  # noqa: F811
    session = session_of(hub)["cookie"]
    name = session.partition("=")[0]
    for tossed in (f"{name}=other; {session}", f"{session}; {name}=other", f'a={{"b": [1]}}; {session}'):
        assert call(hub, "GET", "/tester/", headers={"cookie": tossed}).status_code == 200


@pytest.mark.parametrize(
    "page", ["//[", "http://evil.example/tester/", "/tester/../", "", "/tester/things/b", "/login"]
)
def test_a_stream_of_no_page_is_refused(hub: Hub, page: str) -> None:  # noqa: F811
    assert call(hub, "GET", "/events", params={"page": page}, headers=session_of(hub)).status_code == 404


def test_two_lengths_are_none(hub: Hub) -> None:  # noqa: F811
    headers = [("origin", ORIGIN), ("content-length", "1"), ("content-length", "999999"), ("host", "127.0.0.1:8050")]
    assert call(hub, "POST", "/login", headers=headers, content=b"1").status_code == 413


def test_a_token_that_is_deeply_nested_opens_nothing() -> None:
    import base64

    nested = base64.urlsafe_b64encode(b"[" * 2900).decode()
    assert not admits(f"{nested}.{nested[:8]}.a", (ORIGIN,), {})


def test_what_tells_of_a_hub_is_its_users_alone(served: Served) -> None:
    directory = served.home / "hub"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    arguments = Path(f"/proc/{served.process.pid}/cmdline")
    if arguments.exists():
        (one,) = running(served.home)
        assert one.secret.encode() not in arguments.read_bytes()


@pytest.mark.parametrize("made", ["link", "open", "file"])
def test_a_directory_that_others_may_open_holds_no_secret(tmp_path: Path, made: str) -> None:
    place = tmp_path / "hub"
    if made == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    elif made == "open":
        place.mkdir()
        place.chmod(0o755)
    else:
        place.write_text("")
    with pytest.raises((UsageError, FileExistsError)):
        serve.open_browser("http://127.0.0.1:8050/login#code", 8050, tmp_path)
    assert not list(tmp_path.rglob("*.html"))


def test_a_dead_hubs_file_counts_for_nothing_though_its_process_number_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir(mode=0o700)
    left = tmp_path / "hub" / "8050.json"
    left.write_text(json.dumps({"origin": "http://127.0.0.1:8050", "secret": "s", "pid": os.getpid()}))
    assert running(tmp_path) == []
    assert not left.exists()


def test_a_hubs_secret_goes_to_no_proxy(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    (one,) = running(served.home)
    assert re.fullmatch(rf"{re.escape(served.origin)}/login#[\w-]{{43}}", new_link(one.origin, one.secret))


@pytest.mark.parametrize(
    ("address", "port", "origin"),
    [
        (Address(certificate=Path("c"), name="Hub.Example"), 443, "https://hub.example"),
        (Address(host="::1"), 8050, "http://[::1]:8050"),
        (Address(), 80, "http://127.0.0.1"),
    ],
)
def test_an_origin_is_as_browsers_write_it(address: Address, port: int, origin: str) -> None:
    assert address.origin(port) == origin


def test_connections_are_bounded_below_what_the_process_may_open() -> None:
    with contextlib.suppress(ImportError):
        import resource

        most = connections.most_connections()
        assert 0 < most <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
