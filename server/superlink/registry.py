"""Who may use a SuperLink: the cards that its operator has registered, and those that were revoked.

::

    registered/NAME.card     pods and modellers; a name belongs to one party, whatever its role
    revoked/HASH.card        keys that are never accepted again
    runs                     which modeller has started which run, one ``RUN NAME`` a line

Files rather than a database: the commands that register and revoke are other processes than the SuperLink, and an
operator can read, copy and keep under version control what decides who gets in.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from fl_app.errors import UsageError
from fl_app.host.card import Card
from fl_app.secagg.crypto import fingerprint
from fl_app.system.files import locked, replace_file

_Stamp = tuple[tuple[str, int, int, int], ...]


class Registry:
    """The registered cards in ``directory``, read again whenever they have changed.

    Readers take no lock: each card is replaced as a whole, so a reader sees the old one or the new one. Writers hold
    ``.lock``, since their checks are about all cards together.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.version = 0
        """How often the cards were read; it differs whenever they may differ."""
        self._stamp: _Stamp | None = None
        self._cards: dict[str, Card] = {}
        self._nodes: dict[bytes, str] = {}
        self._modellers: dict[str, Card] = {}
        self._starters: dict[int, str] = {}
        self._starters_size = 0

    @property
    def cards(self) -> Mapping[str, Card]:
        """The registered cards by name. A file that is not a card registers nobody; `damaged` names it."""
        self.refresh()
        return self._cards

    def refresh(self) -> None:
        """Read the cards if their files have changed."""
        stamp = self._current_stamp()
        if stamp == self._stamp:
            return
        # Stamped before they are read: a change in between leaves an old stamp, and the next request reads again.
        cards = dict(self._read())
        self._nodes = {node_pem(card): name for name, card in cards.items() if card.node_key is not None}
        self._modellers = {card.fingerprint: card for card in cards.values() if card.role == "modeller"}
        self._cards, self._stamp = cards, stamp
        self.version += 1

    def pod_with(self, node_key: bytes) -> str | None:
        """Return the name of the pod whose Flower node has the public key ``node_key`` (PEM), or None."""
        self.refresh()
        return self._nodes.get(node_key)

    def modeller_with(self, key_fingerprint: str) -> Card | None:
        """Return the card of the modeller whose identity key has this fingerprint, or None."""
        self.refresh()
        return self._modellers.get(key_fingerprint)

    def damaged(self) -> list[str]:
        """Return the names of the files that should be cards and are not."""
        return sorted({path.stem for path in self._files()} - self.cards.keys())

    def add(self, cards: Sequence[Card]) -> list[str]:
        """Register ``cards``, all or none; returns the names that are new or have changed.

        Raises
        ------
        UsageError
            If the name is registered with another key that has not signed the card, or the key is registered under
            another name, or was revoked.
        """
        with self._changing():
            registered = dict(self.cards)
            changed = []
            # Everything is checked before anything is written, each card against those before it as well.
            for card in cards:
                self._check(card, registered)
                if registered.get(card.name) != card:
                    changed.append(card.name)
                registered[card.name] = card
            for name in changed:
                replace_file(self._registered / f"{name}.card", registered[name].to_text().encode())
        return changed

    def revoke(self, name: str) -> Card:
        """Take ``name`` off the register. Its keys stay revoked for good; the name is free for a card with new ones.

        Raises
        ------
        UsageError
            If nobody is registered under it.
        """
        with self._changing():
            card = self.cards.get(name)
            if card is None:
                known = ", ".join(sorted(self.cards)) or "nobody"
                raise UsageError(f"'{name}' is not registered in {self.directory} (registered: {known})")
            # Recorded before it is removed: if this process dies in between, the party can be revoked again, but a key
            # that was removed first could be registered again.
            record = self._revoked / f"{hashlib.sha256(card.key).hexdigest()[:32]}.card"
            replace_file(record, card.to_text().encode())
            (self._registered / f"{name}.card").unlink()
        return card

    def started(self, run: int, name: str) -> None:
        """Record that modeller ``name`` has started ``run``."""
        with (self.directory / "runs").open("a", encoding="utf-8") as file:
            file.write(f"{run} {name}\n")

    def starters(self) -> Mapping[int, str]:
        """Return which modeller has started which run."""
        path = self.directory / "runs"
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return {}
        # The file only grows, and is asked for several times a second while a run starts.
        if size != self._starters_size:
            matches = (re.fullmatch(r"(\d+) (\S+)", line) for line in path.read_text("utf-8").splitlines())
            # One that was cut off has no name.
            self._starters, self._starters_size = {int(match[1]): match[2] for match in matches if match}, size
        return self._starters

    def _check(self, card: Card, registered: Mapping[str, Card]) -> None:
        holder = registered.get(card.name)
        if holder is not None and holder.role != card.role:
            raise UsageError(f"'{card.name}' is registered as a {holder.role}: a {card.role} needs a name of its own")
        # A new key takes over a name only with the signature of the old one. Else whoever gets a card to the operator
        # could take the place of a registered party.
        if holder is not None and card.key != holder.key and card.predecessor != holder.key:
            raise UsageError(
                f"'{card.name}' is registered with the key {holder.fingerprint}; the new card, with the key "
                f"{card.fingerprint}, is not signed by the old key. If its owner confirms by telephone that the old "
                f"key is lost: `fl-app superlink revoke {self.directory} {card.name}`, then register the new card"
            )
        if card.role == "pod" and card.node_key is None:
            raise UsageError(
                f"the card of pod '{card.name}' has no node key: its owner prints a whole card with `fl-app pod keygen`"
            )
        # One key, one name: `pod_with` and `modeller_with` must have one answer, and two names with one key would be
        # two seats in a cohort for one party.
        for other in registered.values():
            if other.name != card.name and _same_key(card, other):
                raise UsageError(f"the key on the card of '{card.name}' is already registered as '{other.name}'")
        for other in self._revoked_cards():
            if _same_key(card, other):
                raise UsageError(
                    f"the key {fingerprint(card.key)} of '{card.name}', or the key of its node, was revoked here as "
                    f"'{other.name}' and is not accepted again: its owner has to make new keys"
                )

    @property
    def _registered(self) -> Path:
        return self.directory / "registered"

    @property
    def _revoked(self) -> Path:
        return self.directory / "revoked"

    @contextmanager
    def _changing(self) -> Iterator[None]:
        for place in (self._registered, self._revoked):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.directory / ".lock"):
            yield

    def _files(self) -> list[Path]:
        return sorted(path for path in self._registered.glob("*.card") if not path.name.startswith("."))

    def _current_stamp(self) -> _Stamp:
        entries = []
        for path in self._files():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # revoked since the directory was listed
            # The time alone might not do: its resolution is that of the file system. A replaced file is a new inode.
            entries.append((path.name, status.st_mtime_ns, status.st_ino, status.st_size))
        return tuple(entries)

    def _read(self) -> Iterator[tuple[str, Card]]:
        for path in self._files():
            try:
                card = Card.load(path)
            except UsageError:
                continue
            # A card copied under another name would register its holder twice.
            if card.name == path.stem:
                yield card.name, card

    def _revoked_cards(self) -> list[Card]:
        # Unlike a registered card, a damaged one is an error here: skipping it would lift a revocation.
        return [Card.load(path) for path in sorted(self._revoked.glob("*.card")) if not path.name.startswith(".")]


def node_pem(card: Card) -> bytes:
    """Return the public key of a pod's Flower node as its SuperNode sends it: SubjectPublicKeyInfo, PEM.

    Raises
    ------
    UsageError
        If the card has no node key.
    """
    if card.node_key is None:
        raise UsageError(f"the card of '{card.name}' has no node key")
    # Byte for byte what Flower sends and stores, so that keys can be compared as bytes.
    key = serialization.load_ssh_public_key(card.node_key.encode())
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _same_key(one: Card, other: Card) -> bool:
    return one.key == other.key or (one.node_key is not None and one.node_key == other.node_key)
