"""What binds every share, mask and signature to its roster, its step and its receiver.

Pods and server compute the same bytes here, each from what it received. A pod that was told something else than the
others derives another label, and so masks that cancel nobody's.
"""

from collections.abc import Mapping, Sequence

from fl_app.secagg.canonical import digest, encode
from fl_app.secagg.codec import Layout
from fl_app.secagg.crypto import REPLY, SHARE, SURVIVORS, statement
from fl_app.secagg.errors import SessionRefused
from fl_app.secagg.field import FIELD_61, Field, Words, field_of
from fl_app.secagg.keystream import derive
from fl_app.secagg.masking import vector_digest
from fl_app.secagg.messages import TRAIN, MaskedReply, Parameters, Step
from fl_app.secagg.roster import Roster
from fl_app.secagg.tags import tag_elements

DIGEST_BYTES = 32
PAIR_KEY = "fl-app/secagg/1/pair-key"
PAIR_SEED = "fl-app/secagg/1/pair-seed"
OWN_KEY = "fl-app/secagg/1/own-key"
SELF_SHARE = "fl-app/secagg/1/self-share-key"
LABEL = "fl-app/secagg/1/label"
GROUP_COMMITMENT = "fl-app/secagg/1/group-commitment"
GROUP_KEY = "fl-app/secagg/1/group-key"
TAG_KEY = "fl-app/secagg/1/tag-key"


def field_for(parameters: Parameters, kind: str) -> Field:
    """Return the field of a step: the session's for training, 2^61-1 for everything that is sent once."""
    return field_of(parameters.prime_q) if kind == TRAIN else FIELD_61


def layout_for(parameters: Parameters, step: Step, pods: int) -> Layout:
    """Return the layout of a step's vectors in a cohort of ``pods``; both sides derive it from the same request."""
    segments, field = step.segments(parameters.step(step.kind)), field_for(parameters, step.kind)
    return Layout(field, pods, parameters.max_weight, segments, tag_elements(field) if parameters.verified else 0)


def label(roster: Roster, step: Step, request: bytes, followed: bytes = b"") -> bytes:
    """Return the label L of a step, 32 bytes: it covers the roster, the step and the digest of the common request.

    In a verified session it also covers ``followed``, the digest of what the pod itself has followed so far.
    """
    return digest(LABEL, roster.digest, step.to_bytes(), request, *([followed] if followed else []))


def check_followed(parameters: Parameters, followed: bytes) -> None:
    """Raise `SessionRefused` unless a step's label covers what was followed, in a verified session and in no other."""
    wanted = DIGEST_BYTES if parameters.verified else 0
    if len(followed) != wanted:
        raise SessionRefused(f"a step's label covers {wanted} bytes of what was followed here, not {len(followed)}")


def group_commitment(session: bytes, name: str, share: bytes) -> bytes:
    """Return what a pod's hello says of its share of the group key, 32 bytes: it fixes the share and hides it."""
    return digest(GROUP_COMMITMENT, session, name, share)


def group_key(roster: Roster, shares: Mapping[str, bytes]) -> bytes:
    """Return the 32-byte key K that all pods of the roster know and the server does not, from each pod's share."""
    return derive(b"".join(shares[name] for name in roster.names), GROUP_KEY, salt=roster.digest)


def tag_key(key: bytes, label: bytes) -> bytes:
    """Return the 32-byte key of one step's tags, from the group key."""
    return derive(key, TAG_KEY, label)


def pair_key(roster: Roster, one: str, other: str, shares: tuple[bytes, bytes]) -> bytes:
    """Return the 32-byte key of two pods for the whole session, from the share that each sealed to the other.

    ``shares`` are that of ``one`` and that of ``other``. The roster's order makes both pods derive the same key.
    """
    if roster.position(one) > roster.position(other):
        one, other, shares = other, one, shares[::-1]
    return derive(b"".join(shares), PAIR_KEY, one, other, salt=roster.digest)


def pair_seed(key: bytes, label: bytes) -> bytes:
    """Return the 32-byte seed of a pair's mask under one label; to open it opens no other step's."""
    return derive(key, PAIR_SEED, label)


def own_key(roster: Roster, sealing_secret: bytes) -> bytes:
    """Return the key that stands for a pair key where a pod is both sender and receiver, 32 bytes."""
    return derive(sealing_secret, OWN_KEY, salt=roster.digest)


def self_share_key(key: bytes, label: bytes, sender: str, receiver: str) -> bytes:
    """Return the key of the box in which one pod's share of its self mask goes to another: one box under one label.

    ``key`` is the pair key of the two. Each way has a box key of its own, or a pod could be made to open a share that
    it has made itself.
    """
    return derive(key, SELF_SHARE, label, [sender, receiver])


def share_info(roster: Roster, sender: str, receiver: str) -> bytes:
    """Return the HPKE info of a sealed share."""
    return statement(SHARE, roster.digest, sender, receiver, b"")


def reply_statement(label: bytes, sender: str, vector: Words, reply: MaskedReply) -> bytes:
    """Return what a pod signs with a masked vector: the vector and all that goes with it."""
    return statement(REPLY, label, sender, "", reply.content(vector_digest(vector)))


def survivors_statement(label: bytes, witness: str, survivors: Sequence[str]) -> bytes:
    """Return what a pod signs of the survivors of a step."""
    return statement(SURVIVORS, label, witness, "", encode(list(survivors)))
