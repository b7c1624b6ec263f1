"""The hub's frame: the way in, the guard before every page, streams, downloads and buttons."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from fl_app.errors import UsageError
from fl_app.hub.app import Hub
from fl_app.hub.charts import Line
from fl_app.hub.command import metrics_token
from fl_app.hub.guard import MAX_BODY
from fl_app.hub.live import MOST_STREAMS
from fl_app.hub.role import Action, Content, Download, NotThere, Page, Role
from fl_app.hub.sessions import CODE_SECONDS, SESSION_SECONDS, Sessions

ORIGIN = "http://127.0.0.1:8050"
HTML = {"accept": "text/html"}


class Things:
    """What the role of these tests shows."""

    def __init__(self) -> None:
        self.thing, self.pressed = "<script>alert(1)</script>", 0

    def values(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        if parameters.get("thing", "a") != "a":
            raise NotThere("there is no such thing")
        return {"thing": self.thing, "lines": [Line("pods' rows", [(1, 0.5), (2, 0.75)])]}

    def press(self, _parameters: Mapping[str, str]) -> str:
        if self.pressed:
            raise UsageError("it is pressed already")
        self.pressed += 1
        return "pressed"

    def role(self) -> Role:
        return Role(
            "tester",
            "tester",
            Path(__file__).parent / "templates",
            pages=(
                Page("/", "Things", "things.html.j2", self.values, "Things"),
                Page("/things/{thing}", "Thing", "things.html.j2", self.values),
            ),
            downloads=(
                Download("/report", lambda _: Content(b"<script>1</script>", "text/html")),
                Download("/file", lambda _: Content(b"12", "application/octet-stream", "model.pt")),
                Download("/drawing", lambda _: Content(b"<svg/>", "image/svg+xml")),
                Download("/odd", lambda _: Content(b"12", "text/plain", 'é"\r\nset-cookie: a=b')),
            ),
            actions=(Action("/press", self.press),),
        )


@pytest.fixture
def things() -> Things:
    return Things()


@pytest.fixture
def hub(things: Things) -> Hub:
    return Hub([things.role()], [ORIGIN], "the-secret", lambda proof: proof == "signed", "the-scraper")


def call(hub: Hub, method: str, path: str, **more: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(hub.app)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            return await client.request(method, path, **more)

    return asyncio.run(send())


def session_of(hub: Hub) -> dict[str, str]:
    answer = call(hub, "POST", "/login", json={"code": hub.sessions.new_code()}, headers={"origin": ORIGIN})
    assert answer.status_code == 200, answer.text
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_a_page_shows_what_others_have_written_as_text(hub: Hub) -> None:
    answer = call(hub, "GET", "/tester/", headers=session_of(hub))
    assert answer.status_code == 200
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "alert(1)</script>" not in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/tester/", "/tester/file", "/events?page=/tester/", "/nothing"])
def test_nothing_is_shown_without_a_session(hub: Hub, path: str) -> None:
    assert call(hub, "GET", path).status_code == 401
    answer = call(hub, "GET", path, headers=HTML)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=%2F")


@pytest.mark.parametrize("cookie", ["fl-app-hub-8050=guess", "fl-app-hub-8050=", "other=1", "=;=", "a" * 5000])
def test_a_cookie_that_is_no_session_opens_nothing(hub: Hub, cookie: str) -> None:
    assert call(hub, "GET", "/tester/", headers={"cookie": cookie}).status_code == 401


def test_a_one_time_link_opens_once(hub: Hub) -> None:
    code = hub.sessions.new_code()
    answers = [call(hub, "POST", "/login", json={"code": code}, headers={"origin": ORIGIN}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 403]
    flags = answers[0].headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"code": 1}', b'{"code": null}', b'{"code": "\\ud800"}', b"{", b"[" * 9000]
)
def test_a_malformed_code_is_refused(hub: Hub, body: bytes) -> None:
    assert call(hub, "POST", "/login", content=body, headers={"origin": ORIGIN}).status_code == 403


def test_codes_and_sessions_end() -> None:
    time = 0.0
    sessions = Sessions(lambda: time)
    late, session = sessions.new_code(), sessions.open(sessions.new_code())
    assert session is not None
    time = CODE_SECONDS + 1
    assert sessions.open(late) is None
    assert sessions.holds(session)
    time = SESSION_SECONDS + 1
    assert not sessions.holds(session)


def test_of_many_codes_the_oldest_goes() -> None:
    sessions = Sessions()
    first, *_, last = [sessions.new_code() for _ in range(101)]
    assert sessions.open(first) is None
    assert sessions.open(last) is not None


def test_logging_out_ends_the_session(hub: Hub) -> None:
    session = session_of(hub)
    assert call(hub, "POST", "/logout", headers={**session, "origin": ORIGIN}).status_code == 303
    assert call(hub, "GET", "/tester/", headers=session).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:80", "127.0.0.1", "127.0.0.1:8050.evil.example", ""])
def test_another_host_is_refused(hub: Hub, host: str) -> None:
    assert call(hub, "GET", "/login", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:8050"])
def test_a_form_of_another_site_is_refused(hub: Hub, things: Things, origin: str) -> None:
    session = session_of(hub)
    form = {"form": hub.sessions.form_token(session["cookie"].partition("=")[2])}
    answer = call(hub, "POST", "/tester/press", data=form, headers={**session, "origin": origin})
    assert (answer.status_code, things.pressed) == (403, 0)


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_without_this_sessions_token_is_refused(hub: Hub, things: Things, token: str) -> None:
    answer = call(hub, "POST", "/tester/press", data={"form": token}, headers={**session_of(hub), "origin": ORIGIN})
    assert (answer.status_code, things.pressed) == (403, 0)


def test_a_button_does_what_it_says_and_goes_back(hub: Hub, things: Things) -> None:
    session = session_of(hub)
    form = {"form": hub.sessions.form_token(session["cookie"].partition("=")[2])}
    answers = [call(hub, "POST", "/tester/press", data=form, headers={**session, "origin": ORIGIN}) for _ in range(2)]
    assert (answers[0].status_code, answers[0].headers["location"], things.pressed) == (303, "/tester/", 1)
    assert (answers[1].status_code, answers[1].text) == (409, "it is pressed already\n")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(hub: Hub, method: str) -> None:
    assert call(hub, method, "/tester/", headers=session_of(hub)).status_code == 405


def test_a_large_body_is_refused_unread(hub: Hub) -> None:
    headers = {"origin": ORIGIN}
    assert call(hub, "POST", "/login", content=b"a" * (MAX_BODY + 1), headers=headers).status_code == 413
    chunked = {**headers, "transfer-encoding": "chunked"}
    assert call(hub, "POST", "/login", content=b"{}", headers=chunked).status_code == 413


@pytest.mark.parametrize("secret", ["", "other", "the-secret2", "the-secre"])
def test_a_link_needs_the_secret_or_a_key(hub: Hub, secret: str) -> None:
    assert call(hub, "POST", "/login/link", headers={"authorization": f"Bearer {secret}"}).status_code == 403
    for right in ("the-secret", "signed"):
        answer = call(hub, "POST", "/login/link", headers={"authorization": f"Bearer {right}"})
        assert hub.sessions.open(answer.json()["code"]) is not None


def test_a_page_of_another_site_cannot_ask_for_a_link(hub: Hub) -> None:
    headers = {"authorization": "Bearer the-secret", "origin": "http://evil.example"}
    assert call(hub, "POST", "/login/link", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "path", ["/tester/things/b", "/tester/nothing", "/static/../app.py", "/static/hub.css", "/tester/%2e%2e/report"]
)
def test_what_is_not_there_is_not_found(hub: Hub, path: str) -> None:
    assert call(hub, "GET", path, headers=session_of(hub)).status_code == 404
    assert (
        "Go to the first page" in call(hub, "GET", path, headers={**session_of(hub), **HTML}).text or "static" in path
    )


@pytest.mark.parametrize("path", ["/tester/report", "/tester/drawing"])
def test_a_page_that_a_run_has_written_runs_nothing(hub: Hub, path: str) -> None:
    answer = call(hub, "GET", path, headers=session_of(hub))
    policy = answer.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert "sandbox" in policy[0]
    assert "script-src" not in policy[0]


def test_a_download_has_its_name(hub: Hub) -> None:
    answer = call(hub, "GET", "/tester/file", headers=session_of(hub))
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''model.pt"
    assert answer.content == b"12"


def test_a_downloads_name_adds_no_header(hub: Hub) -> None:
    answer = call(hub, "GET", "/tester/odd", headers=session_of(hub))
    assert answer.headers["content-disposition"].endswith("%22%0D%0Aset-cookie%3A%20a%3Db")
    assert "set-cookie" not in answer.headers


def test_static_files_are_found_by_what_pages_say(hub: Hub) -> None:
    page = call(hub, "GET", "/login").text
    names = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(names) == 3
    for name in names:
        assert call(hub, "GET", name).status_code == 200


def test_metrics_are_for_whoever_has_the_secret(hub: Hub) -> None:
    assert call(hub, "GET", "/metrics").status_code == 401
    assert call(hub, "GET", "/metrics", headers={"authorization": "Bearer the-secret"}).status_code == 200
    assert call(hub, "GET", "/healthz").text == "ok\n"


def test_the_scrapers_secret_opens_metrics_and_nothing_else(hub: Hub, things: Things) -> None:
    headers = {"authorization": "Bearer the-scraper"}
    assert call(hub, "GET", "/metrics", headers=headers).status_code == 200
    assert call(hub, "POST", "/login/link", headers=headers).status_code == 403
    assert call(hub, "GET", "/tester/", headers=headers).status_code == 401
    without = Hub([things.role()], [ORIGIN], "the-secret")
    for token in ("", "None", "the-scraper"):
        answer = call(without, "GET", "/metrics", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 401


@pytest.mark.parametrize("content", [b"", b"short", b"two words of a secret here", "ä".encode() * 20])
def test_a_scrapers_secret_that_can_be_guessed_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="--metrics-token"):
        metrics_token(path)
    path.write_text("0123456789abcdef\n")
    assert metrics_token(path) == "0123456789abcdef"
    assert metrics_token(None) is None


def test_a_stream_tells_what_has_changed_and_ends_with_the_session(hub: Hub, things: Things) -> None:
    async def follow() -> list[str]:
        code = hub.sessions.new_code()
        session = hub.sessions.open(code)
        assert session is not None
        told: list[str] = []
        async for event in hub.live.stream("/tester/", "", lambda: hub.sessions.holds(session)):
            if event.startswith("id:"):
                told.append(json.loads(event.partition("data: ")[2]))
                things.thing = f"version {len(told)}"
                if len(told) == 3:
                    hub.sessions.close(session)
                    hub.live.end()
        return told

    told = asyncio.run(asyncio.wait_for(follow(), 30))
    assert [f"version {number}" in content for number, content in enumerate(told)] == [False, True, True]
    assert "<html" not in told[0]


def test_no_page_is_rendered_while_nobody_looks(hub: Hub) -> None:
    async def look() -> int:
        stream = hub.live.stream("/tester/", "", lambda: True)
        async for event in stream:
            if event.startswith("id:"):
                break
        await stream.aclose()
        await asyncio.sleep(0)
        return len(hub.live._watched)

    assert asyncio.run(look()) == 0


def test_of_many_streams_no_more_than_the_bound_are_open(hub: Hub) -> None:
    assert [hub.live.take() for _ in range(MOST_STREAMS + 1)] == [True] * MOST_STREAMS + [False]
    hub.live.give()
    assert hub.live.take()
    refused = call(hub, "GET", "/events?page=/tester/", headers=session_of(hub))
    assert (refused.status_code, refused.headers["connection"]) == (503, "close")


def test_a_stream_whose_page_fails_ends(hub: Hub, things: Things, caplog: pytest.LogCaptureFixture) -> None:
    async def follow() -> None:
        async for event in hub.live.stream("/tester/", "", lambda: True):
            if event.startswith("id:"):
                things.values = None  # type: ignore[assignment, method-assign]
                things.thing = _Raises()  # type: ignore[assignment]

    asyncio.run(asyncio.wait_for(follow(), 10))
    assert "/tester/ failed" in caplog.text


class _Raises:
    def __str__(self) -> str:
        raise RuntimeError("red \x1b[31m")


def test_a_page_that_fails_says_so_without_why(hub: Hub, things: Things, caplog: pytest.LogCaptureFixture) -> None:
    things.thing = _Raises()  # type: ignore[assignment]
    answer = call(hub, "GET", "/tester/", headers=session_of(hub))
    assert answer.status_code == 500
    assert answer.text == "this page failed: the hub's own log says why\n"
    assert "content-security-policy" in answer.headers
    assert "RuntimeError" in caplog.text
    assert "\x1b" not in caplog.text
