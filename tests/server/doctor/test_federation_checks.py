"""What doctor says of a SuperLink: of one that answers, is away, has an old certificate or another clock."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fl_app.errors import RunFailed
from fl_app.federation.kinds import DeployedFederation
from fl_app.host.findings import Finding
from server.deployed import superlink_monitor
from server.doctor.federation_checks import examine_federation
from tests.support.ports import free_port
from tests.support.small_federation import small_federation


@contextmanager
def answering(ahead: float = 0.0, *, tls: Path | None = None) -> Iterator[str]:
    """Serve HTTP with a clock that is ``ahead`` by some seconds; yields host:port."""

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "chain.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate(directory: Path, days: float) -> Path:
    """Write a key and a certificate of its own for 127.0.0.1 that is good for so many days; return the directory."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "ca.pem").write_bytes(public)
    (directory / "chain.pem").write_bytes(private + public)
    return directory


def examined(
    address: str, monkeypatch: pytest.MonkeyPatch, tls: Path | None = None, refused: str = ""
) -> dict[str, Finding]:
    def check_admission(federation: DeployedFederation) -> None:
        if refused:
            raise RunFailed(refused)

    monkeypatch.setattr("server.deployed.deployed_run.check_admission", check_admission)
    given = {"root_certificates": tls / "ca.pem"} if tls else {"insecure": True}
    federation = DeployedFederation(name="test", source="test", kind="deployment", superlink=address, **given)
    return {finding.about: finding for finding in examine_federation(federation)}


def test_a_superlink_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as address:
        found = examined(address, monkeypatch)
    assert list(found) == ["SuperLink", "clock", "Flower there", "modeller"]
    assert all(finding.ok for finding in found.values())


def test_a_superlink_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = examined(f"127.0.0.1:{free_port()}", monkeypatch).values()
    assert not finding.ok
    assert "no SuperLink answers at" in finding.text


@pytest.mark.parametrize(("ahead", "said"), [(3600.0, "behind"), (-3600.0, "ahead of")])
def test_clocks_that_disagree(ahead: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(ahead) as address:
        clock = examined(address, monkeypatch)["clock"]
    assert not clock.ok
    assert said in clock.text


@pytest.mark.parametrize(("days", "ok"), [(100, True), (3, False)])
def test_a_certificate_that_expires_soon(
    days: float, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = certificate(tmp_path, days)
    with answering(tls=directory) as address:
        found = examined(address, monkeypatch, directory)["certificate"]
    assert found.ok == ok
    assert ("superlink renew" in found.text) != ok
    assert f"valid for {days - 1:.0f} days" in found.text


def test_a_certificate_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = certificate(tmp_path, -1)
    with answering(tls=directory) as address:
        (found,) = examined(address, monkeypatch, directory).values()
    assert not found.ok
    assert "has expired" in found.text


def test_a_modeller_who_is_not_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as address:
        found = examined(address, monkeypatch, refused="this modeller is not registered")["modeller"]
    assert (found.ok, found.text) == (False, "this modeller is not registered")


def test_the_pods_of_a_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = small_federation(tmp_path)
    (tmp_path / "south.yaml").write_text("name: 7\n")
    assert [finding.ok for finding in examine_federation(federation)] == [True, False]


def test_a_superlink_that_stays_away_is_noticed_and_a_restart_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, away = [0.0], [True]
    monkeypatch.setattr(superlink_monitor.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(superlink_monitor, "why_unreachable", lambda *_, **__: "refused" if away[0] else None)
    monitor = superlink_monitor.SuperLinkMonitor("127.0.0.1:9", patience=60, interval=5)

    def after(seconds: float) -> None:
        for _ in range(int(seconds)):
            clock[0] += 1
            monitor.check()

    after(50)
    away[0] = False
    after(10)
    away[0] = True
    after(50)
    with pytest.raises(RunFailed, match="has been unreachable for 60 seconds"):
        after(20)
