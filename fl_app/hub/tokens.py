"""How a party opens its hub from another machine: a short-lived token signed by its identity key (JWT, EdDSA).

It is for one hub, named by its origin, and gets whoever sends it a one-time link, over TLS.
"""

import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fl_app.host.signed_tokens import ALGORITHM, sign
from fl_app.secagg.crypto import Signer, fingerprint

LIFETIME = 60
CLOCK_SKEW = 60
_TYPE = "fl-app-hub+jwt"
_MOST = 4096


def make_token(identity: Signer, origin: str, now: float | None = None) -> str:
    """Return a token with which the holder of ``identity`` opens the hub at ``origin``."""
    issued = int(time.time() if now is None else now)
    claims = {"iss": fingerprint(identity.public_bytes), "aud": origin, "iat": issued, "exp": issued + LIFETIME}
    return sign(claims, identity, _TYPE)


def admits(token: str, origins: tuple[str, ...], keys: Mapping[str, bytes]) -> bool:
    """Say whether a token opens a hub.

    Parameters
    ----------
    token
        As received.
    origins
        The hub's own.
    keys
        The identity keys (32 bytes, Ed25519) that open it, by their fingerprints.
    """
    try:
        if len(token) > _MOST or jwt.get_unverified_header(token).get("typ") != _TYPE:
            return False
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        key = keys.get(issuer) if isinstance(issuer, str) else None
        if key is None:
            return False
        claims: dict[str, Any] = jwt.decode(
            token,
            Ed25519PublicKey.from_public_bytes(key),
            algorithms=[ALGORITHM],
            audience=list(origins),
            leeway=CLOCK_SKEW,
            options={"require": ["iss", "aud", "iat", "exp"]},
        )
    except (jwt.InvalidTokenError, RecursionError):
        return False
    return time.time() - float(claims["iat"]) <= LIFETIME + CLOCK_SKEW
