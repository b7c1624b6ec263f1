"""The operator's certificate authority, and the SuperLink's certificate that it signs.

Both keys are P-256 and never leave the operator's directory. Parties get the authority's certificate in the join file
and trust it for this SuperLink only; the certificates that their systems trust are not touched.
"""

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY = "ca.crt"
"""The file of the authority's certificate in the operator's directory."""
AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
"""The longest that browsers accept (CA/Browser Forum, 398 days); `fl-app superlink renew` makes the next."""
RENEW_DAYS = 30
"""A renewal is suggested when a certificate has fewer days left than this."""
_BEFORE = timedelta(hours=1)
"""How long before its making a certificate becomes valid: the parties' clocks differ."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return ``key`` as PKCS8 PEM without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_bytes(certificate: x509.Certificate) -> bytes:
    """Return ``certificate`` as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def make_authority(key: ec.EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    """Return the self-signed certificate of the authority of the federation ``name``, valid for ten years.

    It may sign certificates of servers, not of further authorities (RFC 5280, 4.2.1.9).
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fl-app {name} authority"[:64])])
    builder = _builder(subject, subject, key.public_key(), key.public_key(), AUTHORITY_DAYS)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def make_certificate(
    key: ec.EllipticCurvePublicKey, host: str, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Return the certificate of a SuperLink at ``host``, a DNS name or an IP address, for `CERTIFICATE_DAYS` days.

    It also names ``localhost`` and 127.0.0.1, at which the operator's own programs reach the SuperLink.
    """
    names = dict.fromkeys([_subject(host), x509.DNSName("localhost"), _subject("127.0.0.1")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fl-app SuperLink")])
    builder = _builder(subject, authority.subject, key, authority_key.public_key(), CERTIFICATE_DAYS)
    return (
        builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def days_left(certificate: x509.Certificate) -> int:
    """Return the whole days for which ``certificate`` is still valid; negative if it has expired."""
    return (certificate.not_valid_after_utc - datetime.now(UTC)).days


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    days: int,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _subject(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
