"""A party's card: the public file by which a pod or a modeller tells the others who it is.

It holds the name, the Ed25519 identity key and, for a pod, the key of its Flower node, signed by the identity key,
so that whoever knows that key knows the rest. After a rotation the replaced key has signed it too. A card is text,
one fact a line, and its first line is the line of ``known_pods``::

    hospital-a ed25519 <base64>
    hospital-a role pod
    hospital-a node ecdsa-sha2-nistp384 <base64>
    hospital-a replaces <base64>
    hospital-a signature <base64>
    hospital-a replaced-signature <base64>

A card says who holds which key, not that the name is theirs: that is what its fingerprint is compared for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey

from fl_app.errors import UsageError
from fl_app.identity.public_key import from_base64, public_line, to_base64
from fl_app.secagg.canonical import encode
from fl_app.secagg.crypto import KEY_BYTES, SIGNATURE_BYTES, Signer, fingerprint, statement, verify
from fl_app.secagg.errors import BadSignature
from fl_app.system.files import replace_file
from fl_app.system.home import NAME_RULE, is_pod_name

Role = Literal["pod", "modeller"]

_ROLES: Mapping[str, Role] = {"pod": "pod", "modeller": "modeller"}

PURPOSE = "fl-app/card/1"
NODE_KEY_KIND = "ecdsa-sha2-nistp384"
MAX_CARD_BYTES = 8192
"""More than any card has; a larger file is not read to its end."""


@dataclass(frozen=True)
class Card:
    """A party's card. One made by `issue` or read by `from_text` or `load` has signatures that hold.

    Attributes
    ----------
    role
        ``"pod"`` or ``"modeller"``.
    name
        The party's name, by the rule for pods' names.
    key
        The identity key: 32 raw bytes, Ed25519.
    node_key
        The public P-384 key of a pod's Flower node, ``ecdsa-sha2-nistp384 BASE64`` as OpenSSH writes it, no comment.
    predecessor
        The identity key, 32 bytes, that this one replaces; its holder signed this card too.
    signature, predecessor_signature
        64 bytes each, over `statement` of all of the above.
    """

    role: Role
    name: str
    key: bytes
    node_key: str | None
    predecessor: bytes | None
    signature: bytes
    predecessor_signature: bytes | None

    @classmethod
    def issue(
        cls, role: Role, name: str, identity: Signer, node_key: str | None = None, predecessor: Signer | None = None
    ) -> Self:
        """Return the card of ``identity``, signed by it and by the ``predecessor`` that it replaces, if any.

        Raises
        ------
        UsageError
            If ``name`` or ``node_key`` is malformed, or a key is to replace itself.
        """
        key, old = identity.public_bytes, predecessor.public_bytes if predecessor else None
        _check_facts(role, name, key, node_key, old)
        signed = _signed_bytes(role, name, key, node_key, old)
        replaced = predecessor.sign(signed) if predecessor else None
        return cls(role, name, key, node_key, old, identity.sign(signed), replaced)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the text of a card; blank lines and what follows a ``#`` are left out.

        Raises
        ------
        UsageError
            Unless it is one card, well-formed, all of whose signatures hold.
        """
        name, facts = _facts(text)
        role = _ROLES.get(facts["role"])
        if role is None:
            raise UsageError("not a card: the role is neither pod nor modeller")
        key = _bytes(facts, "ed25519", KEY_BYTES)
        node_key, replaces = facts.get("node"), "replaces" in facts
        if replaces != ("replaced-signature" in facts):
            raise UsageError("not a card: of `replaces` and `replaced-signature` it has one, expected both or neither")
        old = _bytes(facts, "replaces", KEY_BYTES) if replaces else None
        signature = _bytes(facts, "signature", SIGNATURE_BYTES)
        replaced = _bytes(facts, "replaced-signature", SIGNATURE_BYTES) if replaces else None
        _check_facts(role, name, key, node_key, old)
        signed = _signed_bytes(role, name, key, node_key, old)
        for signer, its_signature in ((key, signature), (old, replaced)):
            if signer is not None and its_signature is not None:
                _check_signature(signer, its_signature, signed, name)
        return cls(role, name, key, node_key, old, signature, replaced)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the card in the file ``path``; raises `UsageError`, naming the file, as `from_text` does."""
        text = read_card_file(path)
        try:
            return cls.from_text(text)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error

    def to_text(self) -> str:
        """Return the card as text, with a newline at its end; `from_text` reads it back equal."""
        lines = [public_line(self.name, self.key), f"{self.name} role {self.role}"]
        if self.node_key is not None:
            lines.append(f"{self.name} node {self.node_key}")
        if self.predecessor is not None:
            lines.append(f"{self.name} replaces {to_base64(self.predecessor)}")
        lines.append(f"{self.name} signature {to_base64(self.signature)}")
        if self.predecessor_signature is not None:
            lines.append(f"{self.name} replaced-signature {to_base64(self.predecessor_signature)}")
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> None:
        """Write the card to ``path``, over an older card there; raises `UsageError` as `check_writable` does."""
        check_writable(path)
        try:
            replace_file(path, self.to_text().encode())
        except OSError as error:
            raise UsageError(f"{path}: the card cannot be written: {error.strerror}") from error

    def document(self) -> dict[str, str | None]:
        """Return the card's facts as plain values, with the whole text under ``card``."""
        return {
            "name": self.name,
            "role": self.role,
            "key": public_line(self.name, self.key),
            "fingerprint": self.fingerprint,
            "node_key": self.node_key,
            "replaces": fingerprint(self.predecessor) if self.predecessor else None,
            "card": self.to_text(),
        }

    @property
    def fingerprint(self) -> str:
        """The identity key's fingerprint, to be compared by telephone."""
        return fingerprint(self.key)


def check_writable(path: Path) -> None:
    """Raise `UsageError` if ``path`` has no directory, or holds anything but a card, which a new one would destroy."""
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the card cannot be written: there is no directory {path.parent}")
    if path.exists():
        try:
            Card.load(path)
        except UsageError as error:
            raise UsageError(f"{path}: there is a file that is not a card, and it is not overwritten") from error


def read_card_file(path: Path) -> str:
    """Return the text of a file that may be a card; raises `UsageError`, naming it, if it is no such text."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
        if len(content) <= MAX_CARD_BYTES:
            return content.decode()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a card, but no text at all; `fl-app pod keygen` prints a card") from error
    raise UsageError(f"{path}: not a card: longer than {MAX_CARD_BYTES} bytes")


def _signed_bytes(role: str, name: str, key: bytes, node_key: str | None, predecessor: bytes | None) -> bytes:
    """Return the bytes that the signatures of a card cover."""
    return statement(PURPOSE, b"", name, "", encode([role, name, key, node_key, predecessor]))


_WORDS = {"ed25519": 1, "role": 1, "node": 2, "replaces": 1, "signature": 1, "replaced-signature": 1}
"""The facts a card may hold -> of how many words."""


def _facts(text: str) -> tuple[str, dict[str, str]]:
    """Return the name in ``text`` and its facts, each given once, those that every card has among them."""
    names: set[str] = set()
    facts: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) < 3 or len(words) - 2 != _WORDS.get(words[1]):
            raise UsageError(f"not a card: line {number} is not one of a card's, such as `name ed25519 BASE64`")
        if words[1] in facts:
            raise UsageError(f"not a card: line {number} gives `{words[1]}` a second time")
        names.add(words[0])
        facts[words[1]] = " ".join(words[2:])
    if missing := [fact for fact in ("ed25519", "role", "signature") if fact not in facts]:
        raise UsageError(f"not a card: it has no line `name {missing[0]} ...`; `fl-app pod keygen` prints a whole one")
    if len(names) > 1:
        raise UsageError("not a card: its lines are about more than one name")
    return names.pop(), facts


def _check_facts(role: Role, name: str, key: bytes, node_key: str | None, predecessor: bytes | None) -> None:
    if not is_pod_name(name):
        raise UsageError(f"not a card: {name!r}: {NAME_RULE}")
    if predecessor == key:
        raise UsageError(f"not a card: the key of '{name}' is to replace itself")
    if node_key is not None and role != "pod":
        raise UsageError(f"not a card: '{name}' is a {role}, and only a pod has a node key")
    if node_key is not None and not is_node_key(node_key):
        raise UsageError(f"not a card: the node key of '{name}' is not `{NODE_KEY_KIND} BASE64`, a P-384 key")


def is_node_key(line: str) -> bool:
    """Say whether ``line`` is a public P-384 key as OpenSSH writes it, in its one form and without a comment."""
    if not line.startswith(f"{NODE_KEY_KIND} ") or not line.isascii():
        return False
    try:
        key = serialization.load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        return False
    written = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return written == line.encode()


def _check_signature(key: bytes, signature: bytes, signed: bytes, name: str) -> None:
    try:
        verify(key, signature, signed, name)
    except BadSignature as error:
        raise UsageError(
            f"the card of '{name}' is not as it was signed by {fingerprint(key)}: it was changed, or cut. "
            "Ask for it again"
        ) from error


def _bytes(facts: Mapping[str, str], fact: str, size: int) -> bytes:
    content = from_base64(facts[fact], size)
    if content is None:
        raise UsageError(f"not a card: `{fact}` is not {size} bytes in base64")
    return content
