"""The keys an owner knows of other pods: ``known_pods``, filled out of band, as SSH's known_hosts is.

One ``name ed25519 BASE64`` a line; what follows a ``#`` is the owner's own.
"""

from collections.abc import Callable, ItemsView
from pathlib import Path
from typing import Self

from fl_app.errors import UsageError
from fl_app.identity.key_file import Identity
from fl_app.identity.public_key import key_in, public_line
from fl_app.secagg.crypto import KEY_BYTES, fingerprint
from fl_app.system.files import locked, replace_file
from fl_app.system.home import KNOWN_PODS_FILE, NAME_RULE, fl_app_home, is_pod_name, pod_home


class Keyring:
    """The public keys of other pods that an owner knows, stored in the text file ``path``."""

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

        def added(text: str) -> str:
            known = self._keys.get(name)
            if known is not None and known != key:
                raise UsageError(
                    f"{self.path}: pod '{name}' is known by the key {fingerprint(known)}, not {fingerprint(key)}. "
                    "If its owner confirms the new key, "
                    f"`fl-app pod approve {name} KEYFILE --replace` takes it in place of the old one"
                )
            return text if known else _appended(text, name, key)

        self._change(name, key, added)

    def replace(self, name: str, key: bytes) -> None:
        """Enter the 32-byte public ``key`` of pod ``name`` in place of another, in the same line, on disk at once.

        Raises
        ------
        UsageError
            If ``name`` or ``key`` is malformed.
        """

        def replaced(text: str) -> str:
            if name not in self._keys:
                return _appended(text, name, key)
            return "\n".join(_with_key(line, key) if _name_in(line) == name else line for line in text.split("\n"))

        self._change(name, key, replaced)

    def remove(self, name: str) -> bytes:
        """Take pod ``name`` out of the list, on disk at once, and return the key it was known by.

        Raises
        ------
        UsageError
            If ``name`` is not known.
        """
        key = Keyring.load(self.path).get(name)
        if key is None:
            raise UsageError(f"{self.path}: pod '{name}' is not known there; `fl-app pod known` lists who is")
        self._change(name, key, lambda text: "\n".join(it for it in text.split("\n") if _name_in(it) != name))
        return key

    def get(self, name: str) -> bytes | None:
        """Return the 32-byte public key known for pod ``name``, or None."""
        return self._keys.get(name)

    def items(self) -> ItemsView[str, bytes]:
        """Return the known (name, 32-byte key) pairs, in the order of the file."""
        return self._keys.items()

    def _change(self, name: str, key: bytes, changed: Callable[[str], str]) -> None:
        """Read the file as it is now, write what ``changed`` makes of it, and know what is in it, under a lock."""
        if not is_pod_name(name):
            raise UsageError(f"{name!r}: {NAME_RULE}")
        if len(key) != KEY_BYTES:
            raise UsageError(f"the public key of pod '{name}' has {len(key)} bytes, expected {KEY_BYTES}")
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            before = _read(self.path)
            self._keys = _parse(self.path, before)
            after = changed(before)
            if after != before:
                replace_file(self.path, after.encode())
                self._keys = _parse(self.path, after)


def known_pods(home: Path | None = None) -> Path:
    """Return the path of the keyring under ``home``."""
    return (home or fl_app_home()) / KNOWN_PODS_FILE


def keygen(name: str, home: Path | None = None) -> Identity:
    """Return pod ``name``'s identity, made if it has none, and entered in the keyring of its own home."""
    identity = Identity.load_or_create(pod_home(name, home))
    Keyring.load(known_pods(home)).add(name, identity.public_bytes)
    return identity


def _appended(text: str, name: str, key: bytes) -> str:
    gap = "" if text.endswith("\n") or not text else "\n"
    return f"{text}{gap}{public_line(name, key)}\n"


def _name_in(line: str) -> str | None:
    """Return the name that ``line`` is about, None for a blank line or a comment."""
    words = line.partition("#")[0].split()
    return words[0] if words else None


def _with_key(line: str, key: bytes) -> str:
    fact, mark, comment = line.partition("#")
    name, _, old = fact.split()
    return fact.replace(old, public_line(name, key).split()[2]) + mark + comment


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
        key = key_in(words)
        if key is None:
            raise UsageError(f"{path}, line {number}: expected `name ed25519 BASE64`, a pod's name and its public key")
        if keys.setdefault(words[0], key) != key:
            raise UsageError(f"{path}, line {number}: pod '{words[0]}' has another key further up; keep the right one")
    return keys
