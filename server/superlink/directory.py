"""What an operator has: a directory with the authority, the SuperLink's certificate, the register and the join file.

::

    superlink/                 0700
        federation.toml        the join file, to hand out; it also says the address
        ca.crt  ca.key         the authority; its key signs the SuperLink's certificates and nothing else
        superlink.crt  .key    what the SuperLink shows
        registered/  revoked/  the register (`registry`)
        seen/  runs            who was served when, and who has started which run
        state.db               Flower's own state, so that nodes stay known over a restart
        superlink.log          what the SuperLink says
"""

import re
from pathlib import Path

import tomli_w
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fl_app.errors import UsageError
from fl_app.federation.kinds import DeployedFederation, read_federation
from fl_app.system.files import replace_file
from server.superlink.certificates import (
    AUTHORITY,
    certificate_bytes,
    days_left,
    key_bytes,
    make_authority,
    make_certificate,
    new_key,
)
from server.superlink.registry import Registry

JOIN_FILE = "federation.toml"
_JOIN_FILE_HEAD = """\
# For pods and modellers: --federation FILE finds the SuperLink and checks its certificate by the one below.
# This file holds no secret, but whoever replaces it can replace the SuperLink: send it by a way you trust.
"""
DEFAULT_NAME = "shared"
_AUTHORITY_KEY, _CERTIFICATE, _KEY = "ca.key", "superlink.crt", "superlink.key"


class SuperLinkDirectory:
    """The operator's directory, which must exist.

    Attributes
    ----------
    path
        Where it is.
    federation
        What its join file says.
    registry
        Who is registered.

    Raises
    ------
    UsageError
        If there is none, or its join file is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if not (self.path / JOIN_FILE).exists():
            raise UsageError(f"{path}: not the directory of a SuperLink; `fl-app provision HOST:PORT` makes one")
        federation = read_federation(self.path / JOIN_FILE)
        if not isinstance(federation, DeployedFederation):
            raise UsageError(f"{self.path / JOIN_FILE}: the federation of a SuperLink is a deployment")
        self.federation = federation
        self.registry = Registry(self.path)

    @classmethod
    def provision(cls, path: Path, address: str, name: str | None = None) -> "SuperLinkDirectory":
        """Make the directory of a SuperLink at ``address`` (``host:port``), or return the one that is there.

        Raises
        ------
        UsageError
            If it is one for another address, if there is something else at ``path``, or the address is not one.
        """
        path = path.absolute()
        if (path / JOIN_FILE).exists():
            found = cls(path)
            if found.address != address or name not in (None, found.federation.name):
                raise UsageError(
                    f"{path} is of federation '{found.federation.name}' at {found.address}: "
                    "for another one, give another --directory"
                )
            return found
        name = name or DEFAULT_NAME
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
            raise UsageError(f"--name {name!r}: 1 to 40 letters, digits, hyphens and underscores")
        host, _, port = address.rpartition(":")
        if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]", host) or not (
            port.isascii() and port.isdigit() and 0 < int(port) < 65536
        ):
            raise UsageError(f"{address!r}: expected host:port, such as fl.example.org:8123 or 192.0.2.7:8123")
        if path.exists() and any(path.iterdir()):
            raise UsageError(f"{path}: there is something else there: give an empty or a new --directory")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        key = new_key()
        authority = make_authority(key, name)
        replace_file(path / _AUTHORITY_KEY, key_bytes(key), mode=0o600)
        replace_file(path / AUTHORITY, certificate_bytes(authority))
        _certify(path, host, authority, key)
        _write_join_file(path, name, address, [])  # the last: with it, the directory is one
        return cls(path)

    @property
    def address(self) -> str:
        """``host:port`` by which the parties reach the SuperLink."""
        return self.federation.superlink

    @property
    def port(self) -> int:
        """The port of the address."""
        return int(self.address.rpartition(":")[2])

    @property
    def authority(self) -> Path:
        """The certificate (PEM) by which the parties check the SuperLink's."""
        return self.path / AUTHORITY

    @property
    def certificate(self) -> Path:
        """The SuperLink's certificate (PEM)."""
        return self.path / _CERTIFICATE

    @property
    def key(self) -> Path:
        """The SuperLink's private key (PEM)."""
        return self.path / _KEY

    @property
    def join_file(self) -> Path:
        """The file that the operator hands out."""
        return self.path / JOIN_FILE

    def days_left(self) -> int:
        """Return the days until the SuperLink's certificate ends; below zero if it has ended."""
        return days_left(_certificate(self.certificate))

    def renew(self) -> int:
        """Make a new key and certificate for the SuperLink, of the same authority, and return its days.

        What the parties have stays good; the SuperLink shows the new certificate when it is started again.
        """
        authority = _certificate(self.authority)
        if days_left(authority) < 1:
            raise UsageError(f"{self.authority} has expired: provision a new --directory, and hand its join file out")
        _certify(self.path, self.address.rpartition(":")[0], authority, _private_key(self.path / _AUTHORITY_KEY))
        return self.days_left()

    def write_join_file(self) -> None:
        """Write the join file with the pods that are registered now."""
        pods = sorted(name for name, card in self.registry.cards.items() if card.role == "pod")
        _write_join_file(self.path, self.federation.name, self.address, pods)
        self.federation = self.federation.model_copy(update={"pods": tuple(pods)})


def _certify(path: Path, host: str, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey) -> None:
    key = new_key()
    certificate = make_certificate(key.public_key(), host, authority, authority_key)
    replace_file(path / _KEY, key_bytes(key), mode=0o600)
    replace_file(path / _CERTIFICATE, certificate_bytes(certificate))


def _write_join_file(path: Path, name: str, address: str, pods: list[str]) -> None:
    table = {
        "kind": "deployment",
        "superlink": address,
        "pods": pods,
        "root_certificates": (path / AUTHORITY).read_text("ascii"),
    }
    text = tomli_w.dumps({"federation": {name: table}}, multiline_strings=True)
    replace_file(path / JOIN_FILE, f"{_JOIN_FILE_HEAD}{text}".encode())


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise UsageError(f"{path}: the certificate cannot be read") from None


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        key = None  # nothing of the parser's own error goes on: it was looking at a secret
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError(f"{path}: the authority's private key cannot be read")
    return key
