"""A pod that cannot go online says why in a line, whatever Flower says."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.app.ledger import Ledger
from client.site.serve_pod import start
from fl_app.errors import RunFailed
from fl_app.pod.definition import CSVSource, Pod
from server.superlink import certificates

pytestmark = pytest.mark.timeout(300)


@contextmanager
def answering(directory: Path) -> Iterator[tuple[str, Path]]:
    """Serve TLS with a certificate that has expired, as a SuperLink that nobody has renewed; yields address and CA."""
    authority_key, key = certificates.new_key(), certificates.new_key()
    authority = certificates.make_authority(authority_key, "shared")
    certificate = certificates.make_certificate(key.public_key(), "127.0.0.1", authority, authority_key)
    parts = {
        "ca.pem": certificates.certificate_bytes(authority),
        "cert.pem": certificates.certificate_bytes(certificate),
        "key.pem": certificates.key_bytes(key),
    }
    for name, content in parts.items():
        (directory / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with suppress(OSError), context.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", directory / "ca.pem"


def test_a_superlink_whose_certificate_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class LongAgo(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "LongAgo":  # type: ignore[override]
            return cls.fromtimestamp((datetime.now(UTC) - timedelta(days=3000)).timestamp(), UTC)

    monkeypatch.setattr(certificates, "datetime", LongAgo)
    with answering(tmp_path) as (address, authority):
        monkeypatch.undo()
        pod = Pod(name="north", datasource=CSVSource(path="t.csv"))
        expected = f"the certificate of the SuperLink at {address} has expired: its operator runs"
        with pytest.raises(RunFailed, match=expected):
            start(pod, superlink=address, root_certificates=authority, home=tmp_path / "home")
    assert Ledger(tmp_path / "home" / "pods" / "north" / "ledger.db").entries() == []
