"""Approving another pod: its key is pinned, and its name entered in the pod file without disturbing the rest of it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from client.site.yaml_edit import CannotEdit, write_pod
from fl_app.errors import UsageError
from fl_app.host.card import Card, read_card_file
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.pod.pod_file import load_pod
from fl_app.pod.yaml_lines import content_of, parse_yaml
from fl_app.secagg.crypto import fingerprint

Outcome = Literal["new", "known", "rotated", "replaced"]


@dataclass(frozen=True)
class Approval:
    """What approving a pod came to: its 32-byte ``key``, the one ``before``, and whether the pod file was changed.

    ``outcome`` is "new" for a pod that was not known, "known" for one known by this key, "rotated" where the key
    known before has signed the change, "replaced" where the owner alone vouches for it.
    """

    name: str
    key: bytes
    before: bytes | None
    outcome: Outcome
    entered: bool

    @property
    def text(self) -> str:
        """What came of the key, in a sentence for the owner."""
        now, before = fingerprint(self.key), fingerprint(self.before) if self.before else ""
        return {
            "new": f"{self.name} is known by {now}",
            "known": f"{self.name} is known by {now}, as before",
            "rotated": f"{self.name} has rotated its key, and the old one has signed it: it is now known by {now}, "
            f"no longer by {before}",
            "replaced": f"{self.name} is now known by {now}, no longer by {before}, on your word alone",
        }[self.outcome]


def approve(
    name: str, card: Path, *, pod: Path | None = None, home: Path | None = None, replace: bool = False
) -> Approval:
    """Pin the key of pod ``name`` that is in the file ``card``, and enter the name in the file ``pod``, if given.

    Parameters
    ----------
    name
        The pod to approve; the card must be of that name.
    card
        Its card, or a file with the line ``name ed25519 BASE64``.
    pod
        The owner's own pod, in YAML.
    home
        Where the list of known pods is; None means `fl_app_home`.
    replace
        Whether the owner vouches for a key in place of one that it does not follow from, as after a loss.

    Raises
    ------
    UsageError
        If the card is not that pod's or not sound, if another key is known and neither has signed this one nor is to
        be replaced, or if the pod file cannot be changed so; then nothing is.
    """
    key, predecessor = _key_in_file(name, card)
    ring = Keyring.load(known_pods(home))
    before = ring.get(name)
    outcome = _outcome(name, key, predecessor, before, replace)
    entered = enter(pod, name) if pod else False
    if outcome in ("new", "known"):
        ring.add(name, key)
    else:
        ring.replace(name, key)
    return Approval(name, key, before, outcome, entered)


def _key_in_file(name: str, path: Path) -> tuple[bytes, bytes | None]:
    """Return the key that the file ``path`` gives pod ``name``, and the one it replaces with that one's signature."""
    lines = [words for line in read_card_file(path).split("\n") if (words := line.partition("#")[0].split())]
    if all(len(words) == 3 and words[1] == "ed25519" for words in lines):
        bare = Keyring.load(path).get(name)
        if bare is None:
            raise UsageError(f"{path}: holds no line `{name} ed25519 BASE64`; its owner prints it with `pod keygen`")
        return bare, None
    card = Card.load(path)
    if card.name != name:
        raise UsageError(f"{path}: the card of '{card.name}', not of '{name}'")
    if card.role != "pod":
        raise UsageError(f"{path}: the card of a {card.role}; a pod approves pods only")
    return card.key, card.predecessor


def _outcome(name: str, key: bytes, predecessor: bytes | None, before: bytes | None, replace: bool) -> Outcome:
    if before is None:
        return "new"
    if before == key:
        return "known"
    if before == predecessor:
        return "rotated"
    if replace:
        return "replaced"
    raise UsageError(
        f"pod '{name}' is known by the key {fingerprint(before)}, and the key sent, {fingerprint(key)}, is not signed "
        "by it. Ask its owner, by telephone and not by the way this file came, whether the old key was lost and what "
        "the fingerprint of the new one is; if it is this one, give --replace"
    )


def enter(path: Path, name: str) -> bool:
    """Enter ``name`` in the list ``approved_pods`` of a YAML pod file, whose other lines stay as they are.

    Returns
    -------
    Whether the file was changed: False if the name is there already.

    Raises
    ------
    UsageError
        If ``path`` is not a sound pod file in YAML, or is written in a way this cannot add to; it is then untouched.
    """
    pod = load_pod(path)
    if name == pod.name:
        raise UsageError(f"{path}: '{name}' is this pod itself; it approves others")
    if name in pod.approved_pods:
        return False
    if path.suffix == ".py":
        raise UsageError(f"{path}: a pod written in Python is not changed from here; add '{name}' to its approved_pods")
    meant = pod.model_copy(update={"approved_pods": (*pod.approved_pods, name)})
    try:
        write_pod(path, _with_name(path, name), meant)
    except CannotEdit as error:
        raise UsageError(
            f"{path}: approved_pods is written in a way that cannot be added to from here; add '{name}' to it by hand"
        ) from error
    return True


# Only the marks of PyYAML's parser are used, to find where the name goes; the rest of the file is copied byte for byte.
# ruamel.yaml's round trip would write the whole file anew, and the owner's form is lost: `[ a,b ]` becomes `[a, b]`,
# CRLF becomes LF, a list or a policy indented in another way is indented in one way, `~` becomes nothing, and `---`,
# spaces before a comment and a missing newline at the end are changed.


def _with_name(path: Path, name: str) -> bytes:
    """Return the content of ``path`` with ``name`` at the end of its approved_pods, wherever these are."""
    root = parse_yaml(path, content_of(path)).root
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise CannotEdit from error
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise CannotEdit
    newline = "\r\n" if "\r\n" in text else "\n"
    word = name if yaml.safe_load(name) == name else f'"{name}"'  # what YAML takes for a number or a date is quoted
    listed = next((value for key, value in root.value if key.value in ("approved_pods", "other_pods")), None)
    if listed is None:
        gap = ("" if text.endswith("\n") else newline) + " " * root.start_mark.column
        return f"{text}{gap}approved_pods: [{word}]{newline}".encode()
    if not isinstance(listed, yaml.SequenceNode):
        raise CannotEdit
    last = listed.value[-1] if listed.value else None
    if listed.flow_style:
        at = last.end_mark.index if last else listed.start_mark.index + 1
        return f"{text[:at]}{', ' if last else ''}{word}{text[at:]}".encode()
    start = text.rfind("\n", 0, last.start_mark.index) + 1 if last else 0
    dash = re.match(r"[ ]*-[ ]+", text[start:])
    if last is None or dash is None:
        raise CannotEdit
    end = text.find("\n", last.end_mark.index) + 1
    if not end:
        return f"{text}{newline}{dash[0]}{word}{newline}".encode()
    return f"{text[:end]}{dash[0]}{word}{newline}{text[end:]}".encode()
