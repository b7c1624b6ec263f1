"""New keys for old: a party makes new ones, and the old identity signs the card of the new.

Whoever has pinned the old key can so check by himself that its holder made the change. What was replaced stays next
to the new keys, under a name that tells when.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from fl_app.errors import UsageError
from fl_app.host.card import Card, Role
from fl_app.host.party_keys import (
    CARD_FILE,
    NODE_KEY_FILE,
    create_node_key,
    modeller_home,
    modeller_name,
    node_public_line,
)
from fl_app.identity.key_file import KEY_FILE, Identity
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.system.files import locked, replace_file
from fl_app.system.home import pod_home


def rotate_pod(name: str, home: Path | None = None) -> Card:
    """Give pod ``name`` a new identity and a new node key, and return its new card.

    Raises
    ------
    UsageError
        If it has no key yet, or if its directory cannot be written.
    """
    card = _rotate("pod", name, pod_home(name, home))
    Keyring.load(known_pods(home)).replace(name, card.key)
    return card


def rotate_modeller(home: Path | None = None) -> Card:
    """Give the modeller a new identity, and return the new card; raises `UsageError` as `rotate_pod` does."""
    return _rotate("modeller", modeller_name(home), modeller_home(home))


def _rotate(role: Role, name: str, directory: Path) -> Card:
    old = Identity.load(directory)
    files = (NODE_KEY_FILE, KEY_FILE) if role == "pod" else (KEY_FILE,)
    try:
        with locked(directory / ".rotation.lock"):
            old = Identity.load(directory)
            made = directory / ".rotation"
            shutil.rmtree(made, ignore_errors=True)  # what an interrupted rotation has left was never in use
            identity = Identity.create(made)
            node = None
            if role == "pod":
                create_node_key(made)
                node = node_public_line(made / NODE_KEY_FILE)
            card = Card.issue(role, name, identity, node, old)
            when = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
            for file in files:
                if (directory / file).exists():
                    os.link(directory / file, directory / f"{file}.replaced-{when}")
            # The identity comes last: interrupted before, the party is who it was, and the card does not count.
            replace_file(directory / CARD_FILE, card.to_text().encode())
            for file in files:
                (made / file).replace(directory / file)
            made.rmdir()
    except OSError as error:
        raise UsageError(f"{directory}: the keys cannot be replaced: {error.strerror}") from error
    return card
