"""An operator's hub beyond the loopback interface: over TLS with the SuperLink's certificate, opened by a key."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from fl_app.cli import group, main
from fl_app.hub.keys import KEY_FILE, load_or_create_key
from server.superlink.directory import SuperLinkDirectory
from tests.processes.parties import wait_for
from tests.server.hub.operated import provisioned

pytestmark = pytest.mark.timeout(120)
SCRAPER = "a" * 40


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SuperLinkDirectory, str]]:
    """An operator's directory, and the origin of the hub that is served for it on all interfaces."""
    home = tmp_path_factory.mktemp("remote")
    directory = provisioned(home)
    command = [str(Path(sys.executable).parent / "fl-app")]
    (home / "hub.metrics").write_text(SCRAPER)
    monitored = ["--metrics-token", str(home / "hub.metrics")]
    options = ["hub", "--superlink", str(directory.path), "--host", "0.0.0.0", "--port", "0", "--no-browser", "--json"]  # noqa: S104
    process = subprocess.Popen(
        [*command, *options, *monitored],
        stdout=subprocess.PIPE,
        text=True,
        env={"FL_APP_HOME": str(home / "o"), "PATH": ""},
    )
    try:
        assert process.stdout is not None
        origin = json.loads(process.stdout.readline())["hub"]
        wait_for("the hub", 30, lambda: _answers(origin, directory.authority))
        yield directory, origin
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _answers(origin: str, authority: Path) -> bool:
    try:
        return httpx.get(f"{origin}/healthz", verify=ssl.create_default_context(cafile=str(authority))).status_code > 0
    except httpx.TransportError:
        return False


def opened(*arguments: str) -> str:
    done = CliRunner().invoke(group, ["hub", "open", *arguments, "--no-browser", "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(json.loads(done.output)["link"])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        main(["hub", "open", *arguments, "--no-browser"])
    return capsys.readouterr().err


@pytest.mark.parametrize("authority", ["ca.crt", "federation.toml"])
def test_the_operators_key_opens_the_hub_over_tls(served: tuple[SuperLinkDirectory, str], authority: str) -> None:
    directory, origin = served
    key = directory.path / KEY_FILE
    assert key.stat().st_mode & 0o777 == 0o600
    given = str(directory.path / authority)
    link = opened(origin.replace("https://", "HTTPS://") + "/", "--key", str(key), "--authority", given)
    context = ssl.create_default_context(cafile=str(directory.authority))
    with httpx.Client(base_url=origin, verify=context) as browser:
        assert browser.get("/operator/").status_code == 401
        code = link.partition("#")[2]
        answer = browser.post("/login", json={"code": code}, headers={"origin": origin})
        assert answer.status_code == 200
        assert "secure" in answer.headers["set-cookie"].lower()
        page = browser.get("/operator/")
        assert page.status_code == 200
        assert "north" in page.text
        assert "strict-transport-security" in page.headers


def test_another_key_and_a_hub_of_another_authority_are_refused(
    served: tuple[SuperLinkDirectory, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, origin = served
    load_or_create_key(tmp_path / "other.key")
    authority = str(directory.authority)
    said = refused(capsys, origin, "--key", str(tmp_path / "other.key"), "--authority", authority)
    assert "this key does not open this hub" in said
    key = str(directory.path / KEY_FILE)
    assert "CERTIFICATE_VERIFY_FAILED" in refused(capsys, origin, "--key", key)


def test_a_party_that_is_registered_is_no_operator(
    served: tuple[SuperLinkDirectory, str], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, origin = served
    homes = directory.path.parent
    for options in (["--as-pod", "north"], ["--as-modeller"]):
        home = homes / ("north" if "--as-pod" in options else "ada")
        said = refused(capsys, origin, *options, "--home", str(home), "--authority", str(directory.authority))
        assert "this key does not open this hub" in said


def test_a_key_that_is_taken_away_opens_nothing_more(
    served: tuple[SuperLinkDirectory, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, origin = served
    key = directory.path / KEY_FILE
    kept = tmp_path / "kept.key"
    kept.write_bytes(key.read_bytes())
    kept.chmod(0o600)
    key.rename(tmp_path / "away")
    try:
        said = refused(capsys, origin, "--key", str(kept), "--authority", str(directory.authority))
        assert "this key does not open this hub" in said
    finally:
        (tmp_path / "away").rename(key)


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:1", "https://", "https://a:b@h:1", "https://h:99999999", "https://h/x", "h:1", "//h"]
)
def test_an_address_that_is_no_hubs_is_refused(
    served: tuple[SuperLinkDirectory, str], origin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = str(served[0].path / KEY_FILE)
    assert "expected https://HOST:PORT" in refused(capsys, origin, "--key", key)


def test_a_key_file_that_others_may_read_or_is_none_is_refused(
    served: tuple[SuperLinkDirectory, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loose = tmp_path / "loose.key"
    loose.write_bytes((served[0].path / KEY_FILE).read_bytes())
    loose.chmod(0o644)
    assert "others than its owner may read" in refused(capsys, served[1], "--key", str(loose))
    torn = tmp_path / "torn.key"
    torn.write_text("-----BEGIN PRIVATE KEY-----")
    torn.chmod(0o600)
    assert "not a hub key" in refused(capsys, served[1], "--key", str(torn))


def test_a_scrapers_secret_opens_the_metrics_and_nothing_else(served: tuple[SuperLinkDirectory, str]) -> None:
    directory, origin = served
    context = ssl.create_default_context(cafile=str(directory.authority))
    with httpx.Client(base_url=origin, verify=context, headers={"authorization": f"Bearer {SCRAPER}"}) as scraper:
        assert "fl_app_superlink_up 0.0" in scraper.get("/metrics").text
        assert scraper.get("/operator/").status_code == 401
        assert scraper.post("/login/link").status_code == 403
        assert scraper.get("/metrics", headers={"authorization": f"Bearer {SCRAPER[1:]}"}).status_code == 401
        assert scraper.get("/healthz").status_code == 503
