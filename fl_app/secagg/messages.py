"""The protocol's messages: frozen records that parse from canonical bytes or raise `MalformedMessage`."""

import re
from dataclasses import dataclass, fields
from typing import Any, Self, get_args, get_origin

from fl_app.secagg.canonical import Value, decode, digest, encode
from fl_app.secagg.codec import Kind, Segment
from fl_app.secagg.crypto import KEY_BYTES, SIGNATURE_BYTES
from fl_app.secagg.errors import MalformedMessage

VERSION = 1
TRAIN = "train"
"""The kind of step that a run repeats as often as it declares, and whose vectors have a weight."""
EVALUATE = "evaluate"
MOST_ROUNDS = {EVALUATE: 2}
"""How often a run may ask other kinds of step; those that are not named, once."""
_MAX_NAME = 64
_SERIES = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SIZES = {
    "session": 32,
    "identity_key": KEY_BYTES,
    "sealing_key": KEY_BYTES,
    "parameters": 32,
    "published": 32,
    "group": 32,
    "followed": 32,
    "signature": SIGNATURE_BYTES,
    "label": 32,
    "key": 32,
}


@dataclass(frozen=True)
class Record:
    """Base of the messages: a flat record of typed fields with one canonical form."""

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode([type(self).__name__, VERSION, {f.name: _plain(getattr(self, f.name)) for f in fields(self)}])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse canonical bytes; raises `MalformedMessage` for anything else, naming the message and the field."""
        value = decode(data)
        if not (isinstance(value, list) and len(value) == 3 and value[:2] == [cls.__name__, VERSION]):
            raise MalformedMessage(f"expected a {cls.__name__} of version {VERSION}")
        content = value[2]
        if not isinstance(content, dict) or set(content) != {f.name for f in fields(cls)}:
            raise MalformedMessage(f"a {cls.__name__} with missing or unknown fields")
        return cls(**{f.name: _typed(cls.__name__, f.name, f.type, content[f.name]) for f in fields(cls)})


@dataclass(frozen=True)
class ElementClass(Record):
    """A declared kind of element: every segment of a step belongs to one, by name."""

    name: str
    kind: str
    bound: float

    def segment(self, size: int) -> Segment:
        """Return a segment of this class with ``size`` elements."""
        kinds: tuple[Kind, ...] = get_args(Kind)
        for kind in kinds:
            if kind == self.kind and self.bound > 0 and size >= 0:
                return Segment(self.name, kind, self.bound, size)
        raise MalformedMessage(f"'{self.name}' is not a usable class of elements")


@dataclass(frozen=True)
class StepPlan(Record):
    """One kind of masked step: how often it may be asked in a run, and the classes its vectors are made of."""

    kind: str
    rounds: int
    classes: tuple[ElementClass, ...]


@dataclass(frozen=True)
class Parameters(Record):
    """What is fixed for a session and bound by its digest.

    Attributes
    ----------
    run : str
        The run's identifier.
    series : str
        The training that the run belongs to, 1 to 64 of ``[A-Za-z0-9._-]``: a run that resumes another has its series.
        A pod trains for each round once over all runs of a series.
    app : str
        Hash of the app's bundle, "" where the platform gives none.
    config : bytes
        Canonical bytes of the whole run configuration.
    prime_q : int
        Order of the field for training; statistics and evaluation always use 2^61-1.
    pods : tuple of str
        The pods requested.
    threshold : int
        Answers needed for a sum; 0 for the protocol's own rule, `default_threshold`.
    max_weight : int
        Largest weight a pod may have.
    weighting : str
        "examples": a pod's weight is its number of training rows; "equal": it is 1.
    steps : tuple of StepPlan
        Every masked step the run may ask for.
    verified : bool
        Whether the pods tag their vectors, so that each can tell whether a sum that the server shows is the cohort's.
    """

    run: str
    series: str
    app: str
    config: bytes
    prime_q: int
    pods: tuple[str, ...]
    threshold: int
    max_weight: int
    weighting: str
    steps: tuple[StepPlan, ...]
    verified: bool

    def digest(self) -> bytes:
        """Return the 32 bytes that stand for these parameters in every hello."""
        return digest("fl-app/secagg/1/parameters", self.to_bytes())

    def step(self, kind: str) -> StepPlan:
        """Return the plan of a kind of step; raises `MalformedMessage` if none was declared."""
        for plan in self.steps:
            if plan.kind == kind:
                return plan
        raise MalformedMessage(f"no '{kind}' step was declared for this session")

    def is_last(self, kind: str, round: int) -> bool:
        """Say whether no step comes after this one; a pod that has answered it forgets the session's secrets."""
        return (kind, round) == (self.steps[-1].kind, self.steps[-1].rounds)


@dataclass(frozen=True)
class Hello(Record):
    """A pod's signed entry in the roster.

    ``published`` is the digest of what its owner shows on purpose (its schema). That itself goes to the server with the
    hello, and to no other pod: the roster has an entry of the same size for each pod, whatever its table.

    ``group`` commits the pod to its share of the group key, and is zeros where the session is not verified. ``place``
    is how many steps of the series the pod has followed, and ``followed`` the digest of what it holds since: zeros for
    nothing.
    """

    session: bytes
    name: str
    identity_key: bytes
    sealing_key: bytes
    parameters: bytes
    published: bytes
    group: bytes
    place: int
    followed: bytes
    signature: bytes

    def unsigned(self) -> bytes:
        """Return the bytes the signature covers, besides purpose and sender."""
        return encode({f.name: getattr(self, f.name) for f in fields(self) if f.name != "signature"})


@dataclass(frozen=True)
class SealedShare(Record):
    """A pair's share on its way from one pod to the other, sealed to the receiver and signed by the sender."""

    session: bytes
    sender: str
    receiver: str
    sealed: bytes
    signature: bytes


@dataclass(frozen=True)
class Step(Record):
    """Head of a masked request, the same for every pod: which step of which session, and the vector's layout."""

    session: bytes
    kind: str
    round: int
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def segments(self, plan: StepPlan) -> list[Segment]:
        """Return the vector's segments; raises `MalformedMessage` unless they are exactly the plan's classes."""
        if self.names != tuple(c.name for c in plan.classes) or len(self.sizes) != len(self.names):
            raise MalformedMessage(f"the '{self.kind}' step does not have the declared segments")
        return [c.segment(size) for c, size in zip(plan.classes, self.sizes, strict=True)]


@dataclass(frozen=True)
class MaskedReply(Record):
    """What comes with a masked vector: where the threshold allows losses, the pod's self mask in shares.

    ``commitment`` is b"" and ``shares`` is empty where every pod must answer. Otherwise there is one share for each pod
    of the roster, in its order, boxed under the key of the two. The signature covers all of it.
    """

    commitment: bytes
    shares: tuple[bytes, ...]
    signature: bytes

    def content(self, vector_digest: bytes) -> bytes:
        """Return the bytes the signature covers, besides purpose, label and sender."""
        return encode([vector_digest, self.commitment, list(self.shares)])


@dataclass(frozen=True)
class SurvivorsRequest(Record):
    """The server's claim, after a loss, of whose vectors it holds; a pod signs one such claim for each label."""

    session: bytes
    label: bytes
    survivors: tuple[str, ...]


@dataclass(frozen=True)
class Witness(Record):
    """A pod's signature over a label and its survivors."""

    name: str
    signature: bytes


@dataclass(frozen=True)
class UnmaskRequest(Record):
    """Asks a survivor to open what the sum still needs; ``shares`` are the boxes for it, one of each survivor."""

    session: bytes
    label: bytes
    survivors: tuple[str, ...]
    shares: tuple[bytes, ...]
    witnesses: tuple[Witness, ...]


@dataclass(frozen=True)
class UnmaskReply(Record):
    """For each survivor the opened share of its self mask, for each other pod the pair seed; both by roster order."""

    label: bytes
    self_shares: tuple[bytes, ...]
    pair_seeds: tuple[bytes, ...]
    signature: bytes

    def content(self) -> bytes:
        """Return the bytes the signature covers, besides purpose, label and sender."""
        return encode([list(self.self_shares), list(self.pair_seeds)])


@dataclass(frozen=True)
class Proof(Record):
    """What a server shows of a step beside its sum's words: whose step it was, and whose vectors are in the sum."""

    label: bytes
    survivors: tuple[str, ...]


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_bytes()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _typed(message: str, field: str, wanted: Any, value: Value) -> Any:
    """Return ``value`` as the field's type; sizes of keys, names and digests are checked too."""
    if get_origin(wanted) is tuple:
        if not isinstance(value, list):
            raise MalformedMessage(f"{message}.{field} is not a list")
        return tuple(_typed(message, field, get_args(wanted)[0], item) for item in value)
    if isinstance(wanted, type) and issubclass(wanted, Record):
        if not isinstance(value, bytes):
            raise MalformedMessage(f"{message}.{field} is not a {wanted.__name__}")
        return wanted.from_bytes(value)
    if type(value) is not wanted:
        raise MalformedMessage(f"{message}.{field} is not of type {wanted.__name__}")
    if field in _SIZES and isinstance(value, bytes) and len(value) != _SIZES[field]:
        raise MalformedMessage(f"{message}.{field} is not {_SIZES[field]} bytes long")
    if field in ("name", "sender", "receiver", "kind") and not 0 < len(str(value)) <= _MAX_NAME:
        raise MalformedMessage(f"{message}.{field} is not a name of 1 to {_MAX_NAME} characters")
    if field == "place" and isinstance(value, int) and value < 0:
        raise MalformedMessage(f"{message}.{field} is negative")
    if field == "series" and not _SERIES.fullmatch(str(value)):
        raise MalformedMessage(f"{message}.{field} is not 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return value
