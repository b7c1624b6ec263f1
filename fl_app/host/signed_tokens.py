"""JSON Web Tokens signed by an identity key that does not show itself (RFC 7519, EdDSA)."""

import json
from collections.abc import Mapping
from typing import Any

import jwt

from fl_app.secagg.crypto import Signer

ALGORITHM = "EdDSA"


class _SigningOnly(jwt.algorithms.OKPAlgorithm):
    """EdDSA with a `Signer`: PyJWT would otherwise demand the private key itself, which an identity does not expose."""

    def prepare_key(self, key: Any) -> Any:
        return key


def sign(claims: Mapping[str, Any], identity: Signer, kind: str) -> str:
    """Return a token of type ``kind`` with ``claims``, signed by ``identity``.

    The type (RFC 8725, 3.11) keeps a token from being mistaken for another kind's, signed by the same key.
    """
    signed = jwt.PyJWS(algorithms=[])
    signed.register_algorithm(ALGORITHM, _SigningOnly())
    key: Any = identity  # PyJWT has no type for a key that only signs
    return signed.encode(json.dumps(claims).encode(), key, algorithm=ALGORITHM, headers={"typ": kind})
