"""A pod's own key, and the keys it knows of other pods.

An owner's home holds ``pods/NAME/identity.key`` (Ed25519, PKCS8 PEM, readable by the owner alone) and
``known_pods``, a text file that is filled out of band, as SSH's known_hosts is: one ``name ed25519 BASE64`` a line.
"""

import base64
import binascii
import os
import stat
from collections.abc import ItemsView
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_app.errors import UsageError
from fl_app.files import create_file, locked, replace_file
from fl_app.home import NAME_RULE, fl_app_home, is_pod_name, pod_home
from fl_app.secagg.identity import fingerprint

KEY_FILE = "identity.key"
KEY_BYTES = 32


class Identity:
    """A pod's long-term Ed25519 key. It signs, and shows its public half only."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public_bytes = key.public_key().public_bytes_raw()

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the key in ``directory``.

        Raises
        ------
        UsageError
            If there is none, if it is not an Ed25519 private key, or if anyone but its owner may read it.
        """
        path = directory / KEY_FILE
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(4096)
        except FileNotFoundError as error:
            raise UsageError(f"{path}: no identity key; `fl-app pod keygen` makes one") from error
        except OSError as error:
            raise UsageError(f"{path}: the identity key cannot be read: {error.strerror}") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(
                f"{path}: others than its owner may read or change this identity key "
                f"(mode {stat.S_IMODE(mode):04o}, expected 0600). If nobody has, `chmod 600 {path}`"
            )
        try:
            key = serialization.load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Nothing of the parser's own error goes on: it was looking at a secret.
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise UsageError(f"{path}: not an identity key (expected an Ed25519 private key, PKCS8 PEM, no password)")
        return cls(key)

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Make a new key in ``directory``, which is created, and closed to others, where needed.

        Raises
        ------
        UsageError
            If there is a key already: other owners may have pinned it.
        """
        path = directory / KEY_FILE
        key = Ed25519PrivateKey.generate()
        content = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            try:
                create_file(path, content, mode=0o600)
            except FileExistsError as error:
                raise UsageError(
                    f"{path}: there is an identity key already, and it is not overwritten: other owners may know it. "
                    "To replace it, move the file away first and give its new public key to the other owners"
                ) from error
        except OSError as error:
            raise UsageError(f"{path}: the identity key cannot be written: {error.strerror}") from error
        return cls(key)

    @classmethod
    def load_or_create(cls, directory: Path) -> Self:
        """Read the key in ``directory``, or make it; of several processes that do so at once, all get the same one."""
        for attempt, expected in ((cls.load, FileNotFoundError), (cls.create, FileExistsError)):
            try:
                return attempt(directory)
            except UsageError as error:
                if not isinstance(error.__cause__, expected):
                    raise
        return cls.load(directory)

    @property
    def public_bytes(self) -> bytes:
        """The public key: 32 raw bytes."""
        return self._public_bytes

    @property
    def fingerprint(self) -> str:
        """The public key's fingerprint, to be read out to another owner."""
        return fingerprint(self._public_bytes)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature (RFC 8032) of ``message``."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Identity({self.fingerprint})"


class Keyring:
    """The public keys of other pods that an owner knows, kept in the text file ``path``."""

    def __init__(self, path: Path, keys: dict[str, bytes]) -> None:
        self.path = path
        self._keys = keys

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the keyring; a file that does not exist yet is an empty one.

        Raises
        ------
        UsageError
            If a line is not ``name ed25519 BASE64``, or gives a name a second key; with the file and the line.
        """
        return cls(path, _parse(path, _read(path)))

    def add(self, name: str, key: bytes) -> None:
        """Enter the 32-byte public ``key`` of pod ``name``, on disk at once; entering it again changes nothing.

        Raises
        ------
        UsageError
            If ``name`` is known by another key, or if ``name`` or ``key`` is malformed.
        """
        if not is_pod_name(name):
            raise UsageError(f"{name!r}: {NAME_RULE}")
        if len(key) != KEY_BYTES:
            raise UsageError(f"the public key of pod '{name}' has {len(key)} bytes, expected {KEY_BYTES}")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            text = _read(self.path)
            self._keys = _parse(self.path, text)
            known = self._keys.get(name)
            if known == key:
                return
            if known is not None:
                raise UsageError(
                    f"{self.path}: pod '{name}' is known by the key {fingerprint(known)}, not {fingerprint(key)}. "
                    f"If its owner confirms the new key, delete the line of '{name}' there and add it again"
                )
            gap = "" if text.endswith("\n") or not text else "\n"
            replace_file(self.path, f"{text}{gap}{public_line(name, key)}\n".encode())
            self._keys[name] = key

    def get(self, name: str) -> bytes | None:
        """Return the 32-byte public key known for pod ``name``, or None."""
        return self._keys.get(name)

    def items(self) -> ItemsView[str, bytes]:
        """Return the known (name, 32-byte key) pairs, in the order of the file."""
        return self._keys.items()


def public_line(name: str, key: bytes) -> str:
    """Return the line of ``known_pods`` that tells pod ``name``'s public key: what one owner sends another."""
    return f"{name} ed25519 {base64.b64encode(key).decode()}"


def known_pods(home: Path | None = None) -> Path:
    """Return the path of the keyring under ``home``."""
    return (home or fl_app_home()) / "known_pods"


def keygen(name: str, home: Path | None = None) -> Identity:
    """Return pod ``name``'s identity, made if it has none, and entered in the keyring of its own home."""
    identity = Identity.load_or_create(pod_home(name, home))
    Keyring.load(known_pods(home)).add(name, identity.public_bytes)
    return identity


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()  # as it is: line ends of any kind stay what they are
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the list of known pods cannot be read: {error}") from error


def _parse(path: Path, text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        key = _key_in(words)
        if key is None:
            raise UsageError(f"{path}, line {number}: expected `name ed25519 BASE64`, a pod's name and its public key")
        if keys.setdefault(words[0], key) != key:
            raise UsageError(f"{path}, line {number}: pod '{words[0]}' has another key further up; keep the right one")
    return keys


def _key_in(words: list[str]) -> bytes | None:
    """Return the key in ``[name, "ed25519", base64]``, or None if these are not that."""
    if len(words) != 3 or words[1] != "ed25519" or not is_pod_name(words[0]):
        return None
    try:
        key = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None
