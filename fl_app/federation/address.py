"""How a federation says where things are: files, certificates, a SuperLink's address."""

import hashlib
import ipaddress
from pathlib import Path
from typing import Annotated, Any

from cryptography.x509 import load_pem_x509_certificates
from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from fl_app.system.files import absolute, replace_file
from fl_app.system.home import fl_app_home


def is_loopback(superlink: str) -> bool:
    """Say whether ``host:port`` is on this machine."""
    host = superlink.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _from_here(path: Path, info: ValidationInfo) -> Path:
    """Return ``path`` as seen from the directory of the toml file, the context of its validation."""
    return absolute(path, info.context or Path.cwd())


def _certificates(given: Any) -> Any:
    """Return the file of the certificates: where they are given as text, a file of that content in the owner's home."""
    if not isinstance(given, str) or not given.lstrip().startswith("-----BEGIN"):
        return given
    text = given.strip() + "\n"
    try:
        load_pem_x509_certificates(text.encode())
    except ValueError:
        raise ValueError("is neither the path of a file nor the text (PEM) of a certificate") from None
    path = fl_app_home() / "certificates" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.pem"
    try:
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text.encode())
    except OSError as error:
        raise ValueError(f"cannot be kept in {path}: {error.strerror}") from None
    return path


def checked_address(superlink: str) -> str:
    """Return ``host:port`` as it is; raises ValueError if it is none."""
    host, _, port = superlink.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("must be host:port, such as fl.example.org:8123 or 127.0.0.1:8123")
    return superlink


LocalPath = Annotated[Path, AfterValidator(_from_here)]
"""A path; a relative one is seen from the federation's file, or from the working directory."""
Certificates = Annotated[LocalPath, BeforeValidator(_certificates)]
"""A path to PEM certificates, which may be given as their text too."""
Address = Annotated[str, AfterValidator(checked_address)]
"""``host:port``."""
