"""What can be seen of a SuperLink before one connects: certificates, clock, and Flower's version if it tells."""

import http.client
import json
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

from fl_app.federation import DeployedFederation
from fl_app.findings import Finding
from fl_app.reach import why_unreachable

CLOCK_SECONDS = 5.0
"""A SuperLink turns a pod away whose clock is further ahead (Flower's SYSTEM_TIME_TOLERANCE), or 305 s behind."""
_DAYS = 14
_SECONDS = 10.0


@dataclass(frozen=True)
class Answered:
    """What a SuperLink said to one question: how far this clock is ahead of its own, and its Flower, if it tells."""

    ahead: float | None
    flower: str | None
    days: int | None


def look_at_superlink(federation: DeployedFederation) -> Iterator[Finding]:
    """Look at a federation's SuperLink: reachable, certificates, clock, Flower."""
    address, roots = federation.superlink, federation.root_certificates
    why = why_unreachable(address, insecure=federation.insecure, root_certificates=roots, seconds=_SECONDS)
    if why is not None:
        yield Finding("SuperLink", False, why)
        return
    kind = "without TLS, on this machine" if federation.insecure else "its certificate holds"
    yield Finding("SuperLink", True, f"{address} answers, {kind}")
    if roots is not None:
        yield from _authority(roots)
    try:
        told = ask(address, insecure=federation.insecure, root_certificates=roots)
    except (OSError, http.client.HTTPException) as error:
        yield Finding("SuperLink", False, f"{address} does not answer as a SuperLink does ({type(error).__name__})")
        return
    if told.days is not None:
        yield _expiry("certificate", told.days, "its operator runs `fl-app superlink renew`")
    if told.ahead is None:
        yield Finding("clock", True, "the SuperLink does not tell the time")
    else:
        fits = abs(told.ahead) <= CLOCK_SECONDS
        text = f"{abs(told.ahead):.0f} s {'ahead of' if told.ahead > 0 else 'behind'} the SuperLink's"
        advice = "" if fits else f"; more than {CLOCK_SECONDS:.0f} s may be refused: set it by NTP"
        yield Finding("clock", fits, text + advice)
    yield _flower(told.flower)


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
        yield _expiry("CA certificate", days, "its operator hands out a new join file")


def _expiry(about: str, days: int, advice: str) -> Finding:
    return Finding(about, days >= _DAYS, f"valid for {days} days" + ("" if days >= _DAYS else f": {advice}"))


def ask(address: str, *, insecure: bool, root_certificates: Path | None) -> Answered:
    """Ask the SuperLink at ``host:port`` what it tells anybody.

    Raises
    ------
    OSError, http.client.HTTPException
        If it does not answer.
    """
    host, _, port = address.rpartition(":")
    connection: http.client.HTTPConnection
    if insecure:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_SECONDS)
    else:
        context = ssl.create_default_context(cafile=str(root_certificates) if root_certificates else None)
        connection = http.client.HTTPSConnection(host.strip("[]"), int(port), timeout=_SECONDS, context=context)
    try:
        connection.connect()
        days = _days_left(connection.sock)
        _, ahead = _get(connection, "/health")
        described, _ = _get(connection, "/openapi.json")  # a SuperLink behind a gate keeps it to itself
        return Answered(ahead, _flower_in(described), days)
    finally:
        connection.close()


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[bytes, float | None]:
    """Return the body of an answer, b"" for a refusal, and how far this clock is ahead, in seconds."""
    before = time.time()
    connection.request("GET", path)
    answer = connection.getresponse()
    body, after, date = answer.read(), time.time(), answer.getheader("Date")
    ahead = None
    if date is not None:
        with suppress(ValueError, TypeError):
            # The header is cut to whole seconds, and was written some time between the two looks at this clock.
            ahead = (before + after) / 2 - (parsedate_to_datetime(date).timestamp() + 0.5)
    return (body if answer.status == http.client.OK else b""), ahead


def _flower_in(described: bytes) -> str | None:
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(described)["info"]["version"])
    return None


def _days_left(socket: Any) -> int | None:
    if not isinstance(socket, ssl.SSLSocket):
        return None
    certificate = socket.getpeercert() or {}
    ends = certificate.get("notAfter")
    return int((ssl.cert_time_to_seconds(str(ends)) - time.time()) // 86400) if ends else None
