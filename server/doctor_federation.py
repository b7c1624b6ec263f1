"""What may stand between this machine and a federation: the SuperLink, its certificate, the clocks, the key."""

import http.client
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from cryptography import x509

from fl_app.errors import FlAppError
from fl_app.federation import DeployedFederation, Federation
from fl_app.pods import load_pod
from fl_app.reach import why_unreachable
from server.finding import Finding

_SECONDS = 10.0
_SKEW = 60.0
"""Seconds that two clocks may differ; tokens allow twice as much."""
_EXPIRES = timedelta(days=14)


def examine_federation(federation: Federation) -> Iterator[Finding]:
    """Look at what a run over ``federation`` needs; nothing is started or changed."""
    if not isinstance(federation, DeployedFederation):
        for path in federation.pods:
            try:
                yield Finding("pod", True, f"{load_pod(path).name}, in {path}")
            except FlAppError as error:
                yield Finding("pod", False, str(error))
        return
    address, insecure, certificates = federation.superlink, federation.insecure, federation.root_certificates
    if why := why_unreachable(address, insecure=insecure, root_certificates=certificates, seconds=_SECONDS):
        yield Finding("SuperLink", False, why)
        return
    yield Finding("SuperLink", True, f"answers at {address}{', unencrypted, on this machine' if insecure else ''}")
    context = None
    if not insecure:
        context = ssl.create_default_context(cafile=str(certificates) if certificates else None)
    try:
        certificate, date = _ask(address, context)
    except (OSError, http.client.HTTPException) as error:
        yield Finding("SuperLink", False, f"{address} does not answer as a SuperLink: {type(error).__name__}")
        return
    if certificate:
        yield _validity(certificate)
    yield _clock(date)
    yield _admission(federation)


def _ask(address: str, context: ssl.SSLContext | None) -> tuple[bytes | None, str | None]:
    """Return the certificate (DER) that the SuperLink shows and the time by its clock, where it says either."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    connection = (
        http.client.HTTPSConnection(host, int(port), timeout=_SECONDS, context=context)
        if context
        else http.client.HTTPConnection(host, int(port), timeout=_SECONDS)
    )
    try:
        connection.request("GET", "/health")
        shown = connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else None
        return shown, connection.getresponse().getheader("Date")
    finally:
        connection.close()


def _validity(certificate: bytes) -> Finding:
    until = x509.load_der_x509_certificate(certificate).not_valid_after_utc
    soon = until - datetime.now(UTC) < _EXPIRES
    advice = ": its operator runs `fl-app superlink renew`" if soon else ""
    return Finding("certificate", not soon, f"the SuperLink's is valid until {until:%Y-%m-%d %H:%M} UTC{advice}")


def _clock(date: str | None) -> Finding:
    try:
        there = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("clock", True, "the SuperLink does not tell its time")
    skew = time.time() - there
    if abs(skew) <= _SKEW:
        return Finding("clock", True, "agrees with the SuperLink's")
    way = "ahead of" if skew > 0 else "behind"
    return Finding("clock", False, f"{abs(skew):.0f} seconds {way} the SuperLink's: set both by a time server")


def _admission(federation: DeployedFederation) -> Finding:
    from server.deployment import list_runs

    try:
        list_runs(federation)
    except FlAppError as error:
        return Finding("modeller", False, str(error))
    return Finding("modeller", True, "the SuperLink takes questions from this modeller")
