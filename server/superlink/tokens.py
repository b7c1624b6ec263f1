"""How a modeller authenticates to a SuperLink: a short-lived token signed by the identity key (JWT, RFC 7519, EdDSA).

A token is for one SuperLink, named by the certificate of its authority, and for a few minutes; a new one is made for
every use. That limits what it is worth to a thief, and it only ever travels over TLS. A bearer token rather than a
signature over each request, because a token is what Flower's own commands can send.
"""

import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fl_app.errors import FlAppError
from fl_app.host.card import Card
from fl_app.host.signed_tokens import ALGORITHM, sign
from fl_app.secagg.crypto import Signer, fingerprint

LIFETIME = 300
CLOCK_SKEW = 120
"""Seconds: how long a token is valid, and by how much the two clocks may differ."""
_TYPE = "fl-app-modeller+jwt"
"""The type of these tokens (RFC 8725, 3.11), so that another JWT signed by the same key is not mistaken for one."""
_CLAIMS = ("iss", "aud", "iat", "exp")
_MAX_BYTES = 4096
"""Several times a token's size: whoever sends more is refused before anything is parsed."""

UNKNOWN = (
    "this key is not registered as a modeller at this SuperLink: give its operator your card "
    "(`fl-app modeller keygen NAME`)"
)
MALFORMED = "this is not the token of a modeller"


class TokenRefused(FlAppError):
    """A token does not prove a registered modeller. The text goes to whoever sent it, and reveals nothing of others."""


def audience(authority: bytes) -> str:
    """Return the SHA-256 fingerprint by which a token names the SuperLink with the authority ``authority`` (PEM).

    Of several certificates the first counts. The authority's certificate rather than the address: an address can be
    taken over, and the same SuperLink may be reached by several; a token for one is of no use at another.

    Raises
    ------
    ValueError
        If there is no certificate in it.
    """
    return x509.load_pem_x509_certificate(authority).fingerprint(hashes.SHA256()).hex()


def make_token(identity: Signer, for_whom: str, now: float | None = None) -> str:
    """Return a token of the modeller with the key ``identity`` for the SuperLink `audience`."""
    issued = int(time.time() if now is None else now)
    claims = {"iss": fingerprint(identity.public_bytes), "aud": for_whom, "iat": issued, "exp": issued + LIFETIME}
    return sign(claims, identity, _TYPE)


def check_token(token: str, for_whom: str, modeller_with: Callable[[str], Card | None]) -> Card:
    """Return the card of the registered modeller whose token for the SuperLink `audience` this is.

    Parameters
    ----------
    token
        The token as received.
    for_whom
        This SuperLink, as `audience` names it.
    modeller_with
        Returns the card of the modeller registered with an identity key of a given fingerprint, or None.

    Raises
    ------
    TokenRefused
        If it is malformed, expired, for another SuperLink, or not signed by a registered modeller.
    """
    try:
        if len(token) > _MAX_BYTES or jwt.get_unverified_header(token).get("typ") != _TYPE:
            raise TokenRefused(MALFORMED)
        # Read without a check only to learn which key to check it with: the issuer is the fingerprint of a key, and
        # the key itself comes from the register, never from the token.
        unverified = jwt.decode(token, options={"verify_signature": False})
        issuer = unverified.get("iss")
        card = modeller_with(issuer) if isinstance(issuer, str) else None
        if card is None:
            raise TokenRefused(UNKNOWN)
        key = Ed25519PublicKey.from_public_bytes(card.key)
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],  # the token's own "alg" is not trusted (RFC 8725, 3.1)
            audience=for_whom,
            leeway=CLOCK_SKEW,
            options={"require": list(_CLAIMS), "strict_aud": True},
        )
        # "exp" is the sender's own choice. The age limits a token that claims a longer life.
        if time.time() - claims["iat"] > LIFETIME + CLOCK_SKEW:
            raise TokenRefused(_clock(claims))
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        # Both are found after the signature has been checked, so the reply tells nothing to others.
        raise TokenRefused(_clock(unverified)) from None
    except jwt.InvalidAudienceError:
        raise TokenRefused("this token is for another SuperLink: use the join file of this one") from None
    except jwt.InvalidTokenError:
        raise TokenRefused(MALFORMED) from None
    return card


def _clock(claims: dict[str, Any]) -> str:
    issued = claims["iat"]
    age = time.time() - issued if isinstance(issued, int | float) else 0.0
    return (
        f"this token was made {abs(age):.0f} seconds {'ago' if age >= 0 else 'in the future'} by the clock of the "
        "SuperLink: set the modeller's clock right, or the SuperLink's"
    )
