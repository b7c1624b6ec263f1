"""A long-term key and its file, which its owner alone can read."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fl_app.errors import UsageError
from fl_app.secagg.crypto import fingerprint
from fl_app.system.files import create_file

KEY_FILE = "identity.key"
KIND = "identity key"


class MissingKey(UsageError):
    """The home has no such key, or no name for its modeller."""


class KeyExists(UsageError):
    """There is a key already where a new one was to be written."""


class Identity:
    """A party's long-term Ed25519 key. It signs, and shows its public half only."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public_bytes = key.public_key().public_bytes_raw()

    @classmethod
    def load(cls, directory: Path, file: str = KEY_FILE, kind: str = KIND) -> Self:
        """Read the key in ``directory``; ``kind`` is what it is called where it cannot be.

        Raises
        ------
        MissingKey
            If there is none.
        UsageError
            If it is not an Ed25519 private key, or if anyone but its owner may read it.
        """
        path = directory / file
        content = read_private(path, kind)
        try:
            key = serialization.load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Nothing of the parser's own error goes on: it was looking at a secret.
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            article = "an" if kind[0] in "aeiou" else "a"
            raise UsageError(f"{path}: not {article} {kind} (expected an Ed25519 private key, PKCS8 PEM, no password)")
        return cls(key)

    @classmethod
    def create(cls, directory: Path, file: str = KEY_FILE, kind: str = KIND) -> Self:
        """Make a new key in ``directory``, which is created, and closed to others, where needed.

        Raises
        ------
        KeyExists
            If there is a key already: other owners may have pinned it.
        """
        key = Ed25519PrivateKey.generate()
        content = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        create_private(directory / file, content, kind)
        return cls(key)

    @classmethod
    def load_or_create(cls, directory: Path, file: str = KEY_FILE, kind: str = KIND) -> Self:
        """Read the key in ``directory``, or make it; of several processes that do so at once, all get the same one."""
        with suppress(MissingKey):
            return cls.load(directory, file, kind)
        with suppress(KeyExists):
            return cls.create(directory, file, kind)
        return cls.load(directory, file, kind)

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


def read_private(path: Path, kind: str) -> bytes:
    """Return what is in the secret file ``path``, which must be closed to all but its owner.

    Raises
    ------
    MissingKey
        If there is none.
    UsageError
        If it cannot be read, or if anyone but its owner may read or change it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(4096)
    except FileNotFoundError as error:
        raise MissingKey(f"{path}: no {kind}; `fl-app pod keygen` makes one") from error
    except OSError as error:
        raise UsageError(f"{path}: the {kind} cannot be read: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"{path}: others than its owner may read or change this {kind} "
            f"(mode {stat.S_IMODE(mode):04o}, expected 0600). If nobody has, `chmod 600 {path}`"
        )
    return content


def create_private(path: Path, content: bytes, kind: str) -> None:
    """Write a new secret file, mode 0600, in a directory that is made, and closed to others, where needed.

    Raises
    ------
    KeyExists
        If there is one; of several processes that try at once exactly one succeeds.
    UsageError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        try:
            create_file(path, content, mode=0o600)
        except FileExistsError as error:
            raise KeyExists(
                f"{path}: there is a file already, and it is not overwritten: other parties may know this {kind}. "
                "To replace it, rotate it (`fl-app pod rotate`), or move the file away and send out a new card"
            ) from error
    except OSError as error:
        raise UsageError(f"{path}: the {kind} cannot be written: {error.strerror}") from error
