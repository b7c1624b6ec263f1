"""A party's own keys: the identity of a pod or a modeller, and the key of a pod's Flower node.

A pod's are in ``pods/NAME/`` of its owner's home, the modeller's in ``modeller/``: ``identity.key`` (Ed25519, PKCS8
PEM) and, for a pod, ``node.key`` (P-384, OpenSSH form, as `flower-supernode` takes it), readable by the owner alone.
The keys of others are in the `Keyring`; a party's public keys are on its `Card`.
"""

from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key

from fl_app.errors import UsageError
from fl_app.host.card import Card, Role
from fl_app.identity.key_file import Identity, KeyExists, MissingKey, create_private, read_private
from fl_app.identity.known_pods import keygen
from fl_app.system.files import create_file
from fl_app.system.home import NAME_RULE, fl_app_home, is_pod_name, pod_home

NODE_KEY_FILE = "node.key"
CARD_FILE = "card"
"""The card that a replaced key has signed too; without a rotation there is none, and a card is issued on demand."""

_NAME_FILE = "name"


def node_key(name: str, home: Path | None = None) -> Path:
    """Return the file with the private key of pod ``name``'s Flower node, made if there is none.

    Raises
    ------
    UsageError
        If the file holds something else, if anyone but its owner may read it, or if it cannot be written.
    """
    directory = pod_home(name, home)
    path = directory / NODE_KEY_FILE
    if not path.exists():
        with suppress(KeyExists):  # another process has made it just now
            create_node_key(directory)
    node_public_line(path)
    return path


def create_node_key(directory: Path) -> None:
    """Make a new node key in ``directory``; raises `KeyExists` if there is one already."""
    content = generate_private_key(SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    create_private(directory / NODE_KEY_FILE, content, "node key")


def node_public_line(path: Path) -> str:
    """Return ``ecdsa-sha2-nistp384 BASE64``, the public half of the private key in ``path``.

    Raises
    ------
    UsageError
        If it is not a node key, or if anyone but its owner may read it.
    """
    content = read_private(path, "node key")
    try:
        key = serialization.load_ssh_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Nothing of the parser's own error goes on: it was looking at a secret.
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP384R1):
        raise UsageError(f"{path}: not a node key (expected a P-384 private key, OpenSSH form, no password)")
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def pod_card(name: str, home: Path | None = None) -> Card:
    """Return pod ``name``'s card; its keys are made where it has none. It is the same card until a rotation."""
    identity = keygen(name, home)
    node = node_public_line(node_key(name, home))
    return _card("pod", name, pod_home(name, home), identity, node)


def modeller_home(home: Path | None = None) -> Path:
    """Return the directory of the modeller's key under ``home`` (default `fl_app_home`); not created."""
    return (home or fl_app_home()) / "modeller"


def modeller_name(home: Path | None = None) -> str:
    """Return the name under which this home's modeller is known; raises `MissingKey` if there is none yet."""
    path = modeller_home(home) / _NAME_FILE
    try:
        name = path.read_text("utf-8").strip()
    except FileNotFoundError as error:
        raise MissingKey(f"{path}: no modeller has a key here; `fl-app modeller keygen NAME` makes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the modeller's name cannot be read: {error}") from error
    if not is_pod_name(name):
        raise UsageError(f"{path}: {name!r} is no name: {NAME_RULE}")
    return name


def modeller_identity(home: Path | None = None) -> Identity:
    """Return the modeller's identity; raises `MissingKey` if there is none, `UsageError` if others may read it."""
    modeller_name(home)
    return Identity.load(modeller_home(home))


def modeller_card(name: str | None = None, home: Path | None = None) -> Card:
    """Return the modeller's card; with a ``name`` its key is made if there is none. A home has one modeller.

    Raises
    ------
    MissingKey
        If there is none and no ``name`` is given.
    UsageError
        If the modeller here has another name.
    """
    directory = modeller_home(home)
    if name is not None:
        if not is_pod_name(name):
            raise UsageError(f"{name!r}: {NAME_RULE}")
        Identity.load_or_create(directory)
        _write_name(directory / _NAME_FILE, name)
        if (known := modeller_name(home)) != name:
            raise UsageError(f"{directory}: the modeller here is called '{known}', not '{name}'; a home has one")
    name = modeller_name(home)
    return _card("modeller", name, directory, Identity.load(directory), None)


def _card(role: Role, name: str, directory: Path, identity: Identity, node: str | None) -> Card:
    """Return the card of these keys: the one stored by a rotation, if it still matches, or else a new one."""
    if (directory / CARD_FILE).exists():
        stored = Card.load(directory / CARD_FILE)
        if (stored.role, stored.name, stored.key, stored.node_key) == (role, name, identity.public_bytes, node):
            return stored
    return Card.issue(role, name, identity, node)


def _write_name(path: Path, name: str) -> None:
    try:
        create_file(path, f"{name}\n".encode(), mode=0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise UsageError(f"{path}: the modeller's name cannot be written: {error.strerror}") from error
