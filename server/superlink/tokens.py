"""How a modeller shows a SuperLink who he is: a short-lived token, signed by his identity key (JWT, RFC 7519, EdDSA).

A token is for one SuperLink, named by the certificate of its authority, and for a few minutes: it is made anew for
every use. What it is worth to a thief is limited by that, and it only ever travels over TLS.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fl_app.errors import FlAppError
from fl_app.identity.card import Card
from fl_app.secagg.crypto import Signer, fingerprint

LIFETIME = 300
CLOCK_SKEW = 120
"""Seconds: how long a token is good for, and by how much the two clocks may differ."""
_ALGORITHM = "EdDSA"
_TYPE = "fl-app-modeller+jwt"
_CLAIMS = ("iss", "aud", "iat", "exp")
_MAX_BYTES = 4096

UNKNOWN = (
    "this key is not registered as a modeller at this SuperLink: give its operator your card "
    "(`fl-app modeller keygen NAME`)"
)
MALFORMED = "this is not the token of a modeller"


class TokenRefused(FlAppError):
    """A token does not show a registered modeller; the text goes to whoever sent it, and is about nobody else."""


class _SignedElsewhere(jwt.algorithms.OKPAlgorithm):
    """EdDSA with a key that signs and is not shown."""

    def prepare_key(self, key: Any) -> Any:
        return key


def audience(authority: bytes) -> str:
    """Return how a token names the SuperLink whose authority has the first certificate in ``authority`` (PEM).

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
    signed = jwt.PyJWS(algorithms=[])
    signed.register_algorithm(_ALGORITHM, _SignedElsewhere())
    # The key is one that signs and is not shown, which PyJWT has no type for.
    key: Any = identity
    return signed.encode(json.dumps(claims).encode(), key, algorithm=_ALGORITHM, headers={"typ": _TYPE})


def check_token(token: str, for_whom: str, modeller_with: Callable[[str], Card | None]) -> Card:
    """Return the card of the registered modeller whose token for the SuperLink `audience` this is.

    Parameters
    ----------
    token
        As it came.
    for_whom
        This SuperLink, as `audience` names it.
    modeller_with
        Tells the card of the modeller registered with an identity key of a given fingerprint, or None.

    Raises
    ------
    TokenRefused
        If it is none.
    """
    try:
        if len(token) > _MAX_BYTES or jwt.get_unverified_header(token).get("typ") != _TYPE:
            raise TokenRefused(MALFORMED)
        said = jwt.decode(token, options={"verify_signature": False})
        issuer = said.get("iss")
        card = modeller_with(issuer) if isinstance(issuer, str) else None
        if card is None:
            raise TokenRefused(UNKNOWN)
        key = Ed25519PublicKey.from_public_bytes(card.key)
        claims = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            audience=for_whom,
            leeway=CLOCK_SKEW,
            options={"require": list(_CLAIMS), "strict_aud": True},
        )
        if time.time() - claims["iat"] > LIFETIME + CLOCK_SKEW:  # however long it says that it is good for
            raise TokenRefused(_clock(claims))
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError):
        raise TokenRefused(_clock(said)) from None
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
