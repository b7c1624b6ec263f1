"""Why a SuperLink cannot be reached, found out before Flower is asked to: its own programs say little about it."""

import socket
import ssl
from pathlib import Path

_EXPIRED, _NOT_YET = 10, 9
_OTHER_NAMES = (62, 64)
"""Numbers of OpenSSL's X509_V_ERR: what is wrong with a certificate."""


def why_no_certificates(path: Path | None) -> str | None:
    """Return in one line why a SuperLink's certificate cannot be checked by those in ``path``; None if it can."""
    try:
        ssl.create_default_context(cafile=str(path) if path else None)
    except ssl.SSLError:
        return f"{path}: holds no certificate (PEM); give the CA's certificate of the SuperLink's operator"
    except OSError as error:
        return f"{path}: the certificates cannot be read: {error.strerror}"
    return None


def why_unreachable(
    address: str, *, insecure: bool, root_certificates: Path | None, seconds: float = 10.0
) -> str | None:
    """Return in one line why no connection to ``host:port`` is made, or None if one is.

    Parameters
    ----------
    address
        ``host:port`` of the SuperLink.
    insecure
        Whether the connection is not encrypted.
    root_certificates
        Certificates (PEM) by which the SuperLink's is checked; None means the system's.
    seconds
        How long to wait.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not insecure and (why := why_no_certificates(root_certificates)):
        return why
    try:
        with socket.create_connection((host, int(port)), timeout=seconds) as connection:
            if insecure:
                return None
            context = ssl.create_default_context(cafile=str(root_certificates) if root_certificates else None)
            with context.wrap_socket(connection, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as error:
        return _about_certificate(address, error)
    except (ssl.SSLError, ConnectionResetError):
        return f"{address} answers, but not with TLS: check the address, and that this is the join file of its operator"
    except OSError as error:
        return (
            f"no SuperLink answers at {address} ({error.strerror or error}). "
            "Check the address, and that the SuperLink is running"
        )


def _about_certificate(address: str, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return f"the certificate of the SuperLink at {address} has expired: its operator runs `fl-app superlink renew`"
    if error.verify_code == _NOT_YET:
        return f"the certificate of the SuperLink at {address} is not valid yet: check the clock of this machine"
    if error.verify_code in _OTHER_NAMES:
        return f"the SuperLink at {address} has a certificate for another address: use the one in the join file"
    return (
        f"the SuperLink at {address} shows a certificate that was not signed by the authority in the join file: "
        "either it is not that SuperLink, or its operator has a new join file to hand out"
    )
