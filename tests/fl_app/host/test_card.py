import base64
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurve, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fl_app.errors import UsageError
from fl_app.host.card import MAX_CARD_BYTES, Card, Role, is_node_key
from fl_app.identity.key_file import Identity
from fl_app.identity.public_key import public_line
from fl_app.secagg.canonical import encode
from fl_app.secagg.crypto import fingerprint, statement


def identity(seed: int) -> Identity:
    return Identity(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def node_line(curve: EllipticCurve | None = None) -> str:
    public = generate_private_key(curve or SECP384R1()).public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


NODE = node_line()
OLD, NEW, OTHER = identity(1), identity(2), identity(3)
PLAIN = Card.issue("pod", "hospital-a", NEW, NODE)
ROTATED = Card.issue("pod", "hospital-a", NEW, NODE, OLD)
MODELLER = Card.issue("modeller", "ada", NEW)
CARDS = [PLAIN, ROTATED, MODELLER, Card.issue("pod", "b", NEW), Card.issue("modeller", "ada", NEW, predecessor=OLD)]


@pytest.mark.parametrize("card", CARDS)
def test_a_card_reads_back_as_it_was(card: Card, tmp_path: Path) -> None:
    assert Card.from_text(card.to_text()) == card
    (tmp_path / "a.card").write_text(card.to_text())
    assert Card.load(tmp_path / "a.card") == card


def test_the_first_line_is_the_one_of_known_pods() -> None:
    assert PLAIN.to_text().splitlines() == [
        public_line("hospital-a", NEW.public_bytes),
        "hospital-a role pod",
        f"hospital-a node {NODE}",
        f"hospital-a signature {base64.b64encode(PLAIN.signature).decode()}",
    ]
    assert PLAIN.fingerprint == fingerprint(NEW.public_bytes)


def test_comments_blank_lines_and_line_ends_of_any_kind_are_left_out() -> None:
    text = "# Münster, told by telephone\r\n\r\n" + ROTATED.to_text().replace("\n", "  # yes\r\n")
    assert Card.from_text(text) == ROTATED


def test_the_signature_covers_its_own_purpose_and_every_fact() -> None:
    said = statement(
        "fl-app/card/1", b"", "hospital-a", "", encode(["pod", "hospital-a", NEW.public_bytes, NODE, OLD.public_bytes])
    )
    assert ROTATED.signature == NEW.sign(said)
    assert ROTATED.predecessor_signature == OLD.sign(said)


@pytest.mark.parametrize(
    "changed",
    [
        replace(ROTATED, name="hospital-b"),
        replace(ROTATED, key=OTHER.public_bytes),
        replace(ROTATED, node_key=node_line()),
        replace(ROTATED, node_key=None),
        replace(ROTATED, predecessor=OTHER.public_bytes),
        replace(ROTATED, predecessor=None, predecessor_signature=None),
        replace(ROTATED, signature=ROTATED.predecessor_signature or b""),
        replace(ROTATED, predecessor_signature=ROTATED.signature),
        replace(ROTATED, signature=PLAIN.signature),
        replace(PLAIN, predecessor=OLD.public_bytes, predecessor_signature=ROTATED.predecessor_signature),
        replace(CARDS[3], role="modeller"),
        replace(MODELLER, role="pod"),
    ],
)
def test_a_changed_card_is_refused(changed: Card) -> None:
    with pytest.raises(UsageError, match="not as it was signed by SHA256:"):
        Card.from_text(changed.to_text())


def test_a_predecessor_must_have_signed_this_card_and_not_another() -> None:
    stolen = Card.issue("pod", "hospital-a", OTHER, NODE)
    forged = replace(stolen, predecessor=OLD.public_bytes, predecessor_signature=ROTATED.predecessor_signature)
    forger = statement(
        "fl-app/card/1",
        b"",
        "hospital-a",
        "",
        encode(["pod", "hospital-a", OTHER.public_bytes, NODE, OLD.public_bytes]),
    )
    forged = replace(forged, signature=OTHER.sign(forger))
    with pytest.raises(
        UsageError, match=f"not as it was signed by {fingerprint(OLD.public_bytes)}".replace("+", r"\+")
    ):
        Card.from_text(forged.to_text())


LINES = PLAIN.to_text().splitlines()
SIGNED = ROTATED.to_text().splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no line `name ed25519"),
        (LINES[0], "no line `name role"),
        ("\n".join(LINES[:-1]), "no line `name signature"),
        ("\n".join(LINES[1:]), "no line `name ed25519"),
        ("\n".join([*LINES, LINES[0]]), "line 5 gives `ed25519` a second time"),
        ("\n".join([*LINES, "hospital-a likes tea"]), "line 5 is not one"),
        ("\n".join([*LINES, "hospital-a"]), "line 5 is not one"),
        ("\n".join([f"{LINES[0]} more", *LINES[1:]]), "line 1 is not one"),
        ("\n".join([*LINES[:-1], LINES[-1].replace("hospital-a", "hospital-b")]), "more than one name"),
        (PLAIN.to_text().replace("hospital-a", "Hospital"), "1 to 64 lowercase"),
        (PLAIN.to_text().replace("hospital-a", "../a"), "1 to 64 lowercase"),
        (PLAIN.to_text().replace("role pod", "role king"), "neither pod nor modeller"),
        (PLAIN.to_text().replace("role pod", "role modeller"), "only a pod has a node key"),
        (PLAIN.to_text().replace(LINES[0][-6:], "="), "`ed25519` is not 32 bytes"),
        (PLAIN.to_text().replace(LINES[3][-10:], "=="), "`signature` is not 64 bytes"),
        (PLAIN.to_text().replace(NODE, node_line(SECP256R1())), "not `ecdsa-sha2-nistp384 BASE64`"),
        (PLAIN.to_text().replace(NODE, "ecdsa-sha2-nistp384 AAAA"), "not `ecdsa-sha2-nistp384 BASE64`"),
        ("\n".join(SIGNED[:-1]), "expected both or neither"),
        ("\n".join(SIGNED[:3] + SIGNED[4:]), "expected both or neither"),
    ],
)
def test_what_is_not_a_card_is_refused_and_says_why(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Card.from_text(text)
    assert said in str(caught.value)
    (tmp_path / "bad.card").write_text(text)
    with pytest.raises(UsageError) as caught:
        Card.load(tmp_path / "bad.card")
    assert str(caught.value).startswith(f"{tmp_path / 'bad.card'}: ")


@pytest.mark.parametrize(
    ("role", "name", "node", "predecessor", "said"),
    [
        ("pod", "A", None, None, "1 to 64 lowercase"),
        ("pod", "a", "ssh-ed25519 AAAA", None, "not `ecdsa"),
        ("pod", "a", f"{NODE} me@here", None, "not `ecdsa"),
        ("modeller", "a", NODE, None, "only a pod has a node key"),
        ("pod", "a", NODE, NEW, "replace itself"),
    ],
)
def test_no_card_is_issued_that_would_not_be_read(
    role: Role, name: str, node: str | None, predecessor: Identity | None, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Card.issue(role, name, NEW, node, predecessor)
    assert said in str(caught.value)


def test_a_key_has_one_form_in_text() -> None:
    word = LINES[0].split()[2]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet.index(word[-2])
    twin = f"{word[:-2]}{alphabet[last ^ 1]}="
    assert base64.b64decode(twin) == base64.b64decode(word)
    with pytest.raises(UsageError, match="`ed25519` is not 32 bytes"):
        Card.from_text(PLAIN.to_text().replace(word, twin))


FACTS = st.sampled_from([*SIGNED, "# x", "", "hospital-a role modeller", "hospital-a node x y", "a replaces é"])


@given(st.one_of(st.text(), st.lists(st.one_of(FACTS, st.text(max_size=60)), max_size=8).map("\n".join)))
def test_any_text_is_a_card_or_a_usage_error(text: str) -> None:
    try:
        card = Card.from_text(text)
    except UsageError:
        return
    assert Card.from_text(card.to_text()) == card


NODE_BLOB = base64.b64decode(NODE.split()[1])


def beginning_like_a_node_key(rest: bytes) -> str:
    return f"ecdsa-sha2-nistp384 {base64.b64encode(NODE_BLOB[:35] + rest).decode()}"


@given(st.one_of(st.text(), st.text().map("ecdsa-sha2-nistp384 {}".format), st.binary().map(beginning_like_a_node_key)))
def test_other_lines_are_no_node_keys(line: str) -> None:
    assert not is_node_key(line)


@given(st.binary(max_size=300))
def test_any_file_is_a_card_or_a_usage_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.card"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"any\.card: "):
        Card.load(path)


def test_files_that_cannot_be_cards_are_named(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none", "cannot be read"), (tmp_path, "cannot be read")):
        with pytest.raises(UsageError, match=said):
            Card.load(path)
    (tmp_path / "picture").write_bytes(b"\x89PNG")
    with pytest.raises(UsageError, match="no text at all"):
        Card.load(tmp_path / "picture")
    (tmp_path / "long").write_text(PLAIN.to_text() + "#" * MAX_CARD_BYTES)
    with pytest.raises(UsageError, match="longer than"):
        Card.load(tmp_path / "long")


def test_a_card_is_written_over_a_card_only(tmp_path: Path) -> None:
    path = tmp_path / "a.card"
    PLAIN.write(path)
    ROTATED.write(path)
    assert Card.load(path) == ROTATED
    path.write_text("name: hospital-a\n")
    with pytest.raises(UsageError, match="not overwritten"):
        PLAIN.write(path)
    assert path.read_text() == "name: hospital-a\n"
    with pytest.raises(UsageError, match="cannot be written"):
        PLAIN.write(tmp_path / "nowhere" / "a.card")


def test_a_card_as_plain_values() -> None:
    document = ROTATED.document()
    assert document == {
        "name": "hospital-a",
        "role": "pod",
        "key": public_line("hospital-a", NEW.public_bytes),
        "fingerprint": NEW.fingerprint,
        "node_key": NODE,
        "replaces": OLD.fingerprint,
        "card": ROTATED.to_text(),
    }
    assert (MODELLER.document()["node_key"], MODELLER.document()["replaces"]) == (None, None)
