"""The operator's directory: the authority, the SuperLink's certificate, the register and the join file.

::

    superlink/                 0700
        federation.toml        the join file for all parties, with the address
        ca.crt  ca.key         the authority; its key signs the SuperLink's certificates and nothing else
        superlink.crt  .key    the SuperLink's certificate and key
        registered/  revoked/  the register (`registry`)
        seen/  runs            when each party was last served, and who has started which run
        state.db               Flower's own state, so that nodes are still known after a restart
        superlink.log          the SuperLink's output
        status.sock            while it serves, what it tells its operator's hub (`status`)
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
DATABASE = "state.db"
"""The file of Flower's own state in the operator's directory."""
_AUTHORITY_KEY, _CERTIFICATE, _KEY = "ca.key", "superlink.crt", "superlink.key"


class SuperLinkDirectory:
    """The operator's directory, which must exist.

    Attributes
    ----------
    path
        Its absolute path.
    federation
        The federation in its join file.
    registry
        The registered parties.

    Raises
    ------
    UsageError
        If there is no such directory, or its join file is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        if not (self.path / JOIN_FILE).exists():
            raise UsageError(f"{path}: not a SuperLink's directory; `fl-app provision HOST:PORT` makes one")
        federation = read_federation(self.path / JOIN_FILE)
        if not isinstance(federation, DeployedFederation):
            raise UsageError(f"{self.path / JOIN_FILE}: expected a federation of kind 'deployment'")
        self.federation = federation
        self.registry = Registry(self.path)

    @classmethod
    def provision(cls, path: Path, address: str, name: str | None = None) -> "SuperLinkDirectory":
        """Make the directory of a SuperLink at ``address`` (``host:port``), or return it if it exists.

        Raises
        ------
        UsageError
            If ``path`` is for another address or holds something else, or ``address`` is malformed.
        """
        path = path.absolute()
        if (path / JOIN_FILE).exists():
            existing = cls(path)
            if existing.address != address or name not in (None, existing.federation.name):
                raise UsageError(
                    f"{path} belongs to federation '{existing.federation.name}' at {existing.address}: "
                    "for another federation, give another --directory"
                )
            return existing
        name = name or DEFAULT_NAME
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
            raise UsageError(f"--name {name!r}: expected 1 to 40 letters, digits, hyphens and underscores")
        host, _, port = address.rpartition(":")
        if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]", host) or not (
            port.isascii() and port.isdigit() and 0 < int(port) < 65536
        ):
            raise UsageError(f"{address!r}: expected host:port, such as fl.example.org:8123 or 192.0.2.7:8123")
        if path.exists() and any(path.iterdir()):
            raise UsageError(f"{path}: holds other files: give an empty or a new --directory")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        key = new_key()
        authority = make_authority(key, name)
        replace_file(path / _AUTHORITY_KEY, key_bytes(key), mode=0o600)
        replace_file(path / AUTHORITY, certificate_bytes(authority))
        _certify(path, host, authority, key)
        _write_join_file(path, name, address, [])  # last: its presence marks a complete directory
        return cls(path)

    @property
    def address(self) -> str:
        """``host:port`` at which the parties reach the SuperLink."""
        return self.federation.superlink

    @property
    def port(self) -> int:
        """The port of the address."""
        return int(self.address.rpartition(":")[2])

    @property
    def authority(self) -> Path:
        """The certificate (PEM) against which the parties check the SuperLink's."""
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
        """The file that the operator sends to all parties."""
        return self.path / JOIN_FILE

    def days_left(self) -> int:
        """Return the days until the SuperLink's certificate expires; negative if it has expired."""
        return days_left(_certificate(self.certificate))

    def authority_days_left(self) -> int:
        """Return the same for the authority's certificate."""
        return days_left(_certificate(self.authority))

    def renew(self) -> int:
        """Make a new key and certificate for the SuperLink and return the days for which the certificate is valid.

        The authority stays the same, so the parties' join files remain valid. The SuperLink uses the new certificate
        after a restart.
        """
        authority = _certificate(self.authority)
        if days_left(authority) < 1:
            raise UsageError(
                f"{self.authority} has expired: provision a new --directory and send its join file to all parties"
            )
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
