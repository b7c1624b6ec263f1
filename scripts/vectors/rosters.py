"""What signatures cover, labels, and rosters good and bad."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fl_app.secagg import canonical
from fl_app.secagg.binding import label
from fl_app.secagg.crypto import HELLO, REPLY, SHARE, statement
from fl_app.secagg.messages import Hello
from fl_app.secagg.roster import Roster
from scripts.vectors.material import (
    PARAMETERS,
    REQUEST,
    ROSTER,
    SESSION,
    SIGNERS,
    STEP,
    Vectors,
    constant,
    hello,
    tagged,
)


def statement_vectors() -> Vectors:
    """Return what signatures cover, digests by purpose, and labels."""
    examples = [(HELLO, SESSION, "a", "", b"content"), (SHARE, ROSTER.digest, "a", "b", b""),
            (REPLY, constant("label"), "b", "", bytes(100)), ("", b"", "", "", b"")]  # fmt: skip
    digests: list[tuple[str, list[canonical.Value]]] = [("purpose", []), ("purpose", ["a", b"b", 1]), ("", [[]])]
    steps = [STEP, replace(STEP, round=2), replace(STEP, sizes=(5, 1, 2))]
    return {
        "statements": [
            {"purpose": p, "scope": scope.hex(), "sender": s, "receiver": r, "content": c.hex(),
             "statement": statement(p, scope, s, r, c).hex()}
            for p, scope, s, r, c in examples
        ],
        "digests": [
            {"purpose": purpose, "parts": tagged(parts), "digest": canonical.digest(purpose, *parts).hex()}
            for purpose, parts in digests
        ],
        "roster": [each.to_bytes().hex() for each in ROSTER.hellos],
        "labels": [
            {"step": step.to_bytes().hex(), "request": request.hex(), "label": label(ROSTER, step, request).hex()}
            for step in steps
            for request in (REQUEST, bytes(32))
        ],
    }  # fmt: skip


def roster_vectors() -> Vectors:
    """Return a roster with its digest, and rosters that pod "a" refuses: one for each check, in the order made."""
    a, b, c, x = hello("a"), hello("b"), hello("c"), hello("x")
    stolen = hello("c", signer="x")
    policy = {"approved": {name: SIGNERS[name].public_key().public_bytes_raw().hex() for name in ("b", "c")},
              "minimum_cohort": 3, "exact_cohort": False, "minimum_threshold": None}  # fmt: skip
    in_order: Callable[..., list[Hello]] = lambda *hellos: list(Roster.of(hellos).hellos)  # noqa: E731
    bad: list[tuple[str, str, list[Hello], dict[str, Any]]] = [
        ("own hello altered", "RosterRefused", in_order(replace(a, published=bytes(32)), b, c), {}),
        ("own hello missing", "RosterRefused", in_order(b, c), {}),
        ("content altered", "BadSignature", in_order(a, replace(b, published=bytes(32)), c), {}),
        ("signature of another", "BadSignature", in_order(a, replace(b, signature=c.signature), c), {}),
        ("signature missing", "BadSignature", in_order(a, replace(b, signature=bytes(64)), c), {}),
        ("a pod twice", "RosterRefused", in_order(a, b, b, c), {}),
        ("a name twice", "RosterRefused", in_order(a, b, c, stolen), {}),
        ("a key twice", "RosterRefused", in_order(a, b, hello("x", signer="b"), c), {}),
        ("not in canonical order", "RosterRefused", in_order(a, b, c)[::-1], {}),
        ("another session", "RosterRefused", in_order(a, b, hello("c", session=constant("other session"))), {}),
        ("other parameters", "RosterRefused", in_order(a, b, hello("c", parameters=constant("other parameters"))), {}),
        ("not requested", "RosterRefused", in_order(a, b, c, x), {}),
        ("not approved", "NotApproved", in_order(a, b, c), {"approved": {"b": policy["approved"]["b"]}}),
        ("another key", "WrongKey", in_order(a, b, stolen), {}),
        ("too small", "PolicyRefused", in_order(a, b, c), {"minimum_cohort": 4}),
        ("not the whole cohort", "PolicyRefused", in_order(a, b), {"minimum_cohort": 2, "exact_cohort": True}),
        ("threshold above the cohort", "PolicyRefused", in_order(a, b), {"minimum_cohort": 2}),
    ]  # fmt: skip
    shown: dict[str, str] = {}

    def listed(hellos: Sequence[Hello]) -> list[str]:
        """Enter the hellos under short names, and return these."""
        for each in hellos:
            shown.setdefault(each.to_bytes().hex(), f"{each.name}{len(shown)}")
        return [shown[each.to_bytes().hex()] for each in hellos]

    good = {"hellos": listed(ROSTER.hellos), "names": list(ROSTER.names), "digest": ROSTER.digest.hex()}
    spoiled = [
        {"what": what, "error": error, "hellos": listed(hellos), "policy": policy | change}
        for what, error, hellos, change in bad
    ]
    return {
        "own": listed([a])[0],
        "requested": list(PARAMETERS.pods),
        "threshold": PARAMETERS.threshold,
        "policy": policy,
        "hellos": {name: raw for raw, name in shown.items()},
        "good": good,
        "bad": spoiled,
    }
