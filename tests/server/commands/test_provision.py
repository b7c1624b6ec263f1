"""What an operator makes, and whom he registers; certificates that real TLS takes and refuses."""

import json
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fl_app.cli import main
from fl_app.errors import UsageError
from fl_app.federation.kinds import DeployedFederation, read_federation
from fl_app.host.card import Card
from fl_app.host.party_keys import modeller_card, modeller_home, pod_card
from fl_app.host.probe import why_unreachable
from fl_app.host.rotation import rotate_pod
from server.superlink import certificates
from server.superlink.directory import SuperLinkDirectory

ADDRESS = "127.0.0.1:8123"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run a command as an operator in a directory and a home of his own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def card_of(directory: Path, name: str, home: str | None = None) -> Path:
    path = directory / f"{name}.card"
    path.write_text(pod_card(name, directory / (home or f"{name}'s home")).to_text())
    return path


def test_a_first_provision(call: Call, tmp_path: Path) -> None:
    code, out, _ = call("provision", ADDRESS, str(card_of(tmp_path, "north")), "--json")
    assert code == 0
    said = json.loads(out)
    assert sorted((party["role"], party["changed"]) for party in said["registered"]) == [
        ("modeller", True),
        ("pod", True),
    ]
    directory = tmp_path / "superlink"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for key in directory.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert modeller_home().is_dir()
    joined = read_federation(directory / "federation.toml")
    assert isinstance(joined, DeployedFederation)
    assert joined.superlink == ADDRESS
    assert joined.pods == ("north",)
    assert not joined.insecure
    assert joined.root_certificates is not None
    assert joined.root_certificates.read_bytes() == (directory / "ca.crt").read_bytes()
    assert "PRIVATE" not in (directory / "federation.toml").read_text()


def test_later_provisions_add_and_change_nothing_else(call: Call, tmp_path: Path) -> None:
    call("provision", ADDRESS, str(card_of(tmp_path, "north")), "--no-modeller")
    authority = (tmp_path / "superlink" / "ca.crt").read_bytes()
    code, out, _ = call("provision", ADDRESS, str(card_of(tmp_path, "south")), "--no-modeller", "--json")
    assert code == 0
    assert {p["name"]: p["changed"] for p in json.loads(out)["registered"]} == {"north": False, "south": True}
    assert (tmp_path / "superlink" / "ca.crt").read_bytes() == authority
    assert not modeller_home().exists()
    for wrong in ((ADDRESS[:-1] + "4",), (ADDRESS, "--name", "other")):
        code, _, err = call("provision", *wrong)
        assert code == 2
        assert "--directory" in err


@pytest.mark.parametrize("address", ["nowhere", "host:", "host:x", "ho st:1", "a/b:1", "[::1:8", "host:99999"])
def test_a_wrong_address_leaves_nothing(call: Call, tmp_path: Path, address: str) -> None:
    code, _, err = call("provision", address, "--no-modeller")
    assert code == 2
    assert "host:port" in err
    assert not (tmp_path / "superlink").exists()


def test_another_directory_is_left_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "superlink").mkdir()
    (tmp_path / "superlink" / "thesis.txt").write_text("mine")
    assert call("provision", ADDRESS)[0] == 2
    assert [path.name for path in (tmp_path / "superlink").iterdir()] == ["thesis.txt"]
    code, _, err = call("superlink", "show", "superlink")
    assert code == 2
    assert "fl-app provision" in err


def test_a_name_is_one_keys(call: Call, tmp_path: Path) -> None:
    call("provision", ADDRESS, str(card_of(tmp_path, "north")), "--no-modeller")
    other = str(card_of(tmp_path, "north", "another home"))
    code, _, err = call("provision", ADDRESS, other, "--no-modeller")
    assert code == 2
    assert "superlink revoke" in err
    assert call("superlink", "revoke", "superlink", "north")[0] == 0
    assert read_federation(tmp_path / "superlink" / "federation.toml").pods == ()
    assert call("provision", ADDRESS, other, "--no-modeller")[0] == 0
    code, _, err = call("provision", ADDRESS, str(card_of(tmp_path, "north")), "--no-modeller")
    assert code == 2
    code, _, err = call("superlink", "revoke", "superlink", "nobody")
    assert code == 2
    assert "north" in err


def test_a_superlink_that_serves_is_told_of_a_revocation(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def answers(operated: SuperLinkDirectory) -> bool:
        asked.append(list(SuperLinkDirectory(operated.path).registry.cards))
        return True

    call("provision", ADDRESS, str(card_of(tmp_path, "north")), str(card_of(tmp_path, "south")), "--no-modeller")
    monkeypatch.setattr("server.superlink.serve.answers", answers)
    assert call("superlink", "revoke", "superlink", "north")[0] == 0
    assert asked == [["south"]]


def test_a_revoked_key_stays_out_under_any_name(tmp_path: Path) -> None:
    made = SuperLinkDirectory.provision(tmp_path / "s", ADDRESS).registry
    card = pod_card("north", tmp_path)
    made.add([card])
    made.revoke("north")
    with pytest.raises(UsageError, match="revoked"):
        made.add([card])
    fresh = rotate_pod("north", tmp_path)
    made.add([fresh])
    assert made.cards["north"].key == fresh.key


def test_a_rotation_is_taken_and_the_way_back_is_not(tmp_path: Path) -> None:
    made = SuperLinkDirectory.provision(tmp_path / "s", ADDRESS).registry
    old = pod_card("north", tmp_path)
    made.add([old])
    made.add([rotate_pod("north", tmp_path)])
    with pytest.raises(UsageError, match="not signed by the old key"):
        made.add([old])


def test_cards_are_registered_all_or_none(tmp_path: Path) -> None:
    made = SuperLinkDirectory.provision(tmp_path / "s", ADDRESS).registry
    made.add([pod_card("north", tmp_path / "1")])
    with pytest.raises(UsageError):
        made.add([pod_card("south", tmp_path / "2"), pod_card("north", tmp_path / "3")])
    assert list(made.cards) == ["north"]


def test_one_key_has_one_name_and_one_part(tmp_path: Path) -> None:
    made = SuperLinkDirectory.provision(tmp_path / "s", ADDRESS).registry
    north = pod_card("north", tmp_path)
    made.add([north])
    with pytest.raises(UsageError, match="as a pod"):
        made.add([modeller_card("north", tmp_path / "other")])
    from fl_app.identity.key_file import Identity
    from fl_app.system.home import pod_home

    with pytest.raises(UsageError, match="already"):
        made.add([Card.issue("pod", "south", Identity.load(pod_home("north", tmp_path)), north.node_key)])
    with pytest.raises(UsageError, match="no node key"):
        made.add([Card.issue("pod", "east", Identity.create(tmp_path / "east"))])


def test_a_modellers_name_gives_way_to_a_pods(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "North")
    call("provision", ADDRESS, str(card_of(tmp_path, "north")), "--no-modeller")
    assert call("provision", ADDRESS)[0] == 0
    assert SuperLinkDirectory(tmp_path / "superlink").registry.cards.keys() == {"north", "north-modeller"}


@contextmanager
def tls_server(directory: SuperLinkDirectory) -> Iterator[str]:
    """Answer handshakes with the certificate of ``directory``; yields the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory.certificate, directory.key)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def test_its_certificate_is_taken_by_its_authority_alone(tmp_path: Path) -> None:
    made = SuperLinkDirectory.provision(tmp_path / "s", "fl.example.org:8123")
    other = SuperLinkDirectory.provision(tmp_path / "o", "fl.example.org:8123")
    strict = ssl.create_default_context(cafile=str(made.authority))
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    with tls_server(made) as address:
        assert why_unreachable(address, insecure=False, root_certificates=made.authority) is None
        said = why_unreachable(address, insecure=False, root_certificates=other.authority)
        assert said is not None
        assert "authority in the join file" in said
        with (
            socket.create_connection(("127.0.0.1", int(address.split(":")[1]))) as plain,
            strict.wrap_socket(plain, server_hostname="fl.example.org"),
        ):
            pass
        elsewhere = f"127.0.0.2:{address.split(':')[1]}"
        assert why_unreachable(elsewhere, insecure=False, root_certificates=made.authority, seconds=2) is not None


def test_a_renewed_certificate_is_taken_by_what_the_parties_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "CERTIFICATE_DAYS", -1)
    monkeypatch.setattr(certificates, "_BEFORE", timedelta(days=3))
    made = SuperLinkDirectory.provision(tmp_path / "s", ADDRESS)
    assert made.days_left() < 0
    authority = made.authority.read_bytes()
    with tls_server(made) as address:
        said = why_unreachable(address, insecure=False, root_certificates=made.authority)
    assert said is not None
    assert "superlink renew" in said
    monkeypatch.setattr(certificates, "CERTIFICATE_DAYS", 397)
    assert made.renew() == 396
    assert made.authority.read_bytes() == authority
    with tls_server(made) as address:
        assert why_unreachable(address, insecure=False, root_certificates=made.authority) is None


def test_the_certificates_say_what_they_are_for(tmp_path: Path) -> None:
    made = SuperLinkDirectory.provision(tmp_path / "s", "192.0.2.7:8123")
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    mine = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    mine.verify_directly_issued_by(authority)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert not mine.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = mine.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "127.0.0.1"]
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_what_does_not_answer_is_said_in_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    said = why_unreachable(address, insecure=False, root_certificates=None)
    assert said is not None
    assert "no SuperLink answers" in said


def test_certificates_as_text_must_be_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FL_APP_HOME", str(tmp_path / "home"))
    path = tmp_path / "f.toml"
    path.write_text(
        '[federation.a]\nkind = "deployment"\nsuperlink = "h:1"\n'
        'root_certificates = """\n-----BEGIN CERTIFICATE-----\n"""'
    )
    with pytest.raises(UsageError, match="neither the path of a file nor the text"):
        read_federation(path)
    assert not (tmp_path / "home" / "certificates").exists()
