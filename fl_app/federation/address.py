"""How a federation says where things are: files, certificates, a SuperLink's address."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any

from cryptography.x509 import load_pem_x509_certificates
from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from fl_app.federation.saved import certificates_path
from fl_app.system.files import absolute


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


def certificates_text(given: Any) -> str | None:
    """Return certificates that were given as text (PEM), with one newline at their end; None for anything else."""
    if not isinstance(given, str) or not given.lstrip().startswith("-----BEGIN"):
        return None
    return given.strip() + "\n"


def _certificates(given: Any) -> Any:
    """Return the path of the certificates; of those given as text, where `save_certificates` will write them."""
    text = certificates_text(given)
    if text is None:
        return given
    try:
        load_pem_x509_certificates(text.encode())
    except ValueError:
        raise ValueError("is neither the path of a file nor the text (PEM) of a certificate") from None
    return certificates_path(text)


def checked_address(superlink: str) -> str:
    """Return ``host:port`` as it is; raises ValueError if it is none."""
    host, _, port = superlink.rpartition(":")
    bare = ":" in host and not (host.startswith("[") and host.endswith("]"))  # an address of IPv6 stands in brackets
    if not host or bare or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("must be host:port, such as fl.example.org:8123 or 127.0.0.1:8123")
    return superlink


LocalPath = Annotated[Path, AfterValidator(_from_here)]
"""A path; a relative one is seen from the federation's file, or from the working directory."""
Certificates = Annotated[LocalPath, BeforeValidator(_certificates)]
"""A path to PEM certificates. They may be given as text too: whoever validates it calls `save_certificates` then."""
Address = Annotated[str, AfterValidator(checked_address)]
"""``host:port``."""
