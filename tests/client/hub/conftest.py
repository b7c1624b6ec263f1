"""A pod with a history, made by the product's own code, and its owner's hub."""

import asyncio
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.app.budget import Charge, Terms
from client.app.ledger import Ledger
from client.app.pod_table import PodTable
from client.hub.owner import owner_role
from client.site.approved_apps import Apps
from fl_app.hub.app import Hub
from fl_app.identity.known_pods import Keyring, keygen, known_pods
from fl_app.pod.pod_file import load_pod
from fl_app.privacy.cost import budget
from fl_app.secagg.ledger_protocol import Account

ORIGIN = "http://127.0.0.1:8050"
MARKUP = "<script>alert(1)</script>\u202e\x1b[2J"
SOUTH = bytes([1]) * 32
LABEL = b"L" * 32


def bundle(more: str = "", name: str = "app.py") -> bytes:
    """Return an app's bundle with one file of code."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo("pyproject.toml"), "[tool.flwr.app.config]\nrounds = 1\n")
        archive.writestr(zipfile.ZipInfo(name), f"x = 1\n{more}")
    return made.getvalue()


def step(ledger: Ledger, account: Account, kind: str, round: int, head: bytes, size: int = 1000) -> bytes:
    """Enter a step and its answer."""
    label = (kind.encode() + bytes([round])).ljust(32)
    head = ledger.enter_begin(account, kind, round, label, head)
    return ledger.enter_answer(account, kind, round, label, head, size)


@dataclass
class Home:
    """A pod's home, its ledger and its hub."""

    directory: Path
    file: Path
    ledger: Ledger
    hub: Hub

    @property
    def path(self) -> Path:
        return self.directory / "ledger.db"

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.hub.app)
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def session(self) -> dict[str, str]:
        session = self.hub.sessions.open(self.hub.sessions.new_code())
        assert session is not None
        return {"cookie": f"fl-app-hub-8050={session}", "origin": ORIGIN}

    def page(self, path: str) -> str:
        answer = self.call("GET", f"/owner{path}", headers=self.session())
        assert answer.status_code == 200, answer.text
        return answer.text

    def again(self, **more: Any) -> Hub:
        self.hub = Hub([owner_role("north", self.directory.parents[1], **more)], [ORIGIN], "the-secret")
        return self.hub


@pytest.fixture
def bare(tmp_path: Path) -> Home:
    """A pod that has a key and nothing else."""
    keygen("north", tmp_path)
    directory = tmp_path / "pods" / "north"
    hub = Hub([owner_role("north", tmp_path, buttons=True)], [ORIGIN], "the-secret")
    return Home(directory, tmp_path / "north.yaml", Ledger(directory / "ledger.db", "ab" * 32), hub)


@pytest.fixture
def home(bare: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The same pod after a few runs, with one approved pod, an approved app and a refused one."""
    monkeypatch.setattr("client.app.table_cache._SETTLED_NS", 0)  # the table was written just now
    return grown(bare, tmp_path)


def grown(bare: Home, tmp_path: Path) -> Home:
    table = tmp_path / "patients.csv"
    table.write_text("age,sex,outcome\n" + "".join(f"{20 + n % 50},{'fm'[n % 2]},{n % 3 % 2}\n" for n in range(400)))
    bare.file.write_text(
        f"name: north\ndatasource: CSVSource\ndatasource_args: {{path: {table}}}\n"
        "approved_pods: [south, east]\npolicy: {minimum_cohort: 2, epsilon: 3}\n"
    )
    (bare.directory / "flower").mkdir()
    (bare.directory / "flower/node.json").write_text(json.dumps({"file": str(bare.file)}))
    Keyring.load(known_pods(tmp_path)).add("south", SOUTH)
    apps = Apps(bare.directory)
    apps.approve(bundle())
    apps.refuse(bundle(f"y = '{MARKUP}'\n"))
    (bare.directory / "encoded").mkdir()
    PodTable.of(load_pod(bare.file)).schema("", bare.directory / "encoded")
    keys = {"north": bytes(32), "south": SOUTH}
    ledger = bare.ledger
    ledger.enter(Account("5"), "look", "query.hello", size=2000)
    account = Account("7", "7", keys)
    head = ledger.enter_session(account, b"session", b"", size=100)
    head = ledger.enter(account, "roster", "query.roster", size=300, head=head)
    head = step(ledger, account, "statistics", 1, head)
    for round in range(1, 4):
        head = step(ledger, account, "train", round, head)
    step(ledger, account, "evaluate", 4, head)
    private = Account("8", "8", keys)
    head = ledger.enter_session(private, b"session", b"", size=100)
    ledger.enter(private, "roster", "query.roster", size=300, head=head)
    charge = Charge(int(0.5 * budget(1.0, 1e-5)), "training", "rows", Terms(3.0, 1e-5))
    step(ledger.charging(charge), private, "train", 1, b"")
    ledger.enter_refusal(Account("9"), "query.hello", 0, f"no: {MARKUP}", 10)
    ledger.enter(Account(f"run {MARKUP}/../7"), "failure", "query.hello", size=1)
    return bare
