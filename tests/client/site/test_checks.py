"""`fl-app pod check`: each thing that can be wrong is found, named, and ends in exit code 1."""

import datetime
import ipaddress
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from flwr.common.constant import SYSTEM_TIME_TOLERANCE

from client.commands.group import pod
from client.site.approved_apps import Apps
from fl_app.host.probe import CLOCK_SECONDS
from fl_app.identity.known_pods import Keyring, known_pods
from tests.support.small_federation import table

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out a pod with which nothing is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    table(1500, 3).to_csv("a.csv", index=False)
    assert CliRunner().invoke(pod, ["init", "a.csv", "--name", "a", "--minimum-cohort", "2"]).exit_code == 0
    change("approved_pods: []", "approved_pods: [b]")
    Keyring.load(known_pods()).add("b", bytes(32))
    return tmp_path


def change(old: str, new: str) -> None:
    file = Path("a.yaml")
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def check(*arguments: str) -> Result:
    return CliRunner().invoke(pod, ["check", "a.yaml", *arguments])


def findings(*arguments: str) -> dict[str, tuple[bool, str]]:
    done = check("--json", *arguments)
    found = json.loads(done.stdout)["findings"]
    assert done.exit_code == (0 if all(one["ok"] for one in found) else 1)
    return {one["about"]: (one["ok"], one["text"]) for one in found}


def test_nothing_is_wrong_with_a_sound_pod() -> None:
    done = check()
    assert done.exit_code == 0, done.output
    assert "WRONG" not in done.output
    document = json.loads(check("--json").stdout)
    assert document["name"] == "a"
    assert document["fingerprint"].startswith("SHA256:")
    assert document["columns"] == {"age": "continuous", "colour": "categorical", "outcome": "categorical"}
    assert document["approved"] == ["b"]
    assert document["approved_without_key"] == []
    assert document["policy"]["minimum_cohort"] == 2
    found = findings()
    assert "outcome" in found["rows per class"][1]
    assert "cannot be seen from here" in found["approved by others"][1]


def home() -> Path:
    return Path("home/pods/a")


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "pod file": (lambda: change("name: a", "nome: a"), "nome"),
    "data": (lambda: Path("a.csv").unlink(), "no such file"),
    "identity key": (lambda: (home() / "identity.key").chmod(0o644), "chmod 600"),
    "node key": (lambda: (home() / "node.key").write_text("x"), "not a node key"),
    "home": (lambda: home().chmod(0o755), "chmod go="),
    "paused": (lambda: (home() / "paused").touch(), "pod resume a"),
    "approves": (lambda: change("approved_pods: [b]", "approved_pods: [c]"), "pod approve c CARD"),
    "approvals": (lambda: Path("home/known_pods").write_text("nonsense"), "line 1"),
    "cohort": (lambda: change("minimum_cohort: 2", "minimum_cohort: 3"), "asks for 3 pods"),
    "app": (lambda: Apps(home()).revoke(Apps(home()).names()[0]), "pod approve-app a"),
    "schema": (lambda: change("force_stypes: {}", "force_stypes: {continuous: [nowhere]}"), "nowhere"),
}


@pytest.mark.parametrize("about", FAULTS)
def test_each_fault_is_found(about: str) -> None:
    spoil, text = FAULTS[about]
    spoil()
    ok, said = findings()[about]
    assert not ok
    assert text in said
    assert f"WRONG  {about}" in check().output
    assert "Traceback" not in check().output


def test_a_spoiled_bundle_and_a_version_that_is_not_installed_are_told() -> None:
    apps = Apps(home())
    (name,) = apps.names()
    apps.approve(b"another")
    apps.revoke(name)
    ok, said = findings()["app"]
    assert ok
    assert "not among them" in said
    apps.refuse(b"third")
    assert findings()["refused"][0]


def test_too_few_rows_for_evaluation_are_told_and_are_no_fault() -> None:
    change("minimum_rows_per_class: 0", "minimum_rows_per_class: 5000")
    ok, said = findings()["rows per class"]
    assert ok
    assert "5000" in said


class Handler(BaseHTTPRequestHandler):
    ahead = 0.0
    described = True
    flower = version("flwr")

    def do_GET(self) -> None:
        body = json.dumps({"info": {"version": self.flower}}).encode() if self.path == "/openapi.json" else b"{}"
        self.send_response(200 if self.described or self.path == "/health" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(time.time() + self.ahead)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def superlink(days: int | None = None, **settings: Any) -> Iterator[str]:
    """Serve what is asked of a SuperLink, and yield the option that names it; with TLS for ``days`` days."""
    server = HTTPServer(("127.0.0.1", 0), type("Told", (Handler,), settings))
    address, security = f"127.0.0.1:{server.server_port}", "insecure = true"
    if days is not None:
        certificate(days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("cert.pem", "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        security = 'root_certificates = "cert.pem"'
    Path("join.toml").write_text(
        f'[federation.x]\nkind = "deployment"\nsuperlink = "{address}"\n{security}\npods = []\n'
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield "join.toml"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(days: int) -> None:
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=2))
        .not_valid_after(NOW + datetime.timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    Path("cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    Path("key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


@pytest.mark.parametrize(("ahead", "ok"), [(0, True), (60, False), (-60, False)])
def test_the_clock_is_compared_with_the_superlinks(ahead: float, ok: bool) -> None:
    with superlink(ahead=ahead) as file:
        found = findings("--federation", file)
    assert found["clock"][0] == ok
    assert ("behind" if ahead > 0 else "ahead of") in found["clock"][1] or ok
    assert found["SuperLink"][0]
    assert found["Flower there"] == (True, version("flwr"))


def test_another_flower_there_is_a_fault() -> None:
    with superlink(flower="1.20.0") as file:
        assert not findings("--federation", file)["Flower there"][0]


def test_a_superlink_that_tells_nothing_is_no_fault() -> None:
    with superlink(described=False) as file:
        found = findings("--federation", file)
    assert found["Flower there"] == (True, "the SuperLink does not tell which")


@pytest.mark.parametrize(("days", "ok"), [(300, True), (5, False)])
def test_certificates_that_end_soon_are_told(days: int, ok: bool) -> None:
    with superlink(days) as file:
        found = findings("--federation", file)
    assert found["SuperLink"][0], found
    assert found["certificate"] == (ok, found["certificate"][1])
    assert found["CA certificate"][0] == ok
    assert f"valid for {days} days" in found["certificate"][1]


def test_a_superlink_that_does_not_answer_is_a_fault() -> None:
    with superlink() as file:
        pass
    ok, said = findings("--federation", file)["SuperLink"]
    assert not ok
    assert "Check the address" in said


def test_the_clock_may_be_off_by_what_flower_allows() -> None:
    assert CLOCK_SECONDS == SYSTEM_TIME_TOLERANCE


def test_bounds_that_cut_values_off_are_told_with_their_rows() -> None:
    change("    age: [0, 128]", "    age: [0, 30]")
    text = findings()["bounds"][1]
    assert re.search(r"age: 0 to 30 cut off the values of [0-9,]+ of [0-9,]+ rows", text)
    change("    age: [0, 30]", "    age: [500, 600]")
    assert findings()["bounds"] == (
        False,
        "age: 500 to 600 cut off the values of 1,470 of 1,470 rows; `fl-app pod column` changes them",
    )


def test_what_is_left_out_is_told() -> None:
    frame = pd.read_csv("a.csv")
    frame["colour"] = ["rare"] * 4 + ["N/A"] * 12 + list(frame["colour"][16:])
    frame["id"] = range(len(frame))
    frame.to_csv("a.csv", index=False)
    change("ignore_cols: []", "ignore_cols: [id]")
    told = [line for line in check().output.splitlines() if "left out" in line or "column" in line]
    assert any("nothing leaves the pod: id" in line for line in told)
    assert any("'N/A' (12 rows) counts as missing" in line and "'rare' (4 rows)" in line for line in told)


def test_text_among_numbers_is_quoted_with_its_rows() -> None:
    frame = pd.read_csv("a.csv", dtype=str)
    frame.loc[3:8, "age"] = "<0.1"
    frame.to_csv("a.csv", index=False)
    change("force_stypes: {}", "force_stypes: {continuous: [age]}")
    ok, text = findings()["schema"]
    assert not ok
    assert "'<0.1' (6 times, first in data row 4)" in text
