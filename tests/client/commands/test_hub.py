"""``fl-app pod hub`` as a process: it opens by a link, by the pod's own key, and pauses the pod by a button."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client.app.ledger import Ledger
from fl_app.errors import UsageError
from fl_app.hub.serve import new_link
from fl_app.hub.tokens import make_token
from fl_app.identity.key_file import Identity
from fl_app.identity.known_pods import keygen
from fl_app.system.home import pod_home

pytestmark = pytest.mark.processes
SCRAPER = "0123456789abcdef"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    keygen("north", home)
    Identity.create(home / "other")
    (home / "scraper").write_text(SCRAPER)
    return home


@pytest.fixture(scope="module")
def link(home: Path) -> Iterator[str]:
    """The one-time link of a pod's hub that is being served."""
    options = ["--port", "0", "--no-browser", "--json", "--metrics-token", str(home / "scraper")]
    command = [sys.executable, "-c", "from fl_app.cli import main; main()", "pod", "hub", "north", *options]
    environment = {**os.environ, "FL_APP_HOME": str(home)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["link"]
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
        process.stdout.close()
    assert code == 0
    assert list((home / "hub").iterdir()) == []


def test_the_link_opens_it_and_a_button_pauses_the_pod(home: Path, link: str) -> None:
    origin, code = link.split("/login#")
    with httpx.Client(base_url=origin, headers={"origin": origin}) as client:
        assert client.post("/login", json={"code": code}).json() == {"home": "/owner/"}
        page = client.get("/owner/").text
        token = re.search('data-form="([0-9a-f]+)"', page)
        assert token is not None
        assert client.post("/owner/pause", data={"form": token[1]}).status_code == 303
        assert "the owner paused the pod" in client.get("/owner/ledger").text
    (entry,) = Ledger(pod_home("north", home) / "ledger.db").entries()
    assert (entry.event, entry.why) == ("pause", "by the hub's button")


def test_the_pods_own_key_opens_it_and_no_other(home: Path, link: str) -> None:
    origin = link.partition("/login")[0]
    own, other = Identity.load(pod_home("north", home)), Identity.load(home / "other")
    assert new_link(origin, make_token(own, origin)).startswith(f"{origin}/login#")
    for wrong in (make_token(other, origin), make_token(own, "https://elsewhere:8050")):
        with pytest.raises(UsageError, match="does not open this hub"):
            new_link(origin, wrong)


def test_monitoring_has_a_secret_of_its_own(link: str) -> None:
    origin = link.partition("/login")[0]
    answer = httpx.get(f"{origin}/metrics", headers={"authorization": f"Bearer {SCRAPER}"})
    assert 'fl_app_pod_online{pod="north"} 0.0' in answer.text
    assert httpx.get(f"{origin}/metrics").status_code == 401
    assert httpx.get(f"{origin}/healthz").status_code == 503
