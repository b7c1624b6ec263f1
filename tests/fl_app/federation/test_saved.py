"""What a federation leaves in the home: written by an explicit step, never by validation."""

from pathlib import Path

import pytest

from fl_app.errors import UsageError
from fl_app.federation.kinds import ANY_KIND, DeployedFederation, Federation, read_federation
from fl_app.federation.saved import save_federation
from server.superlink.certificates import certificate_bytes, make_authority, new_key
from tests.support.small_federation import isolate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    home = tmp_path / "a home of its own"
    monkeypatch.setenv("FL_APP_HOME", str(home))
    return home


@pytest.fixture(scope="module")
def pem() -> str:
    return certificate_bytes(make_authority(new_key(), "test")).decode()


def test_validation_writes_nothing(home: Path, pem: str) -> None:
    table = {"kind": "deployment", "superlink": "h:1", "root_certificates": pem, "name": "a", "source": ""}
    federation = ANY_KIND.validate_python(table)
    assert isinstance(federation, DeployedFederation)
    assert federation.root_certificates is not None
    assert federation.root_certificates.parent == home / "certificates"
    assert not home.exists()


def test_certificates_given_as_text_are_a_file_once_the_federation_is_made(pem: str) -> None:
    made = Federation.deployment("h:1", root_certificates=f"\n{pem}\n\n")
    assert made.root_certificates is not None
    assert made.root_certificates.read_text() == pem
    assert Federation.deployment("h:1", root_certificates=pem).root_certificates == made.root_certificates


def test_certificates_in_a_toml_file_are_a_file_once_it_is_read(tmp_path: Path, pem: str) -> None:
    path = tmp_path / "f.toml"
    path.write_text(f'[federation.a]\nkind = "deployment"\nsuperlink = "h:1"\nroot_certificates = """\n{pem}"""\n')
    federation = read_federation(path)
    assert isinstance(federation, DeployedFederation)
    assert federation.root_certificates is not None
    assert federation.root_certificates.read_text() == pem


def test_a_wrong_file_leaves_no_certificates(tmp_path: Path, home: Path, pem: str) -> None:
    path = tmp_path / "f.toml"
    path.write_text(f'[federation.a]\nkind = "deployment"\nsuperlink = ""\nroot_certificates = """\n{pem}"""\n')
    with pytest.raises(UsageError, match="must be host:port"):
        read_federation(path)
    assert not home.exists()


def test_a_home_that_cannot_be_written_is_named(home: Path, pem: str) -> None:
    home.write_text("a file")
    with pytest.raises(UsageError, match=r"certificates/.*\.pem: cannot be written"):
        Federation.deployment("h:1", root_certificates=pem)


@pytest.mark.parametrize("value", [None, [None], {"x": {1, 2}}])
def test_a_value_without_a_form_in_toml_is_named_by_its_key(value: object) -> None:
    with pytest.raises(UsageError, match=r"^(test_file|x): .* has no form"):
        save_federation("a", {"test_file": value})
