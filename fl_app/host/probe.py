"""Checks of a SuperLink before Flower connects to it: Flower's own programs say little about why they cannot.

`why_no_certificates` and `why_unreachable` explain in one line why a connection would fail; `check_superlink` checks
everything a SuperLink tells anybody, as findings; `ask` fetches that.
"""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fl_app.federation.kinds import DeployedFederation
from fl_app.host.findings import Finding

CLOCK_SECONDS = 5.0
"""A SuperLink rejects a pod whose clock is further ahead (Flower's SYSTEM_TIME_TOLERANCE), or 305 s behind."""
_TIMEOUT = 10.0
_WARN_DAYS = 14
"""Fewer days than this until a certificate expires are a fault."""
_EXPIRED, _NOT_YET, _OTHER_NAMES = 10, 9, (62, 64)
"""OpenSSL's X509_V_ERR codes: what is wrong with a certificate."""


@dataclass(frozen=True)
class SuperLinkFacts:
    """What a SuperLink tells anybody; None for what it keeps to itself.

    Attributes
    ----------
    clock_ahead
        Seconds by which this machine's clock is ahead of the SuperLink's.
    flower
        Its version of Flower.
    days
        Days until its certificate expires.
    """

    clock_ahead: float | None
    flower: str | None
    days: int | None


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
        How long to wait for the connection.
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
        "either it is not that SuperLink, or its operator has a new join file: ask for it"
    )


def check_superlink(federation: DeployedFederation) -> Iterator[Finding]:
    """Check a federation's SuperLink: reachable, certificates, clock, Flower."""
    address, roots = federation.superlink, federation.root_certificates
    why = why_unreachable(address, insecure=federation.insecure, root_certificates=roots, seconds=_TIMEOUT)
    if why is not None:
        yield Finding("SuperLink", False, why)
        return
    kind = "without TLS, on this machine" if federation.insecure else "its certificate holds"
    yield Finding("SuperLink", True, f"{address} answers, {kind}")
    if roots is not None:
        yield from _authority(roots)
    try:
        facts = ask(address, insecure=federation.insecure, root_certificates=roots)
    except (OSError, http.client.HTTPException) as error:
        yield Finding("SuperLink", False, f"{address} does not answer as a SuperLink does ({type(error).__name__})")
        return
    if facts.days is not None:
        yield _expiry("certificate", facts.days, "its operator runs `fl-app superlink renew`")
    yield _clock(facts.clock_ahead)
    yield _flower(facts.flower)


def _clock(ahead: float | None) -> Finding:
    if ahead is None:
        return Finding("clock", True, "the SuperLink does not tell the time")
    fits = abs(ahead) <= CLOCK_SECONDS
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the SuperLink's"
    advice = "" if fits else f"; more than {CLOCK_SECONDS:.0f} s may be refused: set it by NTP"
    return Finding("clock", fits, text + advice)


def _flower(there: str | None) -> Finding:
    if there is None:
        return Finding("Flower there", True, "the SuperLink does not tell which")
    here = version("flwr")
    same = there.split(".")[:2] == here.split(".")[:2]
    return Finding("Flower there", same, there if same else f"{there}, and here it is {here}")


def _authority(roots: Path) -> Iterator[Finding]:
    from cryptography.x509 import load_pem_x509_certificates

    with suppress(OSError, ValueError):
        ends = [certificate.not_valid_after_utc for certificate in load_pem_x509_certificates(roots.read_bytes())]
        days = (min(ends) - datetime.now(UTC)).days
        yield _expiry("CA certificate", days, "its operator sends out a new join file")


def _expiry(about: str, days: int, advice: str) -> Finding:
    return Finding(about, days >= _WARN_DAYS, f"valid for {days} days" + ("" if days >= _WARN_DAYS else f": {advice}"))


def ask(address: str, *, insecure: bool, root_certificates: Path | None) -> SuperLinkFacts:
    """Return what the SuperLink at ``host:port`` tells anybody.

    Raises
    ------
    OSError, http.client.HTTPException
        If it does not answer.
    """
    host, _, port = address.rpartition(":")
    connection: http.client.HTTPConnection
    if insecure:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_TIMEOUT)
    else:
        context = ssl.create_default_context(cafile=str(root_certificates) if root_certificates else None)
        connection = http.client.HTTPSConnection(host.strip("[]"), int(port), timeout=_TIMEOUT, context=context)
    try:
        connection.connect()
        days = _days_left(connection.sock)
        _, ahead = _get(connection, "/health")
        description, _ = _get(connection, "/openapi.json")  # a SuperLink behind a gate keeps it to itself
        return SuperLinkFacts(ahead, _flower_in(description), days)
    finally:
        connection.close()


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[bytes, float | None]:
    """Return the body of an answer, b"" for a refusal, and the seconds by which this clock is ahead."""
    before = time.time()
    connection.request("GET", path)
    answer = connection.getresponse()
    body, after, date = answer.read(), time.time(), answer.getheader("Date")
    ahead = None
    if date is not None:
        with suppress(ValueError, TypeError):
            # The header is cut to whole seconds, and was written some time between the two readings of this clock.
            ahead = (before + after) / 2 - (parsedate_to_datetime(date).timestamp() + 0.5)
    return (body if answer.status == http.client.OK else b""), ahead


def _flower_in(description: bytes) -> str | None:
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(description)["info"]["version"])
    return None


def _days_left(socket: Any) -> int | None:
    if not isinstance(socket, ssl.SSLSocket):
        return None
    certificate = socket.getpeercert() or {}
    ends = certificate.get("notAfter")
    return int((ssl.cert_time_to_seconds(str(ends)) - time.time()) // 86400) if ends else None
