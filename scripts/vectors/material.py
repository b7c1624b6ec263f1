"""What all vectors are made of: keys, one roster, and a way to write values as JSON."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fl_app.secagg import canonical
from fl_app.secagg.crypto import HELLO, statement
from fl_app.secagg.field import FIELD_61
from fl_app.secagg.messages import ElementClass, Hello, Parameters, Step, StepPlan
from fl_app.secagg.roster import Roster

Vectors = dict[str, Any]


def constant(what: str, size: int = 32) -> bytes:
    """Return bytes that follow from a name: the vectors' only source of "randomness"."""
    return hashlib.shake_256(f"fl-app test vector: {what}".encode()).digest(size)


SIGNERS = {name: Ed25519PrivateKey.from_private_bytes(constant(f"identity of {name}")) for name in ("a", "b", "c", "x")}
SEALERS = {name: X25519PrivateKey.from_private_bytes(constant(f"sealing key of {name}")) for name in SIGNERS}
SESSION = constant("session")
REQUEST = constant("request")
CLASSES = (ElementClass("update", "update", 8.0), ElementClass("loss", "mean", 64.0), ElementClass("n", "count", 100.0))
PARAMETERS = Parameters(
    run="7",
    series="7",
    app="",
    config=canonical.encode({"lr": 0.1}),
    prime_q=FIELD_61.prime,
    pods=("a", "b", "c"),
    threshold=3,
    max_weight=1000,
    weighting="examples",
    steps=(StepPlan("train", 2, CLASSES),),
    verified=False,
)
STEP = Step(SESSION, "train", 1, ("update", "loss", "n"), (4, 1, 2))


def hello(name: str, signer: str = "", **changes: Any) -> Hello:
    """Return the signed hello of a pod; ``signer`` shows its own key under that name."""
    signer = signer or name
    unsigned = Hello(
        session=SESSION,
        name=name,
        identity_key=SIGNERS[signer].public_key().public_bytes_raw(),
        sealing_key=SEALERS[signer].public_key().public_bytes_raw(),
        parameters=PARAMETERS.digest(),
        published=constant("published"),
        group=bytes(32),
        place=0,
        followed=bytes(32),
        signature=bytes(64),
    )
    unsigned = replace(unsigned, **changes)
    return replace(
        unsigned, signature=SIGNERS[signer].sign(statement(HELLO, unsigned.session, name, "", unsigned.unsigned()))
    )


ROSTER = Roster.of([hello("a"), hello("b"), hello("c")])


def tagged(value: Any) -> Any:
    """Return a value as JSON that keeps what JSON does not: whether a number is an integer, bytes, digits."""
    match value:
        case bool() | None | str():
            return value
        case int():
            return {"int": str(value)}
        case float():
            return {"float": value.hex()}
        case bytes():
            return {"bytes": value.hex()}
        case Mapping():
            return {"dict": {key: tagged(item) for key, item in value.items()}}
    return [tagged(item) for item in value]
